"""How a network learns from pairs that do not lie over each other (mimicked alignment, arXiv 2410.05410)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods.mimicked import MimicNet
from lightbsr_model.degradation import add_gaussian_noise, bicubic_downsample, compress_jpeg
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.runtime.processes import wrap_for_processes
from lightbsr_model.runtime.random_streams import derive_seed
from lightbsr_model.training.phased_model import PhasedModel
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.train_options import PhasedOptions


@dataclass(frozen=True)
class ResidualOptions:
    """Keys of ``residual``: what is done to a copy of the HR image, besides downsampling it."""

    noise: list[int] = key(
        "Lowest and highest standard deviation of its noise, of 255.", [5, 30], low=0, high=255, length=2
    )
    jpeg: list[int] = key("Lowest and highest JPEG quality.", [60, 95], low=1, high=100, length=2)


@dataclass(frozen=True)
class MimickedAlignmentOptions(PhasedOptions):
    """Keys of ``train`` for MimickedAlignmentModel."""

    pixel_opt: dict[str, Any] = key("Loss between restored and GT images.", kind="loss")
    align_opt: dict[str, Any] = key(
        "Loss between the LR image that network_mim makes and the true one, such as FlowAlignedL1Loss.", kind="loss"
    )
    low_pass_opt: dict[str, Any] | None = key(
        "Loss between the colours of that LR image and the GT image's, such as LowPassL1Loss.", None, kind="loss"
    )
    optim_mim: dict[str, Any] | None = key(
        "The optimiser of network_mim; ~ is that of network_g.", None, kind="optimiser"
    )
    residual: ResidualOptions | None = key(
        "Let network_mim add to a noisy, compressed copy of the GT image; ~ is the downsampled GT image itself.", None
    )
    published_start: bool = key(
        "network_mim starts at random and takes the GT image away again, whose corners are aligned, as published.",
        False,
    )


@MODEL_REGISTRY.register()
class MimickedAlignmentModel(PhasedModel):
    """Trains any ``network_g`` on pairs whose LR images lie, turn, zoom and look a little other than their GT images.

    An auxiliary network makes an LR image with the place and colours of the GT image and the degradation of the true LR
    image; from that one ``network_g`` learns. Nothing of it is left in ``network_g``, which is tested and used alone.

    Options, besides those of :class:`PhasedModel`:
        network_mim (dict): The auxiliary network, MimicNet.
        path.pretrain_network_mim, path.strict_load_mim, path.param_key_mim: As for ``network_g``.
        train: See :class:`MimickedAlignmentOptions`.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": MimickedAlignmentOptions}
    networks: ClassVar[tuple[str, ...]] = ("network_g", "network_mim")
    aligns_pairs: ClassVar[bool] = True
    """Finished pairs of slightly unequal size and position are good enough."""
    net_mim: nn.Module

    def init_training_settings(self) -> None:
        """Build the auxiliary network and its losses too.

        Raises:
            OptionError: ``network_mim`` or ``train.align_opt`` is missing, or a loss cannot be built.
        """
        if not self.opt.get("network_mim"):
            raise OptionError("network_mim", f"missing; {type(self).__name__} trains it beside network_g.")
        train_opt = self.opt["train"]
        try:
            self.cri_align = self.required_loss("align_opt")
        except OptionError as error:
            raise error if error.key.startswith("train.") else error.within("train.align_opt") from error
        low_pass_opt = train_opt.get("low_pass_opt")
        self.cri_low_pass = None if low_pass_opt is None else build_loss(low_pass_opt).to(self.device)
        self.as_published = bool(train_opt.get("published_start"))
        residual = train_opt.get("residual")
        self.residual = None if residual is None else {**{"noise": [5, 30], "jpeg": [60, 95]}, **residual}
        for name, (low, high) in (self.residual or {}).items():
            if low > high:
                raise OptionError(f"train.residual.{name}", f"expected [lowest, highest], got [{low}, {high}].")
        self.net_mim = self.model_to_device(build_network(self.opt["network_mim"]))
        if not self.as_published and isinstance(self.net_mim, MimicNet):
            self.net_mim.start_at_zero()
        path = self.opt["path"]
        if path.get("pretrain_network_mim") is not None:
            key_of_weights = path.get("param_key_mim", "params")
            self.load_network(
                self.net_mim, path["pretrain_network_mim"], path.get("strict_load_mim", True), key_of_weights
            )
        self._mimic: nn.Module | None = None
        self._noise = torch.Generator(self.device)
        self._passes = 0
        super().init_training_settings()
        self.net_mim.train()

    def setup_optimizers(self) -> None:
        """The network's optimiser, then the auxiliary network's."""
        super().setup_optimizers()
        optim_opt = dict(self.opt["train"].get("optim_mim") or self.opt["train"]["optim_g"])
        self.optimizer_mim = self.get_optimizer(optim_opt.pop("type"), list(self.net_mim.parameters()), **optim_opt)
        self.optimizers.append(self.optimizer_mim)

    def build_phases(self) -> Sequence[Phase]:
        """One phase."""
        return (Phase("alignment", None, (self.net_g,), "forward", self._losses),)

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """As in :class:`PhasedModel`; an iteration begins."""
        self._passes = 0
        super().update_learning_rate(current_iter, warmup_iter)

    def mimic(self) -> tuple[Tensor, Tensor]:
        """The LR image that the auxiliary network makes of the batch, and the downsampled GT image.

        Raises:
            OptionError: The batch has no GT images, or of another scale.
        """
        scale = int(self.opt["scale"])
        height, width = self.lq.shape[2:]
        gt = getattr(self, "gt", None)
        if gt is None or gt.shape[2:] != (scale * height, scale * width):
            found = "none" if gt is None else f"{gt.shape[3]}x{gt.shape[2]}"
            raise OptionError(
                f"a batch has LR images of {width}x{height} and GT images of {found}: expected GT images of "
                f"{scale * width}x{scale * height}, by scale; pairs may be misaligned, but not of another scale."
            )
        low = low_gt(gt, scale, self.as_published)
        start = low
        if self.residual is not None:
            self._passes += 1
            seed = derive_seed(
                self.opt["manual_seed"], "residual", self.opt["rank"], self.degrader.iteration, self._passes
            )
            start = degraded_copy(gt, scale, self.residual, seed, self._noise)
        if self._mimic is None:
            self._mimic = wrap_for_processes(self.net_mim, self.device)
        with self.precision.autocast():
            added = self._mimic(low, self.lq)
        added = added.float() + start
        return (added - low if self.as_published else added).clamp(0, 1), low

    def optimize_parameters(self, current_iter: int) -> None:
        """The network's step on what was made, then the auxiliary network's."""
        super().optimize_parameters(current_iter)
        self.optimizer_mim.zero_grad(set_to_none=True)
        made, low = self._made
        losses = {"l_align": self.cri_align(made, self.lq, self.gt)}
        if self.cri_low_pass is not None:
            losses["l_colour"] = self.cri_low_pass(made, low)
        self.precision.backward(torch.stack(list(losses.values())).sum())
        self.optimizer_mim.step()
        self.log_dict.update((name, loss.detach()) for name, loss in losses.items())

    def _losses(self) -> Mapping[str, Tensor]:
        self._made = self.mimic()
        return self.pixel_loss(self.learning_pass(self._made[0].detach()))

    def restore_batch(self, net: Any) -> Tensor:
        """As in :class:`PhasedModel`; images are padded to whole windows where the network has some, as BasicSR does."""
        window = int(self.opt["network_g"].get("window_size") or 1)
        height, width = self.lq.shape[2:]
        padded = F.pad(self.lq, (0, -width % window, 0, -height % window), "reflect")
        restored: Tensor = net(padded)
        scale = restored.shape[2] // padded.shape[2]
        return restored[:, :, : scale * height, : scale * width]

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the auxiliary network too."""
        self.save_network(self.net_mim, "net_mim", current_iter)
        super().save(epoch, current_iter)


def low_gt(gt: Tensor, scale: int, published: bool = False) -> Tensor:
    """The downsampled GT image, (N, 3, h, w), not clamped.

    Args:
        gt: (N, 3, scale * h, scale * w).
        scale: The factor.
        published: Lay the corner pixels over each other, without antialiasing, as the published code does: a drift of up to
            half an LR pixel at the borders.
    """
    if published:
        size = [side // scale for side in gt.shape[2:]]
        return F.interpolate(gt, size=size, mode="bicubic", align_corners=True)
    return bicubic_downsample(gt, scale)


def degraded_copy(
    gt: Tensor, scale: int, residual: Mapping[str, Sequence[int]], seed: int, generator: torch.Generator
) -> Tensor:
    """A copy of GT images at LR size: shrunk (bilinear), noisy and compressed, in an order that is drawn for the batch.

    Args:
        gt: (N, 3, scale * h, scale * w) in [0, 1].
        scale: The factor.
        residual: Ranges of ``noise`` (standard deviation, of 255) and ``jpeg`` (quality), whose integers are drawn for each
            sample.
        seed: Of all that is drawn.
        generator: On the device; it is seeded here.

    Returns:
        (N, 3, h, w) in [0, 1].
    """
    on_host = random.Random(seed)
    generator.manual_seed(seed)

    def drawn(low: int, high: int) -> Tensor:
        values = [on_host.randint(low, high) for _ in range(len(gt))]
        return torch.tensor(values, dtype=torch.float32).to(gt.device, non_blocking=True)

    noise_level, quality = drawn(*residual["noise"]), drawn(*residual["jpeg"])
    images = 255 * gt.float()
    for step in on_host.sample(("shrink", "noise", "jpeg"), 3):
        if step == "shrink":
            size = [side // scale for side in gt.shape[2:]]
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        elif step == "noise":
            images = add_gaussian_noise(images, noise_level, generator).clamp(0, 255)
        else:
            images = compress_jpeg(images, quality)
    return images.clamp(0, 255) / 255
