"""The loss of what is read off a representation (``train.degradation_opt``)."""

from __future__ import annotations

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F


@LOSS_REGISTRY.register()
class DegradationRegressionLoss(nn.Module):
    """Mean L1 distance between the quantities that are read and the true ones, each in halves of its range.

    Args:
        loss_weight: Multiplies the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, reading: Tensor, target: Tensor) -> Tensor:
        """Return the loss of (N, number of quantities), from -1 to 1 over each range."""
        return self.loss_weight * F.l1_loss(reading, target)
