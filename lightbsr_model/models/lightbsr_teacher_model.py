"""Training the teacher: contrast over degradations, then contrast and restoration (LightBSR, sections 5 and 6)."""

from __future__ import annotations

from collections import OrderedDict

from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightbsr_arch import LightBSRTeacher
from lightbsr_arch.momentum_contrast import Projections
from lightbsr_model.models.two_phase_model import TwoPhaseModel


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
class LightBSRTeacherModel(TwoPhaseModel):
    """Trains ``network_g`` of type LightBSRTeacher; validates it with the true kernel and noise level.

    Options, under ``train``, besides those of :class:`TwoPhaseModel`:
        contrastive_opt (dict): DegradationContrastiveLoss, in both phases.
    """

    net_g: LightBSRTeacher

    def init_training_settings(self) -> None:
        """Build the contrastive loss too."""
        self.cri_contrast = self.required_loss("contrastive_opt")
        super().init_training_settings()

    def encoder_phase_modules(self) -> list[nn.Module]:
        """The query encoder with its head."""
        return [self.net_g.momentum_contrast.query]

    def build_learning_pass(self, joint: bool) -> nn.Module:
        """Contrast, and restoration in the joint phase."""
        return TeacherPass(self.net_g, joint)

    def compute_losses(self, joint: bool) -> OrderedDict[str, Tensor]:
        """``l_contrast``, and ``l_pix`` in the joint phase; the keys of view 0 enter the queue."""
        prior = self.batch_prior(self.net_g)
        with self.precision.autocast():
            projections, output = self.learning_pass(self.lq_views, prior)
        vectors = (projections.queries.float(), projections.keys.float(), projections.negatives.float())
        losses = OrderedDict(l_contrast=self.cri_contrast(*vectors))
        self.net_g.momentum_contrast.enqueue(projections.keys[0])
        if joint:
            self.output = output.float()
            losses["l_pix"] = self.cri_pix(self.output, self.gt)
        return losses

    def restore_batch(self, net: LightBSRTeacher) -> Tensor:
        """Restore under the true degradation."""
        return net(self.lq, self.batch_prior(net))
