"""How RDSR adapts: a downsampler is fitted to LR images, and makes pairs of sharp references (arXiv 2507.13915)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from basicsr.losses import build_loss
from basicsr.losses.basic_loss import CharbonnierLoss
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods.rdsr import LAYOUTS, LinearDownsampler, centre
from lightbsr_model.adaptation.adapting import Bench, GuardedAdaptation, Recipe
from lightbsr_model.adaptation.adapting_model import AdaptingModel, AdaptingOptions
from lightbsr_model.adaptation.kernel_fitting import fit_kernel, smoothed
from lightbsr_model.adaptation.targets import CROP, TargetImages, reflect
from lightbsr_model.losses.wavelet import WaveletLoss
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.runtime.random_streams import derive_seed, seeded
from lightbsr_model.training.adversarial import AdversarialModel
from lightbsr_model.training.train_options import AdversarialOptions

_LAYOUT_OF = {2: "x2_k13", 3: "x3_k27", 4: "x4_k33"}
_SIZE_OF = {2: 17, 3: 27, 4: 35}
"""Sides of the kernels that are fitted."""

_STEPS, _LR, _BETAS = 3000, {2: 2e-3, 3: 5e-4, 4: 2e-4}, (0.25, 0.999)
"""Of the published downsampler."""

_BATCH = 4
_MOST_PARTS = 6
_PART = 192
_SMOOTHING = 0.8
_NOISY = 10.0
"""Standard deviation of the blur that goes before a noisy image is restored, and the factor of the regularisation then."""

_MARGIN = 4
"""LR pixels at each side of a reference crop that teach nothing."""

_ANCHOR = 0.1
_ANCHOR_BATCH = 1


def fit_downsampler(
    hr: list[Tensor], lq: list[Tensor], scale: int, seed: int, steps: int = _STEPS, lr: float | None = None
) -> LinearDownsampler:
    """Fit the published downsampler to pairs of images, by Charbonnier's loss and half of the wavelet loss.

    Args:
        hr: Each (1, 3, scale * H, scale * W) in [0, 1].
        lq: Each (1, 3, H, W) in [0, 1], of at least CROP pixels a side.
        scale: 2, 3 or 4.
        seed: Of the initial weights and of the crops.
        steps: Number of Adam's steps.
        lr: Its rate, which falls to a hundredth along a cosine; None for the published one of the scale.

    Raises:
        OptionError: No layout for this scale.
    """
    _check_scale(scale)
    with seeded(derive_seed(seed, "downsampler")):
        net = LinearDownsampler(*LAYOUTS[_LAYOUT_OF[scale]]).to(hr[0].device)
    rate = _LR[scale] if lr is None else lr
    charbonnier, wavelet = CharbonnierLoss(eps=1e-6), WaveletLoss(0.5)
    optimiser = torch.optim.Adam(net.parameters(), lr=rate, betas=_BETAS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=rate / 100)
    generator = torch.Generator().manual_seed(derive_seed(seed, "crops"))
    for _ in range(steps):
        pairs = [_crop(hr, lq, scale, generator) for _ in range(_BATCH)]
        shrunk = net(torch.cat([pair[0] for pair in pairs]) * 255)
        target = centre(torch.cat([pair[1] for pair in pairs]) * 255, shrunk)
        optimiser.zero_grad(set_to_none=True)
        (charbonnier(shrunk, target) + wavelet(shrunk, target)).backward()
        optimiser.step()
        schedule.step()
    return net.requires_grad_(False)


def _crop(hr: list[Tensor], lq: list[Tensor], scale: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    number = int(torch.randint(len(lq), (), generator=generator))
    top, left = (int(torch.randint(side - CROP + 1, (), generator=generator)) for side in lq[number].shape[2:])
    large = hr[number][:, :, scale * top : scale * (top + CROP), scale * left : scale * (left + CROP)]
    return large, lq[number][:, :, top : top + CROP, left : left + CROP]


class FittedDegrader:
    """A kernel that was fitted to LR images and their restored images: one for all of them.

    Args:
        kernel: (k, k).
        scale: Of the network.
    """

    def __init__(self, kernel: Tensor, scale: int) -> None:
        self.kernel, self.scale = kernel, scale
        # As many LR pixels as the kernel takes off at each side; see `centre`.
        size = CROP * scale
        self._border = (CROP - ((size - len(kernel)) // scale + 1)) // 2 * scale

    def shrink(self, hr: Tensor, images: Tensor) -> Tensor:
        """Blur and downsample (N, 3, scale * H, scale * W), which the blur sees reflected at its borders."""
        planes = reflect(hr, self._border).flatten(0, 1)[:, None]
        return F.conv2d(planes, self.kernel[None, None], stride=self.scale)[:, 0].unflatten(0, hr.shape[:2])


@torch.no_grad()
def _restored(net: Any, targets: TargetImages, generator: torch.Generator) -> tuple[list[Tensor], list[Tensor]]:
    """What a network restores of LR images, and what that is to be compared with.

    Of a noisy image both would have the same noise, which looks like a sharp kernel. So noise z of its own strength is added
    to what is restored, after a slight blur, and subtracted from what that is compared with: y + z and y - z have
    independent noise (Recorrupted-to-Recorrupted, CVPR 2021).
    """
    device = next(net.parameters()).device
    restored, seen = [], []
    for part in targets.parts[:_MOST_PARTS]:
        lq, level = part.lq(device)[:, :, :_PART, :_PART], targets.noise[part.image] / 255
        given = lq
        if level:
            noise = level * torch.randn(lq.shape, generator=generator).to(device)
            given, lq = smoothed(lq + noise, _SMOOTHING).clamp(0, 1), lq - noise
        restored.append(net(given).clamp(0, 1))
        seen.append(lq)
    return restored, seen


def fitted_degrader(net: Any, targets: TargetImages, seed: int, path: str | None = None) -> FittedDegrader:
    """Fit a kernel to LR images and what a network restores of them, by least squares.

    The same kind of function as the published downsampler, in a second instead of thousands of steps.
    """
    _check_scale(net.scale)
    generator = torch.Generator().manual_seed(derive_seed(seed, "kernel"))
    hr, lq = _restored(net, targets, generator)
    more = _NOISY if max(targets.noise) else 1.0
    return FittedDegrader(fit_kernel(hr, lq, net.scale, _SIZE_OF[net.scale], generator, more), net.scale)


def downsampler_degrader(net: Any, targets: TargetImages, seed: int, path: str | None = None) -> FittedDegrader:
    """Fit the published downsampler to LR images and what a network restores of them, in the published number of steps."""
    hr, lq = _restored(net, targets, torch.Generator().manual_seed(derive_seed(seed, "kernel")))
    return FittedDegrader(fit_downsampler(hr, lq, net.scale, seed).kernel().detach(), net.scale)


def _check_scale(scale: int) -> None:
    if scale not in _SIZE_OF:
        raise OptionError(f"a degradation is fitted at x2, x3 and x4, not x{scale}.")


def _inner(images: Tensor, scale: int) -> Tensor:
    """Images without their borders, where neither the degradation nor the network sees the image."""
    margin = _MARGIN * scale
    return images[:, :, margin:-margin, margin:-margin]


def reference_losses(bench: Bench) -> Mapping[str, Tensor]:
    """L1 on references in the target's degradation; a tenth of it between the LR images restored now and at the start."""
    lq, hr = bench.pairs(_BATCH)
    with torch.no_grad():
        code = bench.net.encode(lq)
    scale = bench.net.scale
    losses = {"l_pix": F.l1_loss(_inner(bench.net.restore(lq, code), scale), _inner(hr, scale))}
    anchor = bench.targets.crops(_ANCHOR_BATCH, bench.generator, bench.device).lq
    with torch.no_grad():
        code = bench.net.encode(anchor)
        before = bench.start.restore(anchor, code)
    losses["l_anchor"] = _ANCHOR * F.l1_loss(bench.net.restore(anchor, code), before)
    return losses


