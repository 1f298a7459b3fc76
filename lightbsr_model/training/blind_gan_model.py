"""The adversarial stage after a student's training: sharper texture, for any network."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.training.adversarial import AdversarialModel
from lightbsr_model.training.perceptual import PerceptualModel, PerceptualOptions
from lightbsr_model.training.phased_model import CheckedOptions
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.train_options import AdversarialOptions


@dataclass(frozen=True)
class GANOptions(PerceptualOptions, AdversarialOptions):
    """Keys of ``train`` for BlindGANModel."""

    pixel_opt: dict[str, Any] = key("Loss between restored and GT images.", kind="loss")
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
class BlindGANModel(AdversarialModel, PerceptualModel):
    """Trains a network that restores well by PSNR, as a student does, further against a discriminator.

    Its encoder of the degradation rests, in evaluation mode: the discriminator would make it a code of texture. Start it
    from a student by ``path.pretrain_network_g``.

    Options, under ``train``, besides those of :class:`AdversarialModel`: see :class:`GANOptions`.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": GANOptions}
    net_g: nn.Module

    @classmethod
    def check_options(cls, check: CheckedOptions) -> Iterator[tuple[tuple[str, ...], str]]:
        """What :class:`PerceptualModel` says, and a start that is compared with and not validated."""
        yield from super().check_options(check)
        at_start = ("val", "at_start")
        if check.good("train", "max_psnr_loss") is not None and check.is_good(*at_start) and not check.good(*at_start):
            yield (
                ("train", "max_psnr_loss"),
                "compares with the start, which is not validated: add val: {at_start: true}",
            )

    def prepare_start(self) -> None:
        """Let the encoder rest, and build the loss of detail."""
        train_opt = self.opt["train"]
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
        return {**losses, **self.perceptual_losses(self.output, self.gt), **self.adversarial_loss(self.output)}

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
