"""The student's losses, between its codes and the teacher's, before any refinement (LightBSR, section 6)."""

from __future__ import annotations

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

_REDUCTIONS = ("mean", "sum", "none")


def _check_reduction(reduction: str) -> None:
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction: expected one of {', '.join(_REDUCTIONS)}, got {reduction!r}.")


def _reduce(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return losses.mean()
    return losses.sum() if reduction == "sum" else losses


@LOSS_REGISTRY.register()
class ChannelDistillationLoss(nn.Module):
    """KL(softmax(teacher / T) || softmax(student / T)) per sample's channel code, plus ``l1_weight`` x the mean L1 distance.

    Args:
        loss_weight: Multiplies the loss.
        temperature: T, above 0.
        l1_weight: Weight of the L1 term within the loss.
        reduction: ``mean`` or ``sum`` over the samples, or ``none`` for (N,).

    Raises:
        ValueError: The temperature is not positive, or the reduction is unknown.
    """

    def __init__(
        self, loss_weight: float = 1.0, temperature: float = 0.15, l1_weight: float = 0.1, reduction: str = "mean"
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature: expected more than 0, got {temperature}.")
        _check_reduction(reduction)
        self.loss_weight = loss_weight
        self.temperature = temperature
        self.l1_weight = l1_weight
        self.reduction = reduction

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of (N, C) channel codes."""
        log_student = F.log_softmax(student / self.temperature, dim=1)
        log_teacher = F.log_softmax(teacher / self.temperature, dim=1)
        divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1)
        distance = (student - teacher).abs().mean(dim=1)
        return self.loss_weight * _reduce(divergence + self.l1_weight * distance, self.reduction)


@LOSS_REGISTRY.register()
class SpatialDistillationLoss(nn.Module):
    """Squared error of the spatial code.

    Args:
        loss_weight: Multiplies the loss.
        reduction: ``mean`` or ``sum`` over all values, or ``none``.

    Raises:
        ValueError: The reduction is unknown.
    """

    def __init__(self, loss_weight: float = 1.0, reduction: str = "mean") -> None:
        super().__init__()
        _check_reduction(reduction)
        self.loss_weight = loss_weight
        self.reduction = reduction

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of (N, C, H, W) spatial codes."""
        return self.loss_weight * F.mse_loss(student, teacher, reduction=self.reduction)
