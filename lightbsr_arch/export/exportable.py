"""A network as a graph that takes images of any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

SMALLEST_SIDE = 5
"""LR pixels. Below it an exported graph of ``torch.export`` refuses an image: an encoder's map would be one cell wide."""


class _Exportable(nn.Module):
    """Same function as the network, in its precision; images go in and come out as float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.dtype = next(net.parameters()).dtype

    def forward(self, lq: Tensor) -> Tensor:
        """Super-resolve (N, 3, H, W) in [0, 1] to (N, 3, scale * H, scale * W), not clamped."""
        output: Tensor = self.net(lq.to(self.dtype))
        return output.to(lq.dtype)


def export_program(net: nn.Module) -> ExportedProgram:
    """A graph of a network that takes any batch size, height and width.

    Args:
        net: Any student of :mod:`~lightbsr_arch.methods.registry`, in evaluation mode; its precision is that of the graph.

    Returns:
        Of one input (N, 3, H, W), float32 in [0, 1], H and W from ``SMALLEST_SIDE`` up, on the network's device.
    """
    lq = torch.rand(2, 3, 37, 50, device=next(net.parameters()).device)
    shapes = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with torch.no_grad():
        return torch.export.export(_Exportable(net).eval(), (lq,), dynamic_shapes=(shapes,), strict=False)
