"""The network written so that a graph of it takes pictures of any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from lightbsr_arch.layers.codes import Codes
from lightbsr_arch.methods.lightbsr import LightBSR

SMALLEST_SIDE = 5
"""LR pixels. Below it an exported graph of ``torch.export`` refuses a picture: the encoder's map would be one cell wide."""


class _Exportable(nn.Module):
    """Same function as :class:`LightBSR`, in its own precision; images go in and come out as float32."""

    def __init__(self, net: LightBSR) -> None:
        super().__init__()
        self.net = net

    def forward(self, lq: Tensor) -> Tensor:
        """Super-resolve (N, 3, H, W) in [0, 1] to (N, 3, scale * H, scale * W), not clamped."""
        x = lq.to(self.net.sr.head.weight.dtype)
        idr, converters = self.net.encoder(x), self.net.converters
        shuffled = F.pixel_shuffle(idr, 4)
        # A slice would make the graph depend on whether there is anything to cut off.
        for dim in (2, 3):
            shuffled = shuffled.index_select(dim, torch.arange(x.shape[dim], device=x.device))
        channel = F.gelu(converters.channel(idr.mean(dim=(2, 3))))
        return self.net.sr(x, Codes(channel, F.gelu(converters.spatial(shuffled)))).to(lq.dtype)


def export_program(net: LightBSR) -> ExportedProgram:
    """A graph of the network that takes any batch size, height and width.

    Args:
        net: In evaluation mode; its precision is that of the graph.

    Returns:
        Of one input (N, 3, H, W), float32 in [0, 1], H and W from ``SMALLEST_SIDE`` up, on the network's device.
    """
    lq = torch.rand(2, 3, 37, 50, device=net.sr.head.weight.device)
    shapes = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with torch.no_grad():
        return torch.export.export(_Exportable(net).eval(), (lq,), dynamic_shapes=(shapes,))
