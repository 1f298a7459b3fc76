"""How a one-step diffusion network learns, after TDDSR: a teacher by its process, a student beside a downsampler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lightbsr_arch.layers.noise_field import normal_noise
from lightbsr_arch.methods.tddsr import DiffusionDownsampler, ResidualShiftUNet
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.runtime.processes import wrap_for_processes
from lightbsr_model.training.adversarial import AdversarialModel
from lightbsr_model.training.batch_degrader import BatchDegrader
from lightbsr_model.training.distillation import DistillationModel
from lightbsr_model.training.perceptual import PerceptualModel, PerceptualOptions
from lightbsr_model.training.phased_model import CheckedOptions, PhasedModel
from lightbsr_model.training.phases import LearningPass, Phase
from lightbsr_model.training.train_options import AdversarialOptions, OnePhaseOptions


def _noise(degrader: BatchDegrader, purpose: str, like: Tensor) -> Tensor:
    """Standard normal noise of a batch's size, of each sample's own seed."""
    seeds = torch.tensor(degrader.seeds_of_samples(purpose, len(like)), device=like.device)
    return normal_noise(seeds, range(like.shape[1]), like.shape[2], like.shape[3])


@dataclass(frozen=True)
class ResidualShiftOptions(OnePhaseOptions):
    """Keys of ``train`` for ResidualShiftModel."""

    pixel_opt: dict[str, Any] = key("Loss between predicted and GT images, in [-1, 1].", kind="loss")


@MODEL_REGISTRY.register()
class ResidualShiftModel(PhasedModel):
    """Trains ``network_g`` of type ResidualShiftUNet to predict the HR image at every step of its process.

    ``pixel_opt`` is of that prediction, in [-1, 1]: MSELoss. Validation restores in ``network_g.sample_steps`` steps.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": ResidualShiftOptions}
    net_g: ResidualShiftUNet

    def build_phases(self) -> Sequence[Phase]:
        """One phase."""
        return (Phase("diffusion", None, (self.net_g,), "predict", self._losses),)

    def _losses(self) -> Mapping[str, Tensor]:
        gt, y = self.gt * 2 - 1, self.net_g.enlarge(self.lq)
        process = self.net_g.process
        drawn = [seed % process.steps for seed in self.degrader.seeds_of_samples("step", len(gt))]
        t = torch.tensor(drawn, device=self.device)
        shifted = process.shift(gt, y, t, _noise(self.degrader, "diffusion", gt))
        prediction = self.learning_pass(shifted, t, self.lq, y).float()
        self.output = (prediction + 1) / 2
        return {"l_pix": self.cri_pix(prediction, gt)}


@dataclass(frozen=True)
class CoLearningOptions(PerceptualOptions, AdversarialOptions, OnePhaseOptions):
    """Keys of ``train`` for CoLearningModel."""

    pixel_opt: dict[str, Any] | None = key(  # type: ignore[assignment]
        "Loss between restored and GT images, in [-1, 1]; ~ is none.", None, kind="loss"
    )
    optim_d: dict[str, Any] | None = key(  # type: ignore[assignment]
        "The optimiser of each discriminator.", None, kind="optimiser"
    )
    gan_opt: dict[str, Any] | None = key(  # type: ignore[assignment]
        "The adversarial loss of restored images; ~ leaves out it and network_d.", None, kind="loss"
    )
    gan_lr_opt: dict[str, Any] | None = key(
        "The adversarial loss of the images that network_down makes; ~ leaves out it and network_d_lr.",
        None,
        kind="loss",
    )
    distill_opt: dict[str, Any] = key(
        "Loss to what the teacher restores in all its steps from the same noise, in [-1, 1].", kind="loss"
    )
    cycle_hr_opt: dict[str, Any] | None = key(
        "Loss between GT images and what is restored of what network_down makes of them, in [-1, 1]; ~ is none.",
        None,
        kind="loss",
    )
    cycle_lr_opt: dict[str, Any] | None = key(
        "Loss between LR images and what network_down, at rest, makes of the restored ones; ~ is none.",
        None,
        kind="loss",
    )
    low_pass_opt: dict[str, Any] | None = key(
        "Loss between 4x4 averages of LR images and of what network_down makes; ~ is none.", None, kind="loss"
    )


_DOWN = ("cycle_hr_opt", "cycle_lr_opt", "low_pass_opt", "gan_lr_opt")
"""Losses that need the downsampler."""
_TEACH_DOWN = ("low_pass_opt", "gan_lr_opt")
"""Losses that it learns by."""
_NO_LOSS = {"type": "L1Loss", "loss_weight": 0.0, "reduction": "mean"}


def _weighs(section: Any) -> bool:
    """Whether a loss is asked for."""
    return bool(section) and section.get("loss_weight", 1.0) != 0


