"""How LightBSR learns: its teacher by contrast, its student by the teacher's codes (LightBSR, sections 5 and 6)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightbsr_arch.layers.codes import Codes
from lightbsr_arch.layers.momentum_contrast import Projections
from lightbsr_arch.methods.lightbsr import LightBSR, LightBSRTeacher
from lightbsr_model.training.contrastive import MomentumContrastModel
from lightbsr_model.training.distillation import DistillationModel


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


class StudentPass(nn.Module):
    """One learning pass: encode; in the joint phase also restore under the codes."""

    def __init__(self, net: LightBSR, joint: bool) -> None:
        super().__init__()
        self.net = net
        self.joint = joint

    def forward(self, lq: Tensor) -> tuple[Codes, Tensor | None]:
        """Return the codes of (N, 3, H, W) images, and in the joint phase the restored images."""
        codes = self.net.encode(lq)
        return codes, self.net.restore(lq, codes) if self.joint else None


@MODEL_REGISTRY.register()
class LightBSRStudentModel(DistillationModel):
    """Trains ``network_g`` of type LightBSR under a frozen LightBSRTeacher.

    Options, under ``train``, besides those of :class:`TwoPhaseModel`; the teacher's are in :class:`DistillationModel`:
        channel_opt (dict): ChannelDistillationLoss, in both phases.
        spatial_opt (dict): SpatialDistillationLoss, in both phases.
    """

    net_g: LightBSR

    def init_training_settings(self) -> None:
        """Build the distillation losses too."""
        self.cri_channel = self.required_loss("channel_opt")
        self.cri_spatial = self.required_loss("spatial_opt")
        super().init_training_settings()

    def encoder_phase_modules(self) -> list[nn.Module]:
        """Encoder and converters."""
        return [self.net_g.encoder, self.net_g.converters]

    def build_learning_pass(self, joint: bool) -> nn.Module:
        """Codes, and restoration in the joint phase."""
        return StudentPass(self.net_g, joint)

    @torch.no_grad()
    def teacher_codes(self) -> Codes:
        """The teacher's codes of the batch; its SR network does not run."""
        prior = self.batch_prior(self.teacher)
        with self.precision.autocast():
            return self.teacher.encode(self.lq, prior)

    def compute_losses(self, joint: bool) -> OrderedDict[str, Tensor]:
        """``l_channel`` and ``l_spatial``, and ``l_pix`` in the joint phase."""
        target = self.teacher_codes()
        with self.precision.autocast():
            codes, output = self.learning_pass(self.lq)
        losses = OrderedDict(
            l_channel=self.cri_channel(codes.channel.float(), target.channel.float()),
            l_spatial=self.cri_spatial(codes.spatial.float(), target.spatial.float()),
        )
        if joint:
            self.output = output.float()
            losses["l_pix"] = self.cri_pix(self.output, self.gt)
        return losses
