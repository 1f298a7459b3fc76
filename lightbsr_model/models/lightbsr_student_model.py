"""Training the student: the teacher's codes, then the codes and restoration (LightBSR, section 6)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightbsr_arch import Codes, LightBSR
from lightbsr_model.models.distillation_model import DistillationModel


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
