"""Plain Python values, which YAML writes and ``torch.load`` reads with ``weights_only``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Turn mappings into dictionaries, sequences into lists, NumPy's scalars into Python's, anything else into its words."""
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
