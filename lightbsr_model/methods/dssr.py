"""How DSSR learns: every step's output and detail by an L1 loss (arXiv 2212.01624)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from lightbsr_arch.methods.dssr import DSSR
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.training.phased_model import PhasedModel
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.train_options import OnePhaseOptions


@dataclass(frozen=True)
class DSSROptions(OnePhaseOptions):
    """Keys of ``train`` for DSSRModel."""

    pixel_opt: dict[str, Any] = key(
        "Loss between every step's output and the GT image; summed over the steps.", kind="loss"
    )
    detail_opt: dict[str, Any] = key(
        "Loss between every step's detail and what the GT image has beyond the enlarged LR image; summed over the steps.",
        kind="loss",
    )
    checkpoint_steps: bool = key(
        "Compute activations again in the backward pass instead of keeping them: less memory, more time, equal gradients.",
        False,
    )


@MODEL_REGISTRY.register()
class DSSRModel(PhasedModel):
    """Trains ``network_g`` of type DSSR in one phase, through all of its steps.

    Options, under ``train``, besides those of :class:`PhasedModel`:
        pixel_opt (dict): Loss between every step's output and the GT image; their sum is ``l_pix``.
        detail_opt (dict): Loss between every step's detail and the GT image less the bicubic enlargement of the LR image;
            their sum is ``l_detail``.
        checkpoint_steps (bool): Compute activations again in the backward pass instead of keeping them. Default: False.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": DSSROptions}
    net_g: DSSR

    def init_training_settings(self) -> None:
        """Build the loss of the details too."""
        self.cri_detail = self.required_loss("detail_opt")
        super().init_training_settings()

    def build_phases(self) -> Sequence[Phase]:
        """Restoration."""
        call = "unroll_recomputed" if self.opt["train"].get("checkpoint_steps") else "unroll"
        return (Phase("restoration", None, (self.net_g,), call, self._losses),)

    def _losses(self) -> Mapping[str, Tensor]:
        outputs, details = self.learning_pass(self.lq)
        detail = self.gt - self.net_g.enlarge(self.lq)
        self.output = torch.stack(outputs).detach().float().mean(dim=0)
        return {
            "l_pix": _summed(self.cri_pix, outputs, self.gt),
            "l_detail": _summed(self.cri_detail, details, detail),
        }


def _summed(loss: torch.nn.Module, images: Sequence[Tensor], target: Tensor) -> Tensor:
    return torch.stack([loss(image.float(), target) for image in images]).sum()
