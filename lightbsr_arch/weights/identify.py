"""Which network a state dict belongs to, and its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightbsr_arch.methods.registry import METHODS, method_of_weights, registered
from lightbsr_arch.methods.sizes import Sizes


def infer_options(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Find out which network a state dict belongs to, and its sizes.

    What a state dict does not show is left out: the initial layer scale, momentum, temperature, the noise divisor.

    Args:
        state_dict: In this package's layout.

    Returns:
        ``type``, the network's name in option files, and the constructor's sizes by name.

    Raises:
        ValueError: The state dict is of none of our networks; the message names what is missing.
    """
    # Where no weight has a method's own name, the first method says what it misses.
    method = method_of_weights(state_dict) or METHODS[0].load()
    try:
        return method.sizes(Sizes(state_dict))
    except (IndexError, ZeroDivisionError) as error:
        raise ValueError("not a state dict of a known method: a weight has too few dimensions.") from error
    except ValueError as error:
        raise ValueError(f"{error}{namesake_hint(state_dict)}") from error


def namesake_hint(state_dict: Mapping[str, Tensor]) -> str:
    """A sentence for weights that may be of another network with the name of one of ours; else empty."""
    return "".join(hint(state_dict) for method in registered() if (hint := method.load().namesake_hint) is not None)
