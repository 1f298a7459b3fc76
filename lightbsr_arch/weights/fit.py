"""Whether weights are those of a network: the one comparison of state dicts."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lightbsr_arch.display import printable


def differences(expected: Mapping[str, Tensor], state_dict: Mapping[str, Tensor]) -> str:
    """What keeps weights from being loaded into a network.

    Args:
        expected: The network's own state dict; on the meta device it costs nothing.
        state_dict: The weights, by the same names.

    Returns:
        How many are missing, too many or of another shape, with the first of each; empty where all fit.
    """
    kinds = {
        "missing": [key for key in expected if key not in state_dict],
        "too many": [key for key in state_dict if key not in expected],
        "of another shape": [
            key for key, value in expected.items() if key in state_dict and state_dict[key].shape != value.shape
        ],
    }
    return ", ".join(
        f"{len(keys)} values {kind} (first {printable(keys[0], 80)})" for kind, keys in kinds.items() if keys
    )
