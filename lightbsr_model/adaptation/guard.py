"""The guard: whether an adapted network may go out, judged on images and by figures that it did not learn from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from basicsr.metrics.niqe import calculate_niqe
from torch import Tensor

from lightbsr_model.adaptation.degraders import Degrader, degrade
from lightbsr_model.adaptation.references import MARGIN, References
from lightbsr_model.adaptation.targets import TargetImages, psnr_y

LEAST_GAIN = 0.05
"""PSNR-Y in dB that held-out images must gain."""

MOST_CHANGE = 8.0
"""Grey levels by which restored images may change on average."""

MOST_NIQE = 1.1
"""Factor by which NIQE of the restored images may rise."""

_NIQE_SIDE = 192
"""Sides below which NIQE has too few blocks to say anything."""

_SHOWN = 192
"""Side of the parts of LR images that are restored to be looked at."""

_MOST_SHOWN = 3
_TOGETHER = 4


@dataclass(frozen=True)
class Figures:
    """What is measured of a network; images of the target are looked at in parts."""

    psnr: Mapping[str, float]
    """PSNR-Y in dB on held-out crops that did not choose the weights, by the name of what degraded them."""
    residual: float
    """Mean difference between the LR images and their restored images degraded again, in grey levels."""
    niqe: float | None
    """Mean of the restored images; None where they are too small for it."""
    change: float = 0.0
    """Mean difference to what the network restored before it was adapted, in grey levels."""

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """Whether a network may go out."""

    better: bool
    reason: str
    """One sentence."""
    gains: Mapping[str, float] = field(default_factory=dict)
    """PSNR-Y gained in dB, by the name of what degraded the images."""


class Judge:
    """Measures networks on held-out sharp images in the target's degradation, and on the LR images themselves.

    Args:
        targets: The LR images.
        references: Sharp images, some of which are held out.
        degraders: What degrades them, by name; the first is what the network learns by.
        seed: Of the noise.
        device: Of the networks.
    """

    def __init__(
        self,
        targets: TargetImages,
        references: References,
        degraders: Mapping[str, Degrader],
        seed: int,
        device: torch.device,
    ) -> None:
        self._targets, self._degraders = targets, degraders
        generator = torch.Generator().manual_seed(seed)
        self._choosing, self._judging = (
            _degraded(half, targets, degraders, generator) for half in references.held_out_halves(device)
        )
        self._border = MARGIN * references.scale
        self.shown = _shown(targets, device)
        """Names, numbers of images and parts of LR images (1, 3, H, W) that are restored to be looked at."""

    def choosing_psnr(self, net: Any) -> dict[str, float]:
        """PSNR-Y on the crops by which weights are chosen, by the name of what degraded them.

        The best of several measurements is better than it would be on other crops: these do not judge.
        """
        return self._psnr(net, self._choosing)

    @torch.no_grad()
    def _psnr(self, net: Any, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
        return {name: float(_psnr_of(net, lq, gt, self._border).mean()) for name, (lq, gt) in pairs.items()}

    @torch.no_grad()
    def restore(self, net: Any) -> list[Tensor]:
        """The shown parts restored, each (1, 3, scale * H, scale * W) in [0, 1]."""
        return [net(lq).clamp(0, 1) for _, _, lq in self.shown]

    @torch.no_grad()
    def figures(self, net: Any, restored: Sequence[Tensor], before: Sequence[Tensor] | None = None) -> Figures:
        """All that is measured.

        Args:
            net: The network.
            restored: The shown parts as it restores them, of :meth:`restore`.
            before: As the network restored them at the start; None at the start.
        """
        first = next(iter(self._degraders.values()))
        residuals, changes, niqes = [], [0.0], []
        for place, ((_, image, lq), sr) in enumerate(zip(self.shown, restored, strict=True)):
            again = first.shrink(sr, torch.tensor([image]))
            residuals.append(255 * float((again - lq).abs().mean()))
            if before is not None:
                changes.append(255 * float((sr - before[place]).abs().mean()))
            if min(sr.shape[2:]) >= _NIQE_SIDE:
                niqes.append(niqe(sr))
        return Figures(
            self._psnr(net, self._judging),
            float(np.mean(residuals)),
            float(np.mean(niqes)) if niqes else None,
            max(changes),
        )


def judge(before: Figures, after: Figures, judges: Sequence[str], noise: float) -> Verdict:
    """Decide whether an adapted network may go out.

    Args:
        before: Figures of the network at the start.
        after: Those of the adapted one.
        judges: Names of what must show a gain.
        noise: The largest standard deviation of the noise that was estimated, in grey levels.
    """
    gains = {name: after.psnr[name] - value for name, value in before.psnr.items()}
    least = min(gains[name] for name in judges)
    # What the network at the start does not keep either is not held against the adapted one.
    most_residual = max(3 * noise + 3, before.residual)
    faults = []
    if least < LEAST_GAIN:
        faults.append(f"on held-out images it gains {least:+.2f} dB, less than {LEAST_GAIN} dB")
    if after.change > MOST_CHANGE:
        faults.append(
            f"restored images change by {after.change:.1f} grey levels on average, more than {MOST_CHANGE:.0f}"
        )
    if before.niqe is not None and after.niqe is not None and after.niqe > MOST_NIQE * before.niqe:
        faults.append(f"NIQE rises from {before.niqe:.2f} to {after.niqe:.2f}, by more than 10 %")
    if after.residual > most_residual:
        faults.append(
            f"degraded again, restored images differ from the given ones by {after.residual:.1f} grey levels, more than "
            f"{most_residual:.1f}"
        )
    if faults:
        return Verdict(False, f"not better, nothing written: {'; '.join(faults)}.", gains)
    return Verdict(True, f"better: on held-out images it gains {least:+.2f} dB.", gains)


def niqe(restored: Tensor) -> float:
    """NIQE of Y of a (1, 3, H, W) image in [0, 1], BasicSR's; lower is better, infinite for an image without any detail."""
    image = (restored[0] * 255).round().permute(1, 2, 0).cpu().numpy()[:, :, ::-1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found = float(np.squeeze(calculate_niqe(np.ascontiguousarray(image), 0, "HWC", "y")))
    except np.linalg.LinAlgError:
        return float("inf")
    return found if np.isfinite(found) else float("inf")


def _degraded(
    gt: Tensor, targets: TargetImages, degraders: Mapping[str, Degrader], generator: torch.Generator
) -> dict[str, tuple[Tensor, Tensor]]:
    """LR and sharp crops, by the name of what degraded them."""
    images = torch.arange(len(gt)) % len(targets.names)
    return {name: (degrade(degrader, targets, gt, images, generator), gt) for name, degrader in degraders.items()}


def _psnr_of(net: Any, lq: Tensor, gt: Tensor, border: int) -> Tensor:
    values = [
        psnr_y(net(lq[start : start + _TOGETHER]), gt[start : start + _TOGETHER], border)
        for start in range(0, len(lq), _TOGETHER)
    ]
    return torch.cat(values)


def _shown(targets: TargetImages, device: torch.device) -> list[tuple[str, int, Tensor]]:
    """The middle of one part of each of the first images, or of several parts of a single one."""
    firsts = {part.image: part for part in reversed(targets.parts)}
    chosen = [firsts[image] for image in sorted(firsts)][:_MOST_SHOWN]
    if len(firsts) == 1:
        chosen = targets.parts[:_MOST_SHOWN]
    shown = []
    for part in chosen:
        lq = part.lq(device)
        top, left = (max(0, (side - _SHOWN) // 2) for side in lq.shape[2:])
        shown.append((targets.names[part.image], part.image, lq[:, :, top : top + _SHOWN, left : left + _SHOWN]))
    return shown
