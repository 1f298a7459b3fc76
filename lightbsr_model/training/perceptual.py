"""Losses between VGG features, for models in phases whose users have the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from basicsr.archs import vgg_arch
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.training.phased_model import CheckedOptions, PhasedModel
from lightbsr_model.training.train_options import PhasedOptions


@dataclass(frozen=True)
class PerceptualOptions(PhasedOptions):
    """Keys of ``train`` for PerceptualModel."""

    perceptual_opt: dict[str, Any] | None = key(
        "Loss between VGG features of the same images as pixel_opt; the weights must be on this machine.",
        None,
        kind="loss",
    )


class PerceptualModel(PhasedModel):
    """A model in phases whose losses may compare VGG features of images.

    Options, under ``train``, besides those of :class:`PhasedModel`:
        perceptual_opt (dict): BasicSR's PerceptualLoss. VGG's weights are not fetched: they must be on this machine.
            Default: none.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": PerceptualOptions}

    @classmethod
    def check_options(cls, check: CheckedOptions) -> Iterator[tuple[tuple[str, ...], str]]:
        """Weights that are not on this machine."""
        yield from super().check_options(check)
        problem = perceptual_problem(check.good("train", "perceptual_opt"))
        if problem is not None:
            yield ("train", "perceptual_opt"), problem.rstrip(".")

    def init_training_settings(self) -> None:
        """As in :class:`PhasedModel`, once the weights are there.

        Raises:
            OptionError: They are not.
        """
        if problem := perceptual_problem(self.opt["train"].get("perceptual_opt")):
            raise OptionError("train.perceptual_opt", problem)
        super().init_training_settings()

    def perceptual_losses(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """``l_percep`` and ``l_style`` of images, as far as ``train.perceptual_opt`` gives them a weight.

        Args:
            output: (N, 3, H, W) in [0, 1].
            target: What it should look like.
        """
        if self.cri_perceptual is None:
            return {}
        found = zip(("l_percep", "l_style"), self.cri_perceptual(output, target), strict=True)
        return {name: loss for name, loss in found if loss is not None}


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
        "torchvision's file there, or leave perceptual_opt out (wavelet_opt of BlindGANModel needs no weights)."
    )
