"""A network that asks where in its image a tile lies."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightbsr_arch.inference.any_network import AnyNetwork
from lightbsr_arch.inference.parts import Part
from lightbsr_arch.layers.image import Place


class PlacedNetwork(AnyNetwork):
    """A network whose function changes from the image's middle to its borders, so that tiles must know their place.

    Args:
        net: Takes a tile's :class:`~lightbsr_arch.layers.image.Place` as second argument of its ``forward`` and ``represent``,
            and its forward averages nothing over the image. It is not changed.
    """

    def run_part(self, function: Any, part: Part) -> None:
        """As :meth:`AnyNetwork.run_part`."""
        function(part.pixels.to(self.dtype), part.place)

    def share_of(self, shared: Any, place: Place) -> Place:
        """The tile's place."""
        return place

    def forward(self, lq: Tensor, shared: Any = None, shift: Tensor | None = None) -> Tensor:
        """As :meth:`TiledNetwork.forward`; it restores under no code, so that there is nothing to shift."""
        output: Tensor = self.net(lq.to(self.dtype), shared)
        return output
