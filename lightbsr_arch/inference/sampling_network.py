"""A network that restores from noise, in one step or in several."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightbsr_arch.inference.any_network import AnyNetwork
from lightbsr_arch.inference.parts import sample
from lightbsr_arch.inference.shared_norms import Moments, SharedNorms
from lightbsr_arch.inference.source import Source
from lightbsr_arch.layers.image import Place


class Share(NamedTuple):
    """What a tile is given."""

    norms: list[Moments]
    """Of all GroupNorms, step after step."""
    top: int
    """Where the tile lies in its image, in LR pixels."""
    left: int


class SamplingNetwork(AnyNetwork):
    """A network whose result depends on noise, and on the statistics that its GroupNorms take.

    A tile has the noise of its place in the image. The statistics of all steps are those of the whole image where it has no
    more pixels than a tile, else of a sample of patches, so that all tiles are restored by one and the same function.

    Args:
        net: Takes noise as second argument of its forward, and has ``noise_for(lq, top, left)``, ``scale`` and
            ``window_size``. It is not changed.
    """

    def __init__(self, net: Any) -> None:
        # Looked at with sides that it need not pad, which would be taken for memory that each pixel needs.
        super().__init__(net, net.scale, net.window_size)
        self.size_multiple = 1

    def look_at(self, source: Source, tile: int, shift: Tensor | None = None) -> Any:
        """The statistics of all GroupNorms, in the order of the calls; it restores under no code: nothing to shift."""
        patches = list(sample(source, tile))
        net: Any = self.net
        lq = torch.cat([patch.pixels for patch in patches])
        noise = torch.cat([net.noise_for(patch.pixels, patch.place.top, patch.place.left) for patch in patches])
        with SharedNorms() as norms:
            net(lq, noise)
        return norms.values

    def share_of(self, shared: Any, place: Place) -> Share:
        """The statistics, and the tile's place."""
        return Share(shared, place.top, place.left)

    def forward(self, lq: Tensor, shared: Any = None, shift: Tensor | None = None) -> Tensor:
        """As :meth:`TiledNetwork.forward`."""
        net: Any = self.net
        if shared is None:
            whole: Tensor = net(lq)
            return whole
        with SharedNorms(shared.norms):
            tile: Tensor = net(lq, net.noise_for(lq, shared.top, shared.left))
        return tile
