from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from lightbsr_model.degradation import (
    add_gaussian_noise,
    anisotropic_gaussian_kernels,
    bicubic_downsample,
    blur,
    blur_and_downsample,
    degrade,
    isotropic_gaussian_kernels,
    quantise,
)

CASES = ["iso_1.2", "iso_3.6", "aniso_2.0_0.5_0.0", "aniso_3.5_2.0_45.0", "bicubic_x2"]


def _kernel(case: str) -> torch.Tensor:
    kind, *numbers = case.split("_")
    if kind == "bicubic":
        return isotropic_gaussian_kernels(torch.zeros(1))
    values = [torch.tensor([float(number)], dtype=torch.float64) for number in numbers]
    if kind == "iso":
        return isotropic_gaussian_kernels(values[0]).float()
    return anisotropic_gaussian_kernels(values[0], values[1], values[2] * math.pi / 180).float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_equal_to_published(golden, case, dtype):
    data = golden("degradation")
    kernel, scale = _kernel(case), 2 if case.endswith("x2") else 4
    if len(data[f"{case}_kernel"]):
        torch.testing.assert_close(kernel, data[f"{case}_kernel"], rtol=0, atol=1e-6)
    low = blur_and_downsample(data[f"{case}_gt"].to(dtype), kernel.to(dtype), scale)
    torch.testing.assert_close(low.float(), data[f"{case}_unrounded"], rtol=0, atol=1e-2)
    lq = degrade(data[f"{case}_gt"], kernel.to(dtype), None, scale)
    off = (lq.float() - data[f"{case}_lq"]).abs() * 255
    assert off.max() < 1.5
    assert (off > 0.5).float().mean() < 1e-3  # a half may round either way


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blur_is_correlation_with_reflected_border(dtype):
    rng = np.random.default_rng(0)
    images, kernels = rng.random((2, 3, 24, 31)), rng.random((2, 7, 7))
    expected = np.empty_like(images)
    for index in np.ndindex(2, 3):
        expected[index] = ndimage.convolve(images[index], kernels[index[0]], mode="mirror")
    actual = blur(torch.tensor(images, dtype=dtype), torch.tensor(kernels, dtype=dtype))
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-5 if dtype == torch.float32 else 1e-11)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(24, 36), (12, 12)])
def test_symmetric_bicubic_is_matlabs(scale, size):
    from basicsr.utils.matlab_functions import imresize

    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    expected = imresize(image, 1 / scale)
    actual = bicubic_downsample(image[None], scale, "symmetric")[0]
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_borders_differ_only_at_the_border():
    image = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    difference = (bicubic_downsample(image, 4, "clamp") - bicubic_downsample(image, 4, "symmetric")).abs()[0, 0]
    assert difference[2:-2, 2:-2].max() < 1e-6
    assert difference[0].max() > 1e-3


def test_clamped_bicubic_repeats_the_edge():
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    larger = torch.nn.functional.pad(image, (16,) * 4, mode="replicate")
    torch.testing.assert_close(bicubic_downsample(image, 4), bicubic_downsample(larger, 4)[..., 4:-4, 4:-4])


def test_views_share_the_kernel_and_have_noise_of_their_own():
    gt = torch.full((2, 3, 3, 32, 32), 128, dtype=torch.uint8)
    kernels = isotropic_gaussian_kernels(torch.tensor([1.0, 2.0]))
    noise = torch.tensor([0.0, 10.0])
    lq = degrade(gt, kernels, noise, 4, generator=torch.Generator().manual_seed(0))
    assert lq.shape == (2, 3, 3, 8, 8)
    torch.testing.assert_close(lq[0], torch.full((3, 3, 8, 8), 128 / 255))
    assert not torch.equal(lq[1, 0], lq[1, 1])
    again = degrade(gt, kernels, noise, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(lq, again)
    torch.testing.assert_close(lq * 255, (lq * 255).round(), rtol=0, atol=1e-4)


def test_noise_has_its_level():
    noisy = add_gaussian_noise(torch.zeros(2, 3, 128, 128), torch.tensor([5.0, 20.0]), torch.Generator().manual_seed(0))
    torch.testing.assert_close(noisy.std(dim=(1, 2, 3)), torch.tensor([5.0, 20.0]), rtol=0.02, atol=0)
    assert noisy.mean(dim=(1, 2, 3)).abs().max() < 0.3


def test_quantise_rounds_and_clamps():
    values = torch.tensor([-3.0, 0.4, 0.6, 254.6, 300.0])
    torch.testing.assert_close(quantise(values), torch.tensor([0.0, 0.0, 1.0, 255.0, 255.0]) / 255)


def test_smooth_part_is_differentiable():
    gt = torch.rand(1, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor([1.3], dtype=torch.float64, requires_grad=True)

    def low(images, width):
        return blur_and_downsample(images, isotropic_gaussian_kernels(width, size=7), 2)

    assert torch.autograd.gradcheck(low, (gt, sigma))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: blur(torch.rand(1, 3, 10, 30), torch.rand(1, 21, 21)), "30x10 is too small"),
        (lambda: blur(torch.rand(2, 3, 30, 30), torch.rand(1, 21, 21)), r"\(2, k, k\)"),
        (lambda: bicubic_downsample(torch.rand(1, 3, 10, 12), 4), "12x10 cannot be shrunk by 4"),
        (lambda: bicubic_downsample(torch.rand(1, 3, 8, 8), 4, "wrap"), "border"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