REFERENCES = Recipe("references", "reconstructor", "fitted", iterations=150, lr=5e-5, losses=reference_losses)
FITTED = Recipe("fitted", "fitted", "reconstructor", iterations=150, lr=5e-5, losses=reference_losses)


references = partial(GuardedAdaptation, REFERENCES)
"""Learns from references that a trained reconstructor degrades; arguments as in :class:`GuardedAdaptation`."""

fitted = partial(GuardedAdaptation, FITTED)
"""Learns from references that a fitted kernel degrades; arguments as in :class:`GuardedAdaptation`."""


@dataclass(frozen=True)
class ReferenceOptions(AdaptingOptions):
    """Keys of ``train`` for ReferenceAdaptationModel."""

    learn_degrader: Literal["reconstructor", "fitted", "downsampler"] = key(
        "What degrades the references: a trained reconstructor, or what is fitted to the LR images: a kernel by least squares, "
        "or the published downsampler, step by step.",
        "reconstructor",
    )
    pixel_opt: dict[str, Any] = key("Loss between restored references and themselves.", kind="loss")
    anchor_opt: dict[str, Any] | None = key(
        "Loss between the LR images restored now and at the start; ~ is none.", None, kind="loss"
    )
    cycle_opt: dict[str, Any] | None = key(
        "Loss between the LR images and their restored images, degraded again; ~ is none.", None, kind="loss"
    )
    code_opt: dict[str, Any] | None = key(
        "Loss between the representations of degraded references and of the LR images; the encoder learns too then.",
        None,
        kind="loss",
    )


