"""Models of :class:`~support.method_cases.MethodCase` in this process: building them, batches, steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from basicsr.models import build_model
from torch.nn import functional as F

from lightbsr_arch.layers.camera import mosaic
from lightbsr_model.degradation import isotropic_gaussian_kernels

from support.method_cases import MethodCase
from support.model_options import TEACHER_NETWORK, model_options


def options_of(case: MethodCase, folder: Path, encoder_iter: int = 8, total_iter: int = 8) -> dict[str, Any]:
    """Options of a case's model; a teacher that it needs is written to a folder."""
    return case.apply(model_options("teacher", TEACHER_NETWORK, encoder_iter, total_iter), case.save_teacher(folder))


def build(case: MethodCase, folder: Path, encoder_iter: int = 8, total_iter: int = 8, **train: Any) -> Any:
    """A model of a case; ``train`` are keys of that section, and ``fused`` of its optimiser."""
    opt = options_of(case, folder, encoder_iter, total_iter)
    opt["train"]["optim_g"]["fused"] = train.pop("fused", False)
    opt["train"].update(train)
    torch.manual_seed(2)
    return build_model(opt)


def noise_batch(views: int, seed: int = 0, count: int = 4) -> dict[str, Any]:
    """Images of noise under random kernels."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "gt_views": torch.randint(0, 256, (count, views, 3, 32, 32), generator=generator).byte(),
        "kernel": isotropic_gaussian_kernels(0.2 + 3 * torch.rand(count, generator=generator)),
        "noise_level": torch.zeros(count),
        "gt_path": ["a"] * count,
    }


def smooth_batch(views: int, count: int = 6) -> dict[str, Any]:
    """Smooth images, so that there is something to restore."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 1, 3, 6, 6, generator=generator).expand(-1, views, -1, -1, -1).flatten(0, 1)
    gt = F.interpolate(coarse, size=(48, 48), mode="bicubic", align_corners=False).clamp(0, 1)
    kernel = isotropic_gaussian_kernels(0.2 + 3.5 * torch.rand(count, generator=generator))
    gt_views = (255 * gt).round().byte().view(count, views, 3, 48, 48)
    return {**noise_batch(views, count=count), "gt_views": gt_views, "kernel": kernel}


def burst_batch(frames: int, seed: int = 0, count: int = 4) -> dict[str, Any]:
    """Bursts of smooth images, which move to the right, with noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    gt = F.interpolate(coarse, size=(64, 64), mode="bicubic", align_corners=False).clamp(0, 1)
    # By a packed pixel a frame.
    packed = mosaic(F.avg_pool2d(F.pad(gt, (0, 8 * frames, 0, 0), mode="replicate"), 4))
    seen = torch.stack([packed[..., number : number + 8] for number in range(frames)], dim=1)
    flow = torch.zeros(count, frames - 1, 2, 8, 8)
    flow[:, :, 0] = -torch.arange(1.0, frames).view(1, -1, 1, 1)
    noisy = (seen + 0.02 * torch.randn(seen.shape, generator=generator)).clamp(0, 1)
    return {"frames": noisy, "gt": gt, "flow": flow, "gt_path": ["a"] * count}


def smooth_batch_of(case: MethodCase) -> dict[str, Any]:
    """What a case learns from: smooth images, or bursts."""
    return burst_batch(case.frames, count=6) if case.frames else smooth_batch(case.views)


def noise_batch_of(case: MethodCase, seed: int) -> dict[str, Any]:
    """What a case takes a step on: images of noise, or bursts."""
    return burst_batch(case.frames, seed) if case.frames else noise_batch(case.views, seed)


def train(model: Any, iterations: Iterable[int], batch_of: Callable[[int], dict[str, Any]]) -> list[dict[str, float]]:
    """Train on the batch of each iteration; the losses."""
    logs = []
    for iteration in iterations:
        model.update_learning_rate(iteration)
        model.feed_data(batch_of(iteration))
        model.optimize_parameters(iteration)
        logs.append(dict(model.get_current_log()))
    return logs
