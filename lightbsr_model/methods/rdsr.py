"""How RDSR adapts: a downsampler is fitted to LR images, and makes pairs of sharp references (arXiv 2507.13915)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.losses.basic_loss import CharbonnierLoss
from torch import Tensor
from torch.nn import functional as F

from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods.rdsr import LAYOUTS, LinearDownsampler, centre
from lightbsr_model.adaptation.adapting import Bench, GuardedAdaptation, Recipe
from lightbsr_model.adaptation.targets import CROP, TargetImages, reflect
from lightbsr_model.losses.wavelet import WaveletLoss
from lightbsr_model.runtime.random_streams import derive_seed, seeded

_LAYOUT_OF = {2: "x2_k13", 3: "x3_k27", 4: "x4_k33"}
_STEPS, _BATCH, _LR, _BETAS = 500, 4, 1e-3, (0.25, 0.999)
_NUM_FEAT = 16
"""Channels between the layers that are fitted; the published 64 make the same kind of function at many times the cost."""

_MOST_PARTS = 6
_ANCHOR = 0.1
_ANCHOR_BATCH = 1


def fit_downsampler(
    hr: list[Tensor], lq: list[Tensor], scale: int, seed: int, steps: int = _STEPS, lr: float = _LR
) -> LinearDownsampler:
    """Fit a downsampler to pairs of images, by Charbonnier's loss and half of the wavelet loss.

    Args:
        hr: Each (1, 3, scale * H, scale * W) in [0, 1].
        lq: Each (1, 3, H, W) in [0, 1], of at least CROP pixels a side.
        scale: 2, 3 or 4.
        seed: Of the initial weights and of the crops.
        steps: Number of Adam's steps.
        lr: Its rate, which falls to a hundredth along a cosine.

    Raises:
        OptionError: No layout for this scale.
    """
    if scale not in _LAYOUT_OF:
        raise OptionError(f"a downsampler is fitted at x2, x3 and x4, not x{scale}.")
    with seeded(derive_seed(seed, "downsampler")):
        net = LinearDownsampler(*LAYOUTS[_LAYOUT_OF[scale]], num_feat=_NUM_FEAT).to(hr[0].device)
    charbonnier, wavelet = CharbonnierLoss(eps=1e-6), WaveletLoss(0.5)
    optimiser = torch.optim.Adam(net.parameters(), lr=lr, betas=_BETAS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=lr / 100)
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

    largest_noise = float("inf")

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
def _restored(net: Any, targets: TargetImages) -> tuple[list[Tensor], list[Tensor]]:
    device = next(net.parameters()).device
    lq = [part.lq(device)[:, :, :192, :192] for part in targets.parts[:_MOST_PARTS]]
    return [net(one).clamp(0, 1) for one in lq], lq


def fitted_degrader(net: Any, targets: TargetImages, seed: int, path: str | None = None) -> FittedDegrader:
    """Fit a downsampler to LR images and what a network restores of them."""
    hr, lq = _restored(net, targets)
    return FittedDegrader(fit_downsampler(hr, lq, net.scale, seed).kernel().detach(), net.scale)


def reference_losses(bench: Bench) -> Mapping[str, Tensor]:
    """L1 on references in the target's degradation; a tenth of it between the LR images restored now and at the start."""
    lq, hr = bench.pairs(_BATCH)
    with torch.no_grad():
        code = bench.net.encode(lq)
    losses = {"l_pix": F.l1_loss(bench.net.restore(lq, code), hr)}
    anchor = bench.targets.crops(_ANCHOR_BATCH, bench.generator, bench.device).lq
    with torch.no_grad():
        code = bench.net.encode(anchor)
        before = bench.start.restore(anchor, code)
    losses["l_anchor"] = _ANCHOR * F.l1_loss(bench.net.restore(anchor, code), before)
    return losses


REFERENCES = Recipe("references", "reconstructor", "fitted", iterations=300, lr=5e-5, losses=reference_losses)
FITTED = Recipe("fitted", "fitted", "reconstructor", iterations=300, lr=5e-5, losses=reference_losses)


def references(
    references: str = "bundled",
    seed: int = 0,
    iterations: int | None = None,
    lr: float | None = None,
    reconstructor: str | None = None,
) -> GuardedAdaptation:
    """Learn from references that a trained reconstructor degrades; arguments as in :class:`GuardedAdaptation`."""
    return GuardedAdaptation(REFERENCES, references, seed, iterations, lr, reconstructor)


def fitted(
    references: str = "bundled",
    seed: int = 0,
    iterations: int | None = None,
    lr: float | None = None,
    reconstructor: str | None = None,
) -> GuardedAdaptation:
    """Learn from references that the fitted downsampler degrades, as published; arguments as in :class:`GuardedAdaptation`."""
    return GuardedAdaptation(FITTED, references, seed, iterations, lr, reconstructor)
