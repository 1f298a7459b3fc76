from __future__ import annotations

import math

import pytest
import torch

from lightbsr_model.degradation import blur_and_downsample, structured
from lightbsr_model.degradation.blur import blur
from lightbsr_model.degradation.kernels import anisotropic_gaussian_kernels, isotropic_gaussian_kernels
from lightbsr_model.degradation.resize import bicubic_downsample
from lightbsr_model.degradation.structured import structured_blur_and_downsample


def _kernels(kind: str, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    u, v, w = torch.rand(3, count, generator=generator, dtype=torch.float64)
    if kind == "isotropic":
        return isotropic_gaussian_kernels(u * 4).float()
    if kind == "anisotropic":
        return anisotropic_gaussian_kernels(0.2 + 3.8 * u, 0.2 + 3.8 * v, math.pi * w).float()
    if kind == "upright":  # separable, and not the same in both directions
        return anisotropic_gaussian_kernels(0.2 + 3.8 * u, 0.2 + 3.8 * v, torch.zeros_like(w)).float()
    if kind == "any":
        kernels = torch.rand(count, 21, 21, generator=generator)
        return kernels / kernels.sum((1, 2), keepdim=True)
    return isotropic_gaussian_kernels(torch.zeros(count)).float()


def _plain(gt: torch.Tensor, kernels: torch.Tensor, scale: int, border: str) -> torch.Tensor:
    return bicubic_downsample(blur(gt.double(), kernels.double()), scale, border)


@pytest.mark.parametrize("border", ["clamp", "symmetric"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kind", ["isotropic", "anisotropic", "upright", "any", "none"])
@pytest.mark.parametrize("size", [(256, 256), (24, 132), (300, 12)])
def test_it_is_the_blur_and_the_downsampling(kind, scale, border, size, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    gt = torch.randint(0, 256, (3, 2, *(side - side % scale for side in size)), generator=generator, dtype=torch.uint8)
    kernels = _kernels(kind, 3)
    expected = _plain(gt, kernels, scale, border)
    for on_cpu in (True, False):
        monkeypatch.setattr(structured, "_is_on_cpu", lambda _, on_cpu=on_cpu: on_cpu)
        for separable in {False, kind in ("isotropic", "upright", "none")}:
            low = structured_blur_and_downsample(gt, kernels, scale, border, separable)
            assert (low - expected).abs().max() < 1e-3
            assert (low.round() != expected.round()).sum() <= max(1, 3e-4 * low.numel())


def test_who_takes_it(monkeypatch):
    from lightbsr_model.degradation import pipeline

    calls = []
    monkeypatch.setattr(
        pipeline,
        "structured_blur_and_downsample",
        lambda *arguments: calls.append(1) or structured_blur_and_downsample(*arguments),
    )
    kernels = _kernels("anisotropic", 2)
    gt = torch.rand(2, 3, 48, 48) * 255
    low = blur_and_downsample(gt, kernels, 4)
    assert calls == [1]
    assert (low - _plain(gt, kernels, 4, "clamp")).abs().max() < 1e-3
    blur_and_downsample(gt.double(), kernels.double(), 4)
    blur_and_downsample(torch.zeros(1, 1, 516, 16), kernels[:1], 4)
    learning = kernels.clone().requires_grad_()
    blur_and_downsample(gt, learning, 4).sum().backward()
    assert calls == [1]
    assert learning.grad is not None
    with pytest.raises(ValueError, match="too small"):
        blur_and_downsample(torch.zeros(1, 1, 8, 48), kernels[:1], 4)
    with pytest.raises(ValueError, match="multiple"):
        blur_and_downsample(torch.zeros(1, 1, 50, 48), kernels[:1], 4)
