"""How LCE learns: its corrector alone, then corrector and restoration (after arXiv 2403.07390)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods.lce import LCE
from lightbsr_model.degradation.noise import quantise
from lightbsr_model.degradation.resize import Border, bicubic_downsample
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.training.phased_model import PhasedModel
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.train_options import EncoderPhaseOptions


@torch.no_grad()
def corrector_target(gt: Tensor, scale: int, border: Border = "clamp") -> Tensor:
    """What a corrected LR image should be: the GT image, downsampled by bicubic interpolation alone and rounded to 8 bits.

    Args:
        gt: (N, 3, H, W) in [0, 1], H and W multiples of ``scale``.
        scale: The factor.
        border: What the downsampling sees outside the image.

    Returns:
        (N, 3, H / scale, W / scale), multiples of 1/255 in [0, 1].
    """
    return quantise(bicubic_downsample(255 * gt, scale, border))


@dataclass(frozen=True)
class LCEOptions(EncoderPhaseOptions):
    """Keys of ``train`` for LCEModel."""

    corrector_opt: dict[str, Any] = key(
        "Loss between corrected LR images and bicubic downsamplings of the GT images, in both phases.", kind="loss"
    )


@MODEL_REGISTRY.register()
class LCEModel(PhasedModel):
    """Trains ``network_g`` of type LCE.

    Options, under ``train``, besides those of :class:`PhasedModel`:
        encoder_iter (int): Length of the phase in which the corrector learns alone, in iterations; 0 for a network without
            one. The joint phase is the rest of ``total_iter``.
        corrector_opt (dict): Loss between corrected LR images and bicubic downsamplings of the GT images, in both phases; it
            has no part in the training of a network without a corrector.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": LCEOptions}
    net_g: LCE

    def init_training_settings(self) -> None:
        """Build the corrector's loss too."""
        self.cri_corrector = self.required_loss("corrector_opt")
        super().init_training_settings()

    def build_phases(self) -> Sequence[Phase]:
        """The corrector alone, then correction and restoration.

        Raises:
            OptionError: A phase for a corrector that the network does not have.
        """
        length, corrector = self.phase_length("encoder_iter"), self.net_g.corrector
        if length and corrector is None:
            raise OptionError(
                "train.encoder_iter", f"expected 0, since the network has no corrector (correct: false), got {length}."
            )
        return (
            Phase("encoder", length, () if corrector is None else (corrector,), "correct_lq", self._corrector_losses),
            Phase("joint", None, (self.net_g,), "correct_and_restore", self._joint_losses),
        )

    def _corrector_losses(self) -> Mapping[str, Tensor]:
        return self._correction(self.learning_pass(self.lq))

    def _joint_losses(self) -> Mapping[str, Tensor]:
        clr, output = self.learning_pass(self.lq)
        return {**self._correction(clr), **self.pixel_loss(output)}

    def _correction(self, clr: Tensor) -> dict[str, Tensor]:
        if self.net_g.corrector is None:
            return {}
        border = self.opt["datasets"]["train"].get("border", "clamp")
        return {"l_corrector": self.cri_corrector(clr.float(), corrector_target(self.gt, self.opt["scale"], border))}
