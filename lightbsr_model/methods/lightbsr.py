"""How LightBSR learns: its teacher by contrast, its student by the teacher's codes (LightBSR, sections 5 and 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_arch.layers.codes import Codes
from lightbsr_arch.methods.lightbsr import LightBSR, LightBSRTeacher
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.training.batch import Batch
from lightbsr_model.training.contrastive import MomentumContrastModel
from lightbsr_model.training.distillation import DistillationModel
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.train_options import EncoderPhaseOptions


def batch_prior(batch: Batch, teacher: LightBSRTeacher) -> Tensor:
    """The prior of a batch: as the data give it, or all its parameters, or its kernels and noise levels in a teacher's basis.

    Raises:
        OptionError: The data have no parameters, no kernels, or too few or too many parameters.
    """
    if batch.prior is not None:
        return batch.prior
    if teacher.prior == "parameters":
        return _parameters(batch, teacher.options["prior_channels"])
    if batch.kernel is None:
        raise OptionError(
            "a teacher sees the true kernel, and this data set gives none: take BlindDegradationBenchmarkDataset "
            "to validate it, and BlindDegradationPairedDataset to train. With real-world presets set prior: parameters."
        )
    return teacher.degradation_prior(batch.kernel, batch.noise_level)


def _parameters(batch: Batch, channels: int) -> Tensor:
    if batch.parameters is None:
        raise OptionError(
            "a teacher with `prior: parameters` sees how an image was degraded, and this data set does not say it: take "
            "BlindDegradationBenchmarkDataset with a preset to validate it, and BlindDegradationPairedDataset to train."
        )
    if batch.parameters.shape[1] != channels:
        raise OptionError(
            f"the degradation of these data has {batch.parameters.shape[1]} parameters, and the teacher was made for "
            f"{channels} (prior_channels): take presets of one kind, real-world or Gaussian."
        )
    return batch.parameters


@MODEL_REGISTRY.register()
class LightBSRTeacherModel(MomentumContrastModel):
    """Trains ``network_g`` of type LightBSRTeacher; validates it with the true kernel and noise level.

    Options: those of :class:`ContrastiveModel`; the loss is DegradationContrastiveLoss.
    """

    net_g: LightBSRTeacher

    def pass_inputs(self) -> tuple[Tensor, ...]:
        """The views, and the prior of their degradation."""
        return self.batch_views(), batch_prior(self.batch, self.net_g)

    def restore_batch(self, net: LightBSRTeacher) -> Tensor:
        """Restore under the true degradation."""
        return net(self.lq, batch_prior(self.batch, net))

    def represent_batch(self, net: LightBSRTeacher) -> Tensor:
        """The representation under the true degradation."""
        return net.represent(self.lq, batch_prior(self.batch, net))


@dataclass(frozen=True)
class StudentOptions(EncoderPhaseOptions):
    """Keys of ``train`` for LightBSRStudentModel."""

    channel_opt: dict[str, Any] = key("The distillation loss of the channel code, in both phases.", kind="loss")
    spatial_opt: dict[str, Any] = key("The distillation loss of the spatial code, in both phases.", kind="loss")


@MODEL_REGISTRY.register()
class LightBSRStudentModel(DistillationModel):
    """Trains ``network_g`` of type LightBSR under a frozen LightBSRTeacher.

    Options, under ``train``, besides those of :class:`PhasedModel`; the teacher's are in :class:`DistillationModel`:
        encoder_iter (int): Length of the encoder phase in iterations; the joint phase is the rest of ``total_iter``.
        channel_opt (dict): ChannelDistillationLoss, in both phases.
        spatial_opt (dict): SpatialDistillationLoss, in both phases.
    """

    declared_options: ClassVar[Mapping[str, type]] = {**DistillationModel.declared_options, "train": StudentOptions}
    net_g: LightBSR

    def init_training_settings(self) -> None:
        """Build the distillation losses too."""
        self.cri_channel = self.required_loss("channel_opt")
        self.cri_spatial = self.required_loss("spatial_opt")
        super().init_training_settings()

    def build_phases(self) -> Sequence[Phase]:
        """The codes alone, then codes and restoration."""
        net, length = self.net_g, self.phase_length("encoder_iter")
        return (
            Phase("encoder", length, (net.encoder, net.converters), "encode", self._encoder_losses),
            Phase("joint", None, (net,), "encode_and_restore", self._joint_losses),
        )

    @torch.no_grad()
    def teacher_codes(self) -> Codes:
        """The teacher's codes of the batch; its SR network does not run."""
        prior = batch_prior(self.batch, self.teacher)
        with self.precision.autocast():
            return self.teacher.encode(self.lq, prior)

    def _encoder_losses(self) -> Mapping[str, Tensor]:
        target = self.teacher_codes()
        return self._code_losses(self.learning_pass(self.lq), target)

    def _joint_losses(self) -> Mapping[str, Tensor]:
        target = self.teacher_codes()
        codes, output = self.learning_pass(self.lq)
        return {**self._code_losses(codes, target), **self.pixel_loss(output)}

    def _code_losses(self, codes: Codes, target: Codes) -> dict[str, Tensor]:
        return {
            "l_channel": self.cri_channel(codes.channel.float(), target.channel.float()),
            "l_spatial": self.cri_spatial(codes.spatial.float(), target.spatial.float()),
        }
