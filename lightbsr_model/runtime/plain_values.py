"""Plain Python values, which YAML can write and ``torch.load`` can read with ``weights_only``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Convert mappings to dictionaries, sequences to lists, NumPy scalars to Python's, and anything else to a string."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)  # np.float64 is a float to isinstance, and not to weights_only
    return str(value)
