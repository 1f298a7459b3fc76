"""How a one-step diffusion network learns, after TDDSR: a teacher by its process, a student beside a downsampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lightbsr_arch.methods.tddsr import DiffusionDownsampler, ResidualShiftUNet
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.runtime.processes import wrap_for_processes
from lightbsr_model.training.adversarial import AdversarialModel
from lightbsr_model.training.distillation import DistillationModel
from lightbsr_model.training.phased_model import PhasedModel
from lightbsr_model.training.phases import LearningPass, Phase
from lightbsr_model.training.train_options import AdversarialOptions


@MODEL_REGISTRY.register()
class ResidualShiftModel(PhasedModel):
    """Trains ``network_g`` of type ResidualShiftUNet to predict the HR image at every step of its process.

    ``pixel_opt`` is of that prediction, in [-1, 1]: MSELoss. Validation restores in ``network_g.sample_steps`` steps.
    """

    net_g: ResidualShiftUNet

    def build_phases(self) -> Sequence[Phase]:
        """One phase."""
        self._draws = torch.Generator()
        return (Phase("diffusion", None, (self.net_g,), "predict", self._losses),)

    def _losses(self) -> Mapping[str, Tensor]:
        gt, y = self.gt * 2 - 1, self.net_g.enlarge(self.lq)
        generator = self.degrader.seeded("diffusion", self._draws)
        t = torch.randint(self.net_g.process.steps, (len(gt),), generator=generator).to(self.device)
        noise = torch.randn(gt.shape, generator=generator).to(self.device)
        prediction = self.learning_pass(self.net_g.process.shift(gt, y, t, noise), t, self.lq, y).float()
        self.output = (prediction + 1) / 2
        return {"l_pix": self.cri_pix(prediction, gt)}


@dataclass(frozen=True)
class CoLearningOptions(AdversarialOptions):
    """Keys of ``train`` for CoLearningModel."""

    pixel_opt: dict[str, Any] | None = key(  # type: ignore[assignment]
        "Loss between restored and GT images, in [-1, 1]; ~ is none.", None, kind="loss"
    )
    optim_down: dict[str, Any] = key("The optimiser of network_down.", kind="optimiser")
    gan_opt: dict[str, Any] | None = key(  # type: ignore[assignment]
        "The adversarial loss of restored images; ~ leaves it out.", None, kind="loss"
    )
    gan_lr_opt: dict[str, Any] | None = key(
        "That of the images that network_down makes; ~ leaves it out.", None, kind="loss"
    )
    distill_opt: dict[str, Any] | None = key(
        "Loss to the teacher's result in all steps from the same noise, in [-1, 1]; ~ leaves it out.", None, kind="loss"
    )
    cycle_hr_opt: dict[str, Any] | None = key(
        "Loss between GT images and what is restored of them made small, in [-1, 1]; ~ leaves it out.",
        None,
        kind="loss",
    )
    cycle_lr_opt: dict[str, Any] | None = key(
        "Loss between LR images and restored ones made small by network_down at rest; ~ leaves it out.",
        None,
        kind="loss",
    )
    low_pass_opt: dict[str, Any] | None = key(
        "Loss between 4x4 averages of LR images and of what network_down makes; ~ leaves it out.", None, kind="loss"
    )


@MODEL_REGISTRY.register()
class CoLearningModel(AdversarialModel, DistillationModel):
    """Trains a student that restores in one step, beside a downsampler, two discriminators and a frozen teacher.

    Detached where one could hide information for the other: the student restores the downsampler's images as they are, and
    the downsampler rests where it judges the student's.

    Options, besides those of :class:`AdversarialModel` and :class:`DistillationModel`, see :class:`CoLearningOptions`:
        network_down (dict): DiffusionDownsampler.
        network_d, network_d_lr (dict): Discriminators of HR and LR images.
    """

    declared_options: ClassVar[Mapping[str, type]] = {**DistillationModel.declared_options, "train": CoLearningOptions}
    networks: ClassVar[tuple[str, ...]] = ("network_g", "network_down", "network_d", "network_d_lr")
    discriminators: ClassVar[Mapping[str, str]] = {"d": "gan_opt", "d_lr": "gan_lr_opt"}
    net_g: ResidualShiftUNet
    net_down: DiffusionDownsampler
    teacher: ResidualShiftUNet

    def init_training_settings(self) -> None:
        """Build the downsampler and the losses too."""
        self.discriminators_in_use()
        self.net_down = self.model_to_device(self.build_beside("network_down")).train()  # type: ignore[assignment]
        names = ("distill_opt", "cycle_hr_opt", "cycle_lr_opt", "low_pass_opt")
        self._parts: dict[str, nn.Module] = {
            name.removesuffix("_opt"): self.required_loss(name) for name in names if self.opt["train"].get(name)
        }
        self._draws = torch.Generator()
        self._downsampling: nn.Module | None = None
        super().init_training_settings()

    def discriminators_in_use(self) -> None:
        """Leave out the discriminators whose loss is left out."""
        used = {name: key for name, key in type(self).discriminators.items() if self.opt["train"].get(key)}
        self.discriminators = used  # type: ignore[misc]

    def build_phases(self) -> Sequence[Phase]:
        """One phase."""
        return (Phase("co-learning", None, (self.net_g,), "restore_two", self._losses),)

    def setup_optimizers(self) -> None:
        """The downsampler's too."""
        super().setup_optimizers()
        optim_opt = dict(self.opt["train"]["optim_down"])
        self.optimizer_down = self.get_optimizer(optim_opt.pop("type"), list(self.net_down.parameters()), **optim_opt)
        self.optimizers.append(self.optimizer_down)

    def optimize_parameters(self, current_iter: int) -> None:
        """One step of the student, the downsampler, and the discriminators."""
        self.optimizer_down.zero_grad(set_to_none=True)
        super().optimize_parameters(current_iter)

    def after_backward(self) -> None:
        """The downsampler's gradients are of the same backward pass."""
        self.optimizer_down.step()

    def _noise(self, like: Tensor, purpose: str) -> Tensor:
        generator = self.degrader.seeded(purpose, self._draws)
        return torch.randn(like.shape, generator=generator).to(self.device)

    def _losses(self) -> Mapping[str, Tensor]:
        lq, gt = self.lq, self.gt
        if self._downsampling is None:
            self._downsampling = wrap_for_processes(LearningPass(self.net_down, "forward"), self.device)
        hr_noise, other_noise, lr_noise = (
            self._noise(like, purpose) for like, purpose in ((gt, "student"), (gt, "cycle"), (lq, "downsampler"))
        )
        with self.precision.autocast():
            small = self._downsampling(gt, lr_noise).float()
        restored, cycled = (each.float() for each in self.learning_pass(lq, hr_noise, small.detach(), other_noise))
        self.output = restored
        losses: dict[str, Tensor] = {}
        if "distill" in self._parts:
            losses["l_distill"] = self._parts["distill"](restored * 2 - 1, self._teachers_result(hr_noise) * 2 - 1)
        if "cycle_hr" in self._parts:
            losses["l_cycle_hr"] = self._parts["cycle_hr"](cycled * 2 - 1, gt * 2 - 1)
        if "cycle_lr" in self._parts:
            losses["l_cycle_lr"] = self._parts["cycle_lr"](self._shrunk_at_rest(restored, lr_noise), lq)
        if self.cri_pix is not None:
            losses["l_pix"] = self.cri_pix(restored * 2 - 1, gt * 2 - 1)
        if "low_pass" in self._parts:
            losses["l_low_pass"] = self._parts["low_pass"](F.avg_pool2d(small, 4), F.avg_pool2d(lq, 4))
        if "d" in self.discriminators:
            losses.update(self.adversarial_loss(restored))
        if "d_lr" in self.discriminators:
            losses.update(self.adversarial_loss(small, "d_lr", real=lq))
        return losses

    @torch.no_grad()
    def _teachers_result(self, noise: Tensor) -> Tensor:
        with self.precision.autocast():
            return self.teacher.sample(self.lq, noise).float()

    def _shrunk_at_rest(self, restored: Tensor, noise: Tensor) -> Tensor:
        """The downsampler's image of restored ones; its weights get no gradient."""
        weights = {name: value.detach() for name, value in self.net_down.named_parameters()}
        with self.precision.autocast():
            small: Tensor = functional_call(self.net_down, weights, (restored, noise))
        return small.float()

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the downsampler too."""
        self.save_network(self.net_down, "net_down", current_iter)
        super().save(epoch, current_iter)
