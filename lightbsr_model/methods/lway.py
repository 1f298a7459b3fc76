"""How LWay learns: its reconstructor from pairs, then any SR network through it from LR images alone (arXiv 2403.02601)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from lightbsr_arch.errors import MissingFileError
from lightbsr_arch.methods.lway import LRReconstructor
from lightbsr_arch.weights.model_files import load_helper
from lightbsr_model.adaptation.adapting import Bench, GuardedAdaptation, Recipe
from lightbsr_model.adaptation.adapting_model import AdaptingModel, AdaptingOptions
from lightbsr_model.adaptation.targets import TargetImages
from lightbsr_model.losses.wavelet import HighFrequencyWeightedL1Loss
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.training.batch import Batch
from lightbsr_model.training.phased_model import PhasedModel
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.train_options import PhasedOptions

_ADDED = ("noise_level", "jpeg_quality")
"""What a Gaussian degradation adds to blur and downsampling; a parameter of 0 is none of it."""

_BATCH = 4


class ReconstructorDegrader:
    """A reconstructor under the codes of LR images, each the mean over what is kept of the image.

    Args:
        net: The reconstructor, in evaluation mode; it does not learn.
        targets: The LR images.
    """

    def __init__(self, net: LRReconstructor, targets: TargetImages, device: torch.device) -> None:
        self.net = net.to(device).requires_grad_(False)
        with torch.no_grad():
            codes = [
                torch.stack([net.encode(part.lq(device))[0] for part in targets.parts_of(image)]).mean(dim=0)
                for image in range(len(targets.names))
            ]
        self.codes = torch.stack(codes)
        """(number of images, length)."""

    def shrink(self, hr: Tensor, images: Tensor) -> Tensor:
        """Reconstruct LR images of (N, 3, scale * H, scale * W) under the codes of images."""
        return self.net.reconstruct(hr, self.codes[images.to(self.codes.device)])


class _LearntReconstructor:
    """Makes a :class:`ReconstructorDegrader` by the reconstructor of a file, or of the package."""

    def __call__(self, net: Any, targets: TargetImages, seed: int, path: str | None = None) -> ReconstructorDegrader:
        """Make it for LR images.

        Raises:
            MissingFileError, OptionError: See :meth:`check`.
        """
        return ReconstructorDegrader(self.check(net.scale, path), targets, next(net.parameters()).device)

    def check(self, scale: int, path: str | None = None) -> Any:
        """Load the reconstructor.

        Raises:
            MissingFileError: There is no such file, or none of this scale comes with the package.
            OptionError: It is of another scale.
        """
        try:
            return load_helper("LRReconstructor", scale, path)
        except MissingFileError as error:
            if path is not None:
                raise
            raise MissingFileError(
                f"{error} Its recipe: options/lway/train_reconstructor_x{scale}.yml; `lightbsr adapt` takes it by "
                "--reconstructor."
            ) from error


reconstructor_degrader = _LearntReconstructor()


def cycle_losses(bench: Bench) -> Mapping[str, Tensor]:
    """The LR images, and their restored images as the reconstructor degrades them: weighted L1."""
    crops = bench.targets.crops(_BATCH, bench.generator, bench.device)
    with torch.no_grad():
        code = bench.net.encode(crops.lq)
    again = bench.degrader.shrink(bench.net.restore(crops.lq, code), crops.images)
    return {"l_cycle": HighFrequencyWeightedL1Loss()(again, crops.lq, crops.detail)}


LWAY = Recipe("lway", "reconstructor", "fitted", iterations=100, lr=2e-5, losses=cycle_losses, most_noise=2.0)


lway = partial(GuardedAdaptation, LWAY)
"""Learns from the LR images alone, as in the paper; references only judge. Arguments as in :class:`GuardedAdaptation`."""


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


@dataclass(frozen=True)
class LWayOptions(AdaptingOptions):
    """Keys of ``train`` for LWayModel."""

    pixel_opt: dict[str, Any] = key(
        "Loss between the LR images and their restored images, degraded again.", kind="loss"
    )


@MODEL_REGISTRY.register()
class LWayModel(AdaptingModel):
    """Adapts ``network_g`` to LR images alone: restored and degraded again, they should be what they were.

    Options, under ``train``, besides those of :class:`AdaptingModel`:
        pixel_opt (dict): HighFrequencyWeightedL1Loss, or any loss, between the LR images and their restored images, degraded
            again.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": LWayOptions}

    def losses(self) -> Mapping[str, Tensor]:
        """The cycle's."""
        again = self.learnt.shrink(self.learning_pass(self.lq).float(), self.crops.images)
        weights = (self.crops.detail,) if isinstance(self.cri_pix, HighFrequencyWeightedL1Loss) else ()
        return {"l_cycle": self.cri_pix(again, self.lq, *weights), **self.perceptual_losses(again, self.lq)}
