"""Any network from one LR image to one SR image, run as a whole or in blended tiles."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightbsr_arch.inference.averages import SharedAverages
from lightbsr_arch.inference.parts import Part, parts, sample
from lightbsr_arch.inference.shifting import can_be_steered, encode_shifted
from lightbsr_arch.inference.source import Source
from lightbsr_arch.inference.tiled_network import TiledNetwork
from lightbsr_arch.inference.tiles import ALIGNMENT, Grid
from lightbsr_arch.inference.traits import find_traits
from lightbsr_arch.layers.image import reflected

_CONTEXT, _PART_ALIGNMENT = 32, 16
"""LR pixels around a part whose averages are taken, and where parts begin: at multiples of any encoder's stride."""

_LARGEST_ALIGNMENT = 16
"""Tiles begin where a network's windows do, unless these are larger: then too much would overlap."""


class AnyNetwork(TiledNetwork):
    """A network as it is; its tiles share the averages over all pixels that it takes inside, such as its code.

    Averages that a network's ``encode`` takes are those of the whole image, computed part by part; averages taken later are
    those of a sample of patches where an image is larger than a tile. Sides that the network cannot take are padded by
    reflection, and cut off again.

    Args:
        net: From (N, 3, H, W) to (N, 3, scale * H, scale * W). It is not changed.
        scale: The factor; None reads it off the network.
        size_multiple: What its input's sides must be multiples of; None finds it out.

    Raises:
        OptionError: The scale is another, or it is no network from one RGB image to one.
    """

    def __init__(self, net: nn.Module, scale: int | None = None, size_multiple: int | None = None) -> None:
        net = copy.deepcopy(net).eval().requires_grad_(False)
        traits = find_traits(net, scale, size_multiple)
        # A network that pads its input by itself may say how large its windows are.
        own = getattr(net, "window_size", 1)
        alignment = math.lcm(ALIGNMENT, traits.size_multiple, own if isinstance(own, int) else 1)
        if alignment > _LARGEST_ALIGNMENT:
            alignment = ALIGNMENT
        super().__init__(traits.scale, Grid(alignment, overlap=48, untrusted=16), traits.size_multiple)
        self.net, self.traits = net, traits

    @property
    def can_be_steered(self) -> bool:
        """As :attr:`TiledNetwork.can_be_steered`."""
        return can_be_steered(self.net)

    def look_at(self, source: Source, tile: int, shift: Tensor | None = None) -> list[Tensor]:
        """The averages, in the order in which the network takes them."""
        if self.traits.averages == 0:
            return []
        encode = getattr(self.net, "encode", None) if hasattr(self.net, "restore") else None
        if shift is not None:
            encode = partial(encode_shifted, self.net, shift=shift.to(self.dtype))
        given = [] if encode is None else self._averages_of(encode, source, tile)
        with SharedAverages(given) as averages:
            self._run(torch.cat([part.pixels for part in sample(source, tile)]), shift)
        return averages.values

    def forward(self, lq: Tensor, shared: list[Tensor] | None = None, shift: Tensor | None = None) -> Tensor:
        """As :meth:`TiledNetwork.forward`."""
        if not shared:
            return self._run(lq, shift)
        with SharedAverages(shared):
            return self._run(lq, shift)

    def represent(self, source: Source, tile: int) -> Tensor:
        """As :meth:`TiledNetwork.represent`."""
        represent: Any = self.net.represent
        with SharedAverages(self._averages_of(represent, source, tile)):
            vector: Tensor = represent(source.piece(0, _CONTEXT, 0, _CONTEXT).to(self.dtype))
        return vector

    def bytes_per_pixel(self, itemsize: int) -> int:
        """As :meth:`TiledNetwork.bytes_per_pixel`; as measured by :func:`~lightbsr_arch.inference.traits.find_traits`."""
        # Twice, since libraries' convolutions take 1.2 to 1.5 times as much (measured on a CPU); and the output as floats.
        return 2 * itemsize * self.traits.values_per_pixel + 12 * self.scale**2

    def run_part(self, function: Any, part: Part) -> None:
        """Run a function of an image on a part of one."""
        function(part.pixels.to(self.dtype))

    def _averages_of(self, function: Any, source: Source, tile: int) -> list[Tensor]:
        """The averages over the whole image that a function of an image takes, computed part by part."""
        totals: list[Tensor] = []
        cells: list[int] = []
        for part in parts(source, tile, _CONTEXT, _PART_ALIGNMENT):
            with SharedAverages(part=part) as averages:
                self.run_part(function, part)
            sums = [mean * count for mean, count in zip(averages.values, averages.cells, strict=True)]
            totals = [a + b for a, b in zip(totals, sums, strict=True)] if totals else sums
            cells = [a + b for a, b in zip(cells, averages.cells, strict=True)] if cells else averages.cells
        return [total / count for total, count in zip(totals, cells, strict=True)]

    def _run(self, lq: Tensor, shift: Tensor | None) -> Tensor:
        height, width = lq.shape[2:]
        padded = reflected(lq, self.size_multiple).to(self.dtype)
        net: Any = self.net
        if shift is None:
            output: Tensor = net(padded)
        else:
            output = net.restore(padded, encode_shifted(net, padded, shift.to(self.dtype)))
        rows, columns = self.scale * height, self.scale * width
        if output.shape[2] < rows or output.shape[3] < columns:
            raise ValueError(f"the network gave {tuple(output.shape)}; expected an image (N, 3, {rows}, {columns})")
        return output[:, :, :rows, :columns]
