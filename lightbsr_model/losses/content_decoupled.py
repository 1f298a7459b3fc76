"""The loss of contrast within a batch."""

from __future__ import annotations

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from lightbsr_arch.layers.in_batch_contrast import in_batch_contrastive_loss


@LOSS_REGISTRY.register()
class ContentDecoupledContrastiveLoss(nn.Module):
    """InfoNCE within the batch, between pieces of one view and another whole view (arXiv 2408.05440).

    Args:
        loss_weight: Multiplies the loss.
        temperature: Divides the similarities, above 0.

    Raises:
        ValueError: The temperature is not positive.
    """

    def __init__(self, loss_weight: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature: expected more than 0, got {temperature}.")
        self.loss_weight = loss_weight
        self.temperature = temperature

    def forward(self, queries: Tensor, keys: Tensor, first: int = 0) -> Tensor:
        """Return the loss of (V, C, N, D) queries and (V, M, D) keys, see ``in_batch_contrastive_loss``."""
        return self.loss_weight * in_batch_contrastive_loss(queries, keys, self.temperature, first)
