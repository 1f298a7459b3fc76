"""The loss of momentum contrast over degradations."""

from __future__ import annotations

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from lightbsr_arch.layers.momentum_contrast import contrastive_loss


@LOSS_REGISTRY.register()
class DegradationContrastiveLoss(nn.Module):
    """InfoNCE over the ordered pairs of views, with a queue of negatives (LightBSR, section 5).

    Args:
        loss_weight: Multiplies the loss.
        temperature: Divides the similarities, above 0.
        reduction: ``mean`` over pairs and samples (published), ``sum`` or ``none``.

    Raises:
        ValueError: The temperature is not positive, or the reduction is unknown.
    """

    def __init__(self, loss_weight: float = 1.0, temperature: float = 0.07, reduction: str = "mean") -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature: expected more than 0, got {temperature}.")
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction: expected mean, sum or none, got {reduction!r}.")
        self.loss_weight = loss_weight
        self.temperature = temperature
        self.reduction = reduction

    def forward(self, queries: Tensor, keys: Tensor, queue: Tensor, same_views: bool = True) -> Tensor:
        """Return the loss; shapes as in :func:`~lightbsr_arch.layers.momentum_contrast.contrastive_loss`."""
        return self.loss_weight * contrastive_loss(queries, keys, queue, self.temperature, self.reduction, same_views)
