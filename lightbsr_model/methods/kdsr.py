"""How KDSR learns: its teacher by restoration, its student by the teacher's estimate (arXiv 2211.16928)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods.kdsr import KDSR, KDSRTeacher
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.training.blind_sr_model import BlindSRModel
from lightbsr_model.training.distillation import DistillationModel
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.train_options import EncoderPhaseOptions


@MODEL_REGISTRY.register()
class KDSRTeacherModel(BlindSRModel):
    """Trains ``network_g`` of type KDSRTeacher, by the pixel loss alone; validates it with the GT image.

    It has one phase: ``train.encoder_iter``, which other models read, has no effect.
    """

    net_g: KDSRTeacher

    def inputs(self) -> tuple[Tensor, ...]:
        """The LR image, and the GT image for the estimator.

        Raises:
            OptionError: The data have no GT image.
        """
        if not hasattr(self, "gt"):
            raise OptionError(
                "KDSR's teacher sees the GT image, and this data set gives none: take one with dataroot_gt."
            )
        return self.lq, self.gt


@dataclass(frozen=True)
class StudentOptions(EncoderPhaseOptions):
    """Keys of ``train`` for KDSRStudentModel."""

    channel_opt: dict[str, Any] = key("The distillation loss of the representation D', in both phases.", kind="loss")


@MODEL_REGISTRY.register()
class KDSRStudentModel(DistillationModel):
    """Trains ``network_g`` of type KDSR under a frozen KDSRTeacher.

    Options, under ``train``, besides those of :class:`PhasedModel`; the teacher's are in :class:`DistillationModel`:
        encoder_iter (int): Length of the encoder phase in iterations; the joint phase is the rest of ``total_iter``.
        channel_opt (dict): ChannelDistillationLoss with ``l1_weight: 0`` between the vectors D', in both phases.
    """

    declared_options: ClassVar[Mapping[str, type]] = {**DistillationModel.declared_options, "train": StudentOptions}
    net_g: KDSR

    def init_training_settings(self) -> None:
        """Build the distillation loss too."""
        self.cri_channel = self.required_loss("channel_opt")
        super().init_training_settings()

    def build_phases(self) -> Sequence[Phase]:
        """D' alone, then D' and restoration."""
        net, length = self.net_g, self.phase_length("encoder_iter")
        # Without the layer behind D', which the distillation loss does not reach.
        estimator = (net.estimator.features, net.estimator.mlp)
        return (
            Phase("encoder", length, estimator, "encode", self._encoder_losses),
            Phase("joint", None, (net,), "encode_and_restore", self._joint_losses),
        )

    def _encoder_losses(self) -> Mapping[str, Tensor]:
        target = self._teacher_representation()
        return self._distillation(self.learning_pass(self.lq), target)

    def _joint_losses(self) -> Mapping[str, Tensor]:
        target = self._teacher_representation()
        representation, output = self.learning_pass(self.lq)
        return {**self._distillation(representation, target), **self.pixel_loss(output)}

    @torch.no_grad()
    def _teacher_representation(self) -> Tensor:
        with self.precision.autocast():
            return self.teacher.encode(self.lq, self.gt)

    def _distillation(self, representation: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"l_channel": self.cri_channel(representation.float(), target.float())}
