"""LightBSR in tiles: folded, with the whole image's representation and averages in all of them."""

from __future__ import annotations

from torch import Tensor

from lightbsr_arch.inference.lightbsr.network import InferenceLightBSR
from lightbsr_arch.inference.lightbsr.whole_image import WholeImage, look_at, represent
from lightbsr_arch.inference.source import Source
from lightbsr_arch.inference.tiled_network import TiledNetwork
from lightbsr_arch.inference.tiles import Grid
from lightbsr_arch.layers.codes import Codes
from lightbsr_arch.methods.lightbsr import LightBSR


class TiledLightBSR(TiledNetwork):
    """A trained LightBSR, folded.

    Args:
        net: The network. It is not changed.
    """

    def __init__(self, net: LightBSR) -> None:
        super().__init__(net.scale, Grid())
        self.net = InferenceLightBSR(net)

    @property
    def can_be_steered(self) -> bool:
        """As :attr:`TiledNetwork.can_be_steered`."""
        return True

    def look_at(self, source: Source, tile: int, shift: Tensor | None = None) -> WholeImage:
        """As :func:`~lightbsr_arch.inference.lightbsr.whole_image.look_at`."""
        return look_at(self.net, source, tile, shift)

    def forward(self, lq: Tensor, shared: WholeImage | None = None, shift: Tensor | None = None) -> Tensor:
        """As :meth:`TiledNetwork.forward`."""
        if shared is None:
            output: Tensor = self.net(lq, shift)
            return output
        spatial = self.net.spatial_code(self.net.idr(lq, shift), (lq.shape[2], lq.shape[3]))
        return self.net.restore(lq, Codes(shared.channel_code, spatial), shared.feature_means)

    def represent(self, source: Source, tile: int) -> Tensor:
        """As :func:`~lightbsr_arch.inference.lightbsr.whole_image.represent`."""
        return represent(self.net, source, tile)

    def bytes_per_pixel(self, itemsize: int) -> int:
        """As :meth:`TiledNetwork.bytes_per_pixel`."""
        options = self.net.options
        # Features and their copies, the encoder's first two maps, the output before and after the shuffle and as a float.
        features = 6 * options["num_feat"] + 2 * options["num_encoder_feat"]
        if self.net.upsampler is None:
            # Features at the output's size: shuffled, activated, and what the convolution makes of them.
            features += 3 * options["num_feat"] * self.scale**2
        return itemsize * (features + 6 * self.scale**2) + 12 * int(self.scale**2)
