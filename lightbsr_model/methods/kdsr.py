"""Training KDSR's teacher, and the student that learns its degradation estimate (arXiv 2211.16928)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods.kdsr import KDSR, KDSRTeacher
from lightbsr_model.training.distillation import DistillationModel
from lightbsr_model.training.phased_model import TwoPhaseModel


class KDSRStudentPass(nn.Module):
    """One learning pass: estimate the degradation; in the joint phase also restore under it."""

    def __init__(self, net: KDSR, joint: bool) -> None:
        super().__init__()
        self.net = net
        self.joint = joint

    def forward(self, lq: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return D' of (N, 3, H, W) images, and in the joint phase the restored images."""
        representation = self.net.encode(lq)
        return representation, self.net.restore(lq, representation) if self.joint else None


@MODEL_REGISTRY.register()
class KDSRTeacherModel(TwoPhaseModel):
    """Trains ``network_g`` of type KDSRTeacher, by the pixel loss alone; validates it with the GT image.

    It has no encoder phase: ``train.encoder_iter`` is 0.
    """

    net_g: KDSRTeacher

    def prepare_start(self) -> None:
        """Refuse an encoder phase, in which nothing would learn.

        Raises:
            OptionError: ``encoder_iter`` is not 0.
        """
        if self.encoder_iter:
            raise OptionError(
                f"train.encoder_iter: KDSR's teacher has no encoder phase: expected 0, got {self.encoder_iter}."
            )

    def encoder_phase_modules(self) -> list[nn.Module]:
        """None."""
        return []

    def build_learning_pass(self, joint: bool) -> nn.Module:
        """The network itself."""
        return self.net_g

    def compute_losses(self, joint: bool) -> OrderedDict[str, Tensor]:
        """``l_pix``."""
        with self.precision.autocast():
            output = self.learning_pass(self.lq, self.gt)
        self.output = output.float()
        return OrderedDict(l_pix=self.cri_pix(self.output, self.gt))

    def restore_batch(self, net: KDSRTeacher) -> Tensor:
        """Restore with the GT image as the estimator's second input.

        Raises:
            OptionError: The data have no GT image.
        """
        return net(self.lq, self._known_gt())

    def represent_batch(self, net: KDSRTeacher) -> Tensor:
        """The estimate from both images."""
        return net.represent(self.lq, self._known_gt())

    def _known_gt(self) -> Tensor:
        if not hasattr(self, "gt"):
            raise OptionError(
                "KDSR's teacher sees the GT image, and this data set gives none: take one with dataroot_gt."
            )
        return self.gt


@MODEL_REGISTRY.register()
class KDSRStudentModel(DistillationModel):
    """Trains ``network_g`` of type KDSR under a frozen KDSRTeacher.

    Options, under ``train``, besides those of :class:`TwoPhaseModel`; the teacher's are in :class:`DistillationModel`:
        channel_opt (dict): ChannelDistillationLoss with ``l1_weight: 0`` between the vectors D', in both phases.
    """

    net_g: KDSR

    def init_training_settings(self) -> None:
        """Build the distillation loss too."""
        self.cri_channel = self.required_loss("channel_opt")
        super().init_training_settings()

    def encoder_phase_modules(self) -> list[nn.Module]:
        """The estimator up to D', without the layer behind it, which the loss does not reach."""
        return [self.net_g.estimator.features, self.net_g.estimator.mlp]

    def build_learning_pass(self, joint: bool) -> nn.Module:
        """D', and restoration in the joint phase."""
        return KDSRStudentPass(self.net_g, joint)

    def compute_losses(self, joint: bool) -> OrderedDict[str, Tensor]:
        """``l_channel``, and ``l_pix`` in the joint phase."""
        with self.precision.autocast():
            with torch.no_grad():
                target = self.teacher.encode(self.lq, self.gt)
            representation, output = self.learning_pass(self.lq)
        losses = OrderedDict(l_channel=self.cri_channel(representation.float(), target.float()))
        if joint:
            self.output = output.float()
            losses["l_pix"] = self.cri_pix(self.output, self.gt)
        return losses