@MODEL_REGISTRY.register()
class CoLearningModel(AdversarialModel, DistillationModel, PerceptualModel):
    """Trains a student that restores in one step, beside a downsampler, two discriminators and a frozen teacher.

    Detached where one could hide information for the other: the student restores the downsampler's images as they are, and
    the downsampler rests where it judges the student's. What no loss asks for is not built; a loss of weight 0 is none.

    Options, besides those of :class:`AdversarialModel`, :class:`DistillationModel` and :class:`PerceptualModel`, see
    :class:`CoLearningOptions`:
        network_down (dict): DiffusionDownsampler; ``optim_g`` is its optimiser too.
        network_d, network_d_lr (dict): Discriminators of HR and LR images.
    """

    declared_options: ClassVar[Mapping[str, type]] = {**DistillationModel.declared_options, "train": CoLearningOptions}
    networks: ClassVar[tuple[str, ...]] = ("network_g",)
    optional_networks: ClassVar[tuple[str, ...]] = ("network_down", "network_d", "network_d_lr")
    discriminators: ClassVar[Mapping[str, str]] = {"d": "gan_opt", "d_lr": "gan_lr_opt"}
    opt: dict[str, Any]
    net_g: ResidualShiftUNet
    net_down: DiffusionDownsampler
    teacher: ResidualShiftUNet

    @classmethod
    def check_options(cls, check: CheckedOptions) -> Iterator[tuple[tuple[str, ...], str]]:
        """Networks that the losses need, and a downsampler that would learn nothing."""
        yield from super().check_options(check)
        asked = {name for name in (*_DOWN, "gan_opt") if _weighs(check.good("train", name))}
        needed = {"network_d": asked & {"gan_opt"}, "network_d_lr": asked & {"gan_lr_opt"}}
        for section, by in {**needed, "network_down": asked & {*_DOWN}}.items():
            if by and check.is_good(section) and check.good(section) is None:
                yield (section,), f"missing; train.{min(by)} needs it"
        optim_d = ("train", "optim_d")
        if asked & {*cls.discriminators.values()} and check.is_good(*optim_d) and check.good(*optim_d) is None:
            yield optim_d, "missing; it trains the discriminators"
        if asked & {*_DOWN} and not asked & {*_TEACH_DOWN}:
            yield ("train", min(asked & {*_DOWN})), f"network_down learns by {' and '.join(_TEACH_DOWN)}: give one"

    def leaves_out(self, key: str) -> bool:
        """Where it is not asked for."""
        return not _weighs(self.opt["train"].get(key))

    def init_training_settings(self) -> None:
        """Build the downsampler and the losses too."""
        train_opt = self.opt["train"]
        names = ("distill_opt", "cycle_hr_opt", "cycle_lr_opt", "low_pass_opt")
        self._parts: dict[str, nn.Module] = {
            name.removesuffix("_opt"): self.required_loss(name) for name in names if _weighs(train_opt.get(name))
        }
        if any(_weighs(train_opt.get(name)) for name in _DOWN):
            down: Any = self.model_to_device(self.build_beside("network_down")).train()
            self.net_down = down
        self._downsampling: nn.Module | None = None
        if not train_opt.get("pixel_opt"):
            # SRModel (sr_model.py:64) trains nothing without one.
            self.opt = {**self.opt, "train": {**train_opt, "pixel_opt": _NO_LOSS}}
        super().init_training_settings()

    def build_phases(self) -> Sequence[Phase]:
        """One phase."""
        return (Phase("co-learning", None, (self.net_g,), "restore_once", self._losses),)

    def learning_beside(self) -> Sequence[nn.Parameter]:
        """The downsampler's weights."""
        return list(self.net_down.parameters()) if hasattr(self, "net_down") else ()

    def _losses(self) -> Mapping[str, Tensor]:
        lq, gt, parts = self.lq, self.gt, self._parts
        noise = _noise(self.degrader, "student", gt)
        inputs, losses = [lq, noise], dict[str, Tensor]()
        if hasattr(self, "net_down"):
            lr_noise = _noise(self.degrader, "downsampler", lq)
            small = self._shrunk(gt, lr_noise)
            if "low_pass" in parts:
                losses["l_low_pass"] = parts["low_pass"](F.avg_pool2d(small, 4), F.avg_pool2d(lq, 4))
            if "d_lr" in self._criteria:
                losses.update(self.adversarial_loss(small, "d_lr", real=lq))
        if "cycle_hr" in parts:
            inputs += [small.detach(), _noise(self.degrader, "cycle", gt)]
        restored, *cycled = (each.float() for each in self.learning_pass(*inputs))
        self.output = restored
        if "distill" in parts:
            losses["l_distill"] = parts["distill"](restored * 2 - 1, self._teachers(noise) * 2 - 1)
        if cycled:
            losses["l_cycle_hr"] = parts["cycle_hr"](cycled[0] * 2 - 1, gt * 2 - 1)
        if "cycle_lr" in parts:
            losses["l_cycle_lr"] = parts["cycle_lr"](self._shrunk_at_rest(restored, lr_noise), lq)
        if _weighs(self.opt["train"]["pixel_opt"]):
            losses["l_pix"] = self.cri_pix(restored * 2 - 1, gt * 2 - 1)
        losses.update(self.perceptual_losses(restored, gt))
        if "d" in self._criteria:
            losses.update(self.adversarial_loss(restored))
        return losses

    @torch.no_grad()
    def _teachers(self, noise: Tensor) -> Tensor:
        """What the teacher restores in all its steps."""
        with self.precision.autocast():
            return self.teacher.sample(self.lq, noise).float()

    def _shrunk(self, gt: Tensor, noise: Tensor) -> Tensor:
        """The downsampler's images of HR ones."""
        if self._downsampling is None:
            self._downsampling = wrap_for_processes(LearningPass(self.net_down, "forward"), self.device)
        with self.precision.autocast():
            small: Tensor = self._downsampling(gt, noise)
        return small.float()

    def _shrunk_at_rest(self, restored: Tensor, noise: Tensor) -> Tensor:
        """The downsampler's images of restored ones; its weights get no gradient."""
        weights = {name: value.detach() for name, value in self.net_down.named_parameters()}
        with self.precision.autocast():
            small: Tensor = functional_call(self.net_down, weights, (restored, noise))
        return small.float()

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the downsampler too."""
        if hasattr(self, "net_down"):
            self.save_network(self.net_down, "net_down", current_iter)
        super().save(epoch, current_iter)
