"""The adversarial stage after a student's training: sharper texture, for any network."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from basicsr.archs import vgg_arch
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightbsr_arch.errors import OptionError
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.training.adversarial import AdversarialModel
from lightbsr_model.training.phased_model import CheckedOptions
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.train_options import AdversarialOptions


@dataclass(frozen=True)
class GANOptions(AdversarialOptions):
    """Keys of ``train`` for BlindGANModel."""

    pixel_opt: dict[str, Any] = key("Loss between restored and GT images.", kind="loss")
    perceptual_opt: dict[str, Any] | None = key(
        "Loss between their VGG features; the weights must be on this machine.", None, kind="loss"
    )
    wavelet_opt: dict[str, Any] | None = key(
        "WaveletLoss: detail without a network's weights, in the place of perceptual_opt.", None, kind="loss"
    )
    train_encoder: bool = key(
        "Let the encoder of the degradation learn too; without, it stays what it learnt to see.", False
    )
    max_psnr_loss: float | None = key(
        "PSNR in dB that a checkpoint may lose against the start and be best at another metric; ~: any. Needs val.at_start.",
        1.5,
        low=0,
    )


@MODEL_REGISTRY.register()
class BlindGANModel(AdversarialModel):
    """Trains a network that restores well by PSNR, as a student does, further against a discriminator.

    Its encoder of the degradation rests, in evaluation mode: the discriminator would make it a code of texture. Start it
    from a student by ``path.pretrain_network_g``.

    Options, under ``train``, besides those of :class:`AdversarialModel`: see :class:`GANOptions`.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": GANOptions}
    net_g: nn.Module

    @classmethod
    def check_options(cls, check: CheckedOptions) -> Iterator[tuple[tuple[str, ...], str]]:
        """Weights that are not on this machine, and a start that is compared with and not validated."""
        problem = perceptual_problem(check.good("train", "perceptual_opt"))
        if problem is not None:
            yield ("train", "perceptual_opt"), problem.rstrip(".")
        at_start = ("val", "at_start")
        if check.good("train", "max_psnr_loss") is not None and check.is_good(*at_start) and not check.good(*at_start):
            yield (
                ("train", "max_psnr_loss"),
                "compares with the start, which is not validated: add val: {at_start: true}",
            )

    def prepare_start(self) -> None:
        """Let the encoder rest, and build the loss of detail.

        Raises:
            OptionError: VGG's weights are not here.
        """
        train_opt = self.opt["train"]
        if problem := perceptual_problem(train_opt.get("perceptual_opt")):
            raise OptionError("train.perceptual_opt", problem)
        self._at_rest = [] if train_opt.get("train_encoder") else encoder_of(self.net_g)
        for module in self._at_rest:
            module.requires_grad_(False)
        wavelet_opt = train_opt.get("wavelet_opt")
        self.cri_wavelet = None if wavelet_opt is None else build_loss(wavelet_opt).to(self.device)
        self._validated: tuple[str, int] | None = None

    def build_phases(self) -> Sequence[Phase]:
        """One phase."""
        return (Phase("adversarial", None, (self.net_g,), "forward", self._losses),)

    def optimize_parameters(self, current_iter: int) -> None:
        """As in :class:`AdversarialModel`, the encoder with its running statistics."""
        for module in self._at_rest:
            module.eval()
        super().optimize_parameters(current_iter)

    def _losses(self) -> Mapping[str, Tensor]:
        losses = self.pixel_loss(self.learning_pass(self.lq))
        if self.cri_wavelet is not None:
            losses["l_wavelet"] = self.cri_wavelet(self.output, self.gt)
        if self.cri_perceptual is not None:
            found = zip(("l_percep", "l_style"), self.cri_perceptual(self.output, self.gt), strict=True)
            losses.update((name, loss) for name, loss in found if loss is not None)
        return {**losses, **self.adversarial_loss(self.output)}

    def _update_best_metric_result(self, dataset_name: str, metric: str, val: float, current_iter: int) -> None:
        """BasicSR's, unless the PSNR is too far below that of iteration 0: then the records stay as they were."""
        records = self.best_metric_results[dataset_name]
        if self._validated != (dataset_name, current_iter):
            self._validated = (dataset_name, current_iter)
            self._records_before, self._is_too_low = copy.deepcopy(records), False
        if current_iter == 0:
            self._records_before[metric]["start"] = records[metric]["start"] = val
        most = self.opt["train"].get("max_psnr_loss", 1.5)
        start = records[metric].get("start")
        is_psnr = "psnr" in self.opt["val"]["metrics"][metric].get("type", "")
        if is_psnr and most is not None and start is not None and val < start - most:
            self._is_too_low = True
            get_root_logger().warning(
                f"{dataset_name}: {metric} is {start - val:.2f} dB below the start, more than max_psnr_loss {most:g}: this "
                "checkpoint is not best at anything."
            )
        super()._update_best_metric_result(dataset_name, metric, val, current_iter)
        if self._is_too_low:
            records.update(copy.deepcopy(self._records_before))


def encoder_of(net: Any) -> list[nn.Module]:
    """The part of a network that sees the degradation; empty for a network without one."""
    found = getattr(net, "encoder", None)
    return [found] if isinstance(found, nn.Module) and hasattr(net, "represent") else []


def perceptual_problem(section: Mapping[str, Any] | None) -> str | None:
    """Why BasicSR's PerceptualLoss would have to fetch weights; None if it need not, or is not asked for."""
    if not section or section.get("type") != "PerceptualLoss":
        return None
    kind = str(section.get("vgg_type", "vgg19"))
    file, folder = Path(vgg_arch.VGG_PRETRAIN_PATH), Path(torch.hub.get_dir()) / "checkpoints"
    if file.is_file() or any(folder.glob(f"{kind}-*.pth")):
        return None
    return (
        f"PerceptualLoss needs the weights of {kind}, and there is neither {file} nor {folder}/{kind}-*.pth: put "
        "torchvision's file there, or take wavelet_opt instead."
    )
