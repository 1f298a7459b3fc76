"""How DASR learns: momentum contrast, then contrast and restoration (arXiv 2104.00416)."""

from __future__ import annotations

from basicsr.utils.registry import MODEL_REGISTRY

from lightbsr_arch.methods.dasr import DASR
from lightbsr_model.training.contrastive import MomentumContrastModel


@MODEL_REGISTRY.register()
class DASRModel(MomentumContrastModel):
    """Trains ``network_g`` of type DASR, on 2 views of each image.

    Options: those of :class:`ContrastiveModel`; the loss is DegradationContrastiveLoss.
    """

    net_g: DASR
    same_views = False
