"""How LWay learns: its reconstructor from pairs, then any SR network through it from LR images alone (arXiv 2403.02601)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from lightbsr_arch.methods.lway import LRReconstructor
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.training.batch import Batch
from lightbsr_model.training.phased_model import PhasedModel
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.train_options import PhasedOptions

_ADDED = ("noise_level", "jpeg_quality")
"""What a Gaussian degradation adds to blur and downsampling; a parameter of 0 is none of it."""


@dataclass(frozen=True)
class ReconstructionOptions(PhasedOptions):
    """Keys of ``train`` for LRReconstructionModel."""

    clean_target: bool = key(
        "Compare with LR images without their noise, which no reconstruction can foresee; false: as in the paper.", True
    )


@MODEL_REGISTRY.register()
class LRReconstructionModel(PhasedModel):
    """Trains ``network_g`` of type LRReconstructor: the LR image again, of its HR image and its own code.

    Options, under ``train``, besides those of :class:`PhasedModel`:
        clean_target (bool): Compare with LR images as they are before noise, rounding and JPEG, where the data are degraded
            on the device. What a code cannot say only makes the gradients noisy. Default: True.

    Validation compares the reconstructed LR image with the given one.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": ReconstructionOptions}
    net_g: LRReconstructor

    def build_phases(self) -> Sequence[Phase]:
        """Reconstruction."""
        return (Phase("reconstruction", None, (self.net_g,), "forward", self._losses),)

    def _losses(self) -> Mapping[str, Tensor]:
        self.output = self.learning_pass(self.lq, self.gt).float()
        return {"l_pix": self.cri_pix(self.output, self._target())}

    def _target(self) -> Tensor:
        batch: Batch = self.batch
        known = batch.params or {}
        if not self.opt["train"].get("clean_target", True) or "noise_level" not in known or batch.gt is None:
            return self.lq
        params = {name: torch.zeros_like(value) if name in _ADDED else value for name, value in known.items()}
        gt = (batch.gt * 255).round().to(torch.uint8)[:, None]
        return self.degrader.degradation.apply(gt, params, self.degrader.scale, torch.Generator(self.device))[:, 0]

    def restore_batch(self, net: LRReconstructor) -> Tensor:
        """The LR images again, of the GT images."""
        return net(self.lq, self.gt)

    def get_current_visuals(self) -> OrderedDict[str, Tensor]:
        """The LR images and what was reconstructed of them; metrics compare the two."""
        return OrderedDict(lq=self.lq.detach().cpu(), result=self.output.detach().cpu(), gt=self.lq.detach().cpu())
