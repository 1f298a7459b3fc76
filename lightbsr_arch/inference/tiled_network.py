"""What running an image in tiles asks of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from lightbsr_arch.inference.source import Source
from lightbsr_arch.inference.tiles import Grid
from lightbsr_arch.layers.image import Place


class TiledNetwork(nn.Module, ABC):
    """A trained network made for running: an image as a whole, or in tiles that share what is known of the whole image.

    Args:
        scale: The factor between the network's input and its output.
        grid: How its tiles lie.
        size_multiple: What its input's sides are padded to multiples of.
    """

    anchor: Tensor

    def __init__(self, scale: int, grid: Grid, size_multiple: int = 1) -> None:
        super().__init__()
        self.scale, self.grid, self.size_multiple = scale, grid, size_multiple
        # Says where it is and what it computes in, also for a network without weights.
        self.register_buffer("anchor", torch.zeros(()), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.anchor.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in: ``.to(torch.bfloat16)`` changes it."""
        return self.anchor.dtype

    @property
    def can_be_steered(self) -> bool:
        """Whether it restores under a code that a shift of its representation changes."""
        return False

    @abstractmethod
    def look_at(self, source: Source, tile: int, shift: Tensor | None = None) -> Any:
        """What the tiles of an image share.

        Args:
            source: The image.
            tile: Side of a tile, in LR pixels; as much is computed at a time.
            shift: (1, channels), added to the representation of the image's degradation; only for a network that
                :attr:`can_be_steered`.
        """

    def share_of(self, shared: Any, place: Place) -> Any:
        """What one tile is given of what all share: the same for all, but for a network that asks where it lies."""
        return shared

    @abstractmethod
    def forward(self, lq: Tensor, shared: Any = None, shift: Tensor | None = None) -> Tensor:
        """Restore an image, or a tile of one.

        Args:
            lq: (1, 3, H, W) in [0, 1], float32.
            shared: What :meth:`share_of` made of :meth:`look_at`'s result for the image that ``lq`` is a tile of; None for
                a whole image.
            shift: As in :meth:`look_at`, the same one.

        Returns:
            (1, 3, scale * H, scale * W), of this network's dtype, not clamped.
        """

    @abstractmethod
    def represent(self, source: Source, tile: int) -> Tensor:
        """The representation of an image's degradation as one vector, (1, channels), as the network's ``represent``."""

    @abstractmethod
    def bytes_per_pixel(self, itemsize: int) -> int:
        """About how much memory it takes for each LR pixel that it restores at a time.

        Args:
            itemsize: Bytes of a value.
        """
