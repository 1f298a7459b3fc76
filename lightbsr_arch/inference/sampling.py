"""In how many steps, and from which noise, a diffusion network restores."""

from __future__ import annotations

import copy
from typing import Any, cast

from torch import nn

from lightbsr_arch.errors import OptionError


def sampling(net: nn.Module, steps: int | None = None, seed: int | None = None) -> nn.Module:
    """A network that restores in another number of steps or from other noise; itself if nothing is to change.

    Args:
        net: The network, which stays as it is.
        steps: Number of steps; None leaves it.
        seed: Of the noise; None leaves it.

    Raises:
        OptionError: A network without steps or noise, or a number that it cannot take.
    """
    asked = {name: value for name, value in (("steps", steps), ("seed", seed)) if value is not None}
    if not asked:
        return net
    if not hasattr(net, "set_sampling"):
        raise OptionError(
            f"{' and '.join(asked)}: {type(net).__name__} restores in one pass and without noise; leave out "
            f"{'it' if len(asked) == 1 else 'them'}, or take a diffusion network."
        )
    changed: Any = copy.copy(net)
    try:
        changed.set_sampling(**asked)
    except ValueError as error:
        raise OptionError(str(error)) from error
    return cast(nn.Module, changed)
