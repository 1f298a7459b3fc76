"""Training the teacher: contrast over degradations, then contrast and restoration (LightBSR, sections 5 and 6)."""

from __future__ import annotations

from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightbsr_arch import LightBSRTeacher
from lightbsr_arch.momentum_contrast import Projections
from lightbsr_model.models.contrastive_model import MomentumContrastModel


class TeacherPass(nn.Module):
    """One learning pass: project all views; in the joint phase also restore view 0 under its codes."""

    def __init__(self, net: LightBSRTeacher, joint: bool) -> None:
        super().__init__()
        self.net = net
        self.joint = joint

    def forward(self, lq_views: Tensor, prior: Tensor) -> tuple[Projections, Tensor | None]:
        """Return what the contrastive loss needs, and the restored view 0 (N, 3, s * H, s * W)."""
        projections = self.net.project(lq_views, prior)
        if not self.joint:
            return projections, None
        lq = lq_views[:, 0]
        codes = self.net.converters(projections.feature_map, (lq.shape[2], lq.shape[3]))
        return projections, self.net.restore(lq, codes)


@MODEL_REGISTRY.register()
class LightBSRTeacherModel(MomentumContrastModel):
    """Trains ``network_g`` of type LightBSRTeacher; validates it with the true kernel and noise level.

    Options: those of :class:`ContrastiveModel`; the loss is DegradationContrastiveLoss.
    """

    net_g: LightBSRTeacher

    def build_learning_pass(self, joint: bool) -> nn.Module:
        """Contrast, and restoration in the joint phase."""
        return TeacherPass(self.net_g, joint)

    def pass_inputs(self) -> tuple[Tensor, ...]:
        """The views, and the prior of their degradation."""
        return self.lq_views, self.batch_prior(self.net_g)

    def restore_batch(self, net: LightBSRTeacher) -> Tensor:
        """Restore under the true degradation."""
        return net(self.lq, self.batch_prior(net))

    def represent_batch(self, net: LightBSRTeacher) -> Tensor:
        """The representation under the true degradation."""
        return net.represent(self.lq, self.batch_prior(net))
