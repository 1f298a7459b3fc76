"""How CdCL learns: contrast between different images of one degradation, then restoration too (arXiv 2408.05440)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightbsr_arch.errors import OptionError
from lightbsr_arch.layers.in_batch_contrast import PieceProjections
from lightbsr_arch.methods.cdcl import CdCL
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.training.contrastive import ContrastiveModel
from lightbsr_model.training.train_options import ContrastiveOptions


def cyclic_shift(gt: Tensor, generator: torch.Generator) -> Tensor:
    """Give each degradation views of different images: all but view 0 are rolled along the batch.

    Args:
        gt: (N, V, ...), V views of each of N images.
        generator: A generator on the CPU.

    Returns:
        A tensor of the same shape. View v of sample b is view v of image b - offset(v) (modulo N); offset(0) is 0, and the
        offsets differ as far as N allows.
    """
    samples, views = gt.shape[:2]
    others = torch.randperm(max(samples - 1, 1), generator=generator) + 1
    offsets = [0, *(int(others[view % len(others)]) for view in range(views - 1))]
    return torch.stack([gt[:, view].roll(offset, dims=0) for view, offset in enumerate(offsets)], dim=1)


@dataclass(frozen=True)
class CdCLOptions(ContrastiveOptions):
    """Keys of ``train`` for CdCLModel."""

    cyclic_shift: bool = key("Whether the views of a degradation are of different images of the batch.", True)


@MODEL_REGISTRY.register()
class CdCLModel(ContrastiveModel):
    """Trains ``network_g`` of type CdCL, on 4 views of each degradation.

    Options, under ``train``, besides those of :class:`ContrastiveModel` (the loss is ContentDecoupledContrastiveLoss):
        cyclic_shift (bool): Whether the views of a degradation come from different images of the batch. Default: True.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": CdCLOptions}
    net_g: CdCL

    def encoder_modules(self) -> tuple[nn.Module, ...]:
        """Encoder, projector and predictor."""
        return self.net_g.contrast.query, self.net_g.contrast.predictor

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """As in :class:`PhasedModel`.

        Raises:
            OptionError: The training pairs are degraded already, so that views cannot be exchanged between degradations.
        """
        if self.is_train and self._shifts and "views" in data:
            raise OptionError(
                "train.cyclic_shift",
                "needs images that are degraded in the model: set datasets.train.degrade_in to device, "
                "or cyclic_shift to false.",
            )
        super().feed_data(data)

    @property
    def _shifts(self) -> bool:
        return bool(self.opt["train"].get("cyclic_shift", True))

    def arrange_views(self, gt_views: Tensor) -> Tensor:
        """Roll the views along the batch."""
        if not self._shifts:
            return gt_views
        return cyclic_shift(gt_views, self.degrader.seeded("cyclic_shift", torch.Generator()))

    def contrast(self, projections: PieceProjections) -> Tensor:
        """InfoNCE within the batch."""
        return self.cri_contrast(projections.queries.float(), projections.keys.float(), projections.first)
