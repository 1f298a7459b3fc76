"""The check that every network makes of its input."""

from __future__ import annotations

from torch import Tensor


def check_image(lq: Tensor) -> None:
    """Refuse what is no batch of RGB images.

    Raises:
        ValueError: Not a float batch (N, 3, H, W) with at least one pixel.
    """
    if lq.dim() != 4 or lq.shape[1] != 3 or not lq.is_floating_point() or 0 in lq.shape:
        raise ValueError(
            f"lq: expected a float image batch (N, 3, H, W) in [0, 1] with H and W >= 1, "
            f"got {tuple(lq.shape)} of {lq.dtype}."
        )
