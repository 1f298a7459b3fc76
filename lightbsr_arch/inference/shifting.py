"""Restoring under another degradation than the one that is seen: a vector is added to the representation."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def can_be_steered(net: Any) -> bool:
    """Whether a network restores under a code that is made of its representation.

    It does if it has ``restore``, and its ``represent`` is its ``encode`` or it says by ``encode_shifted`` what becomes of a
    shifted representation.
    """
    if not all(callable(getattr(net, name, None)) for name in ("encode", "represent", "restore")):
        return False
    return hasattr(net, "encode_shifted") or type(net).represent is type(net).encode


def encode_shifted(net: Any, lq: Tensor, shift: Tensor) -> Any:
    """What ``encode`` gives for (N, 3, H, W) if a vector, (1, channels), is added to what ``represent`` gives."""
    own = getattr(net, "encode_shifted", None)
    return net.encode(lq) + shift if own is None else own(lq, shift)