class _Adapting(AdaptingModel):
    """Losses of references, with or without a discriminator."""

    def degrader_name(self) -> str:
        """As ``train.learn_degrader`` says."""
        return str(self.opt["train"].get("learn_degrader") or "reconstructor")

    def init_training_settings(self) -> None:
        """Build the losses that are given."""
        train_opt = self.opt["train"]
        names = ("anchor_opt", "cycle_opt", "code_opt")
        self._criteria_of = {name: build_loss(train_opt[name]).to(self.device) for name in names if train_opt.get(name)}
        super().init_training_settings()

    def learning_parts(self) -> Sequence[nn.Module]:
        """What restores; with ``code_opt`` all of the network."""
        return (self.net_g,) if "code_opt" in self._criteria_of else (self.net_g.sr,)

    def losses(self) -> Mapping[str, Tensor]:
        """Those of the references, and of the LR images what options ask for."""
        lq, hr = self.pairs()
        # One pass over both, so that several processes average the gradients once.
        count = len(lq)
        output = self.learning_pass(torch.cat([lq, self.lq])).float()
        restored, target = output[:count], output[count:]
        losses = {"l_pix": self.cri_pix(restored, hr), **self.perceptual_losses(restored, hr)}
        criteria = self._criteria_of
        if "anchor_opt" in criteria:
            with torch.no_grad():
                before = self.start(self.lq)
            losses["l_anchor"] = criteria["anchor_opt"](target, before)
        if "cycle_opt" in criteria:
            losses["l_cycle"] = criteria["cycle_opt"](self.learnt.shrink(target, self.crops.images), self.lq)
        if "code_opt" in criteria:
            with torch.no_grad():
                code = self.start.represent(self.lq)
            losses["l_code"] = criteria["code_opt"](self.net_g.represent(lq), code)
        return {**losses, **self.judged(target, hr)}

    def judged(self, restored: Tensor, references: Tensor) -> Mapping[str, Tensor]:
        """The losses that a discriminator gives restored LR images."""
        return {}


@MODEL_REGISTRY.register()
class ReferenceAdaptationModel(_Adapting):
    """Adapts ``network_g`` to LR images with references in their degradation.

    Options, under ``train``, besides those of :class:`AdaptingModel`:
        learn_degrader (str): ``reconstructor`` (default), ``fitted`` (a kernel) or ``downsampler`` (as published).
        pixel_opt (dict): Loss between restored references and themselves.
        anchor_opt (dict): Loss between the LR images restored now and at the start. Default: none.
        cycle_opt (dict): Loss between the LR images and their restored images, degraded again. Default: none.
        code_opt (dict): Loss between representations of degraded references and of the LR images; the encoder learns too.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": ReferenceOptions}


@dataclass(frozen=True)
class AdversarialReferenceOptions(ReferenceOptions, AdversarialOptions):
    """Keys of ``train`` for AdversarialReferenceAdaptationModel."""


@MODEL_REGISTRY.register()
class AdversarialReferenceAdaptationModel(_Adapting, AdversarialModel):
    """:class:`ReferenceAdaptationModel` with a discriminator of references and restored LR images (ReferenceDiscriminator).

    Options besides: those of :class:`AdversarialModel`. The published loss is ``gan_opt: {type: GANLoss, gan_type: lsgan}``.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": AdversarialReferenceOptions}

    def judged(self, restored: Tensor, references: Tensor) -> Mapping[str, Tensor]:
        """That of being taken for sharp; BatchNorm keeps its statistics, since the two kinds of images differ."""
        self.net_d.eval()
        return self.adversarial_loss(restored, real=references)
