"""Training DASR: momentum contrast, then contrast and restoration (arXiv 2104.00416)."""

from __future__ import annotations

from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightbsr_arch.layers.momentum_contrast import Projections
from lightbsr_arch.methods.dasr import DASR
from lightbsr_model.training.contrastive import MomentumContrastModel


class DASRPass(nn.Module):
    """One learning pass: project view 0 and view 1; in the joint phase also restore view 0."""

    def __init__(self, net: DASR, joint: bool) -> None:
        super().__init__()
        self.net = net
        self.joint = joint

    def forward(self, lq_views: Tensor) -> tuple[Projections, Tensor | None]:
        """Return what the contrastive loss needs, and the restored view 0 (N, 3, s * H, s * W)."""
        projections = self.net.project(lq_views)
        if not self.joint:
            return projections, None
        representation = projections.feature_map.mean(dim=(2, 3))
        return projections, self.net.restore(lq_views[:, 0], representation)


@MODEL_REGISTRY.register()
class DASRModel(MomentumContrastModel):
    """Trains ``network_g`` of type DASR, on 2 views of each picture.

    Options: those of :class:`ContrastiveModel`; the loss is DegradationContrastiveLoss.
    """

    net_g: DASR
    same_views = False

    def build_learning_pass(self, joint: bool) -> nn.Module:
        """Contrast, and restoration in the joint phase."""
        return DASRPass(self.net_g, joint)
