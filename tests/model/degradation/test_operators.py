"""Each operation of real-world degradations against an independent computation."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import torch
from basicsr.data import degradations as basicsr
from PIL import Image
from torch import Tensor

from lightbsr_model.degradation.jpeg import compress_jpeg
from lightbsr_model.degradation.mixed_kernels import mixed_kernels
from lightbsr_model.degradation.noise import add_grey_or_colour_noise, add_poisson_noise, count_levels
from lightbsr_model.degradation.operators import DeviceOperators, ExactOperators, to_8_bits
from lightbsr_model.degradation.resize import resize


def _image(height=48, width=60) -> Tensor:
    return torch.from_numpy(skimage.data.astronaut()[:height, 100 : 100 + width].transpose(2, 0, 1).copy())[None]


def _kernels(size: int) -> Tensor:
    """An oblique Gaussian and a sinc."""
    numbers = [torch.tensor([value, value], dtype=torch.float64) for value in (2.5, 0.8, 0.7, 1.0, 1.2)]
    return mixed_kernels(torch.tensor([1, 6]), torch.tensor([size, size]), *numbers)


OPERATORS = {"device": (DeviceOperators(torch.Generator()), 2e-3), "exact": (ExactOperators(0), 2e-6)}
both = pytest.mark.parametrize(("operators", "tolerance"), OPERATORS.values(), ids=OPERATORS.keys())


@both
@pytest.mark.parametrize(("size", "side"), [(7, (48, 60)), (21, (31, 33)), (35, (9, 60)), (35, (1, 5))])
def test_blur_is_a_convolution_with_reflected_borders(operators, tolerance, size, side):
    images = operators.start(_image(*side)).repeat(2, 1, 1, 1)
    kernels = _kernels(size)
    blurred = operators.blur(images, kernels).double().numpy()
    for place in range(2):
        for channel in range(3):
            plane = images[place, channel].double().numpy()
            expected = scipy.ndimage.convolve(plane, kernels[place].numpy(), mode="mirror")
            np.testing.assert_allclose(blurred[place, channel], expected, rtol=0, atol=tolerance)


def _areas(count: int, new: int) -> list[range]:
    return [range(place * count // new, -(-(place + 1) * count // new)) for place in range(new)]


@both
@pytest.mark.parametrize("size", [(20, 33), (48, 60), (70, 61)])
def test_resize_against_opencv(operators, tolerance, size):
    images = operators.start(_image())
    pixels = images[0].permute(1, 2, 0).double().numpy()
    for mode, flag in (("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)):
        expected = cv2.resize(pixels, size[::-1], interpolation=flag)
        found = operators.resize(images, size, mode, False)[0].permute(1, 2, 0).double().numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=max(tolerance, 1e-4))
    area = operators.resize(images, size, "area", False)[0].permute(1, 2, 0).double().numpy()
    expected = np.array(
        [
            [pixels[np.ix_(rows, columns)].mean((0, 1)) for columns in _areas(60, size[1])]
            for rows in _areas(48, size[0])
        ]
    )
    np.testing.assert_allclose(area, expected, rtol=0, atol=tolerance)


def test_area_is_opencvs_where_pixels_are_whole():
    expected = cv2.resize(_image()[0].permute(1, 2, 0).float().numpy(), (15, 12), interpolation=cv2.INTER_AREA)
    found = resize(_image().float(), (12, 15), "area")[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("mode", "name"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC")])
def test_antialiasing_is_pillows(mode, name):
    plane = Image.fromarray(_image()[0, 1].float().numpy())
    expected = np.asarray(plane.resize((25, 17), Image.Resampling[name]))
    found = resize(_image()[:, 1:2].float(), (17, 25), mode, antialias=True)[0, 0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="mode: expected area, bilinear, bicubic, got 'lanczos'"):
        resize(_image().float(), (17, 25), "lanczos")


def test_noise_is_basicsrs_from_a_generator_of_ones_own():
    images = _image().float().repeat(2, 1, 1, 1)
    level, scale = torch.tensor([5.0, 20.0]), torch.tensor([0.5, 2.0])
    for is_grey in (False, True):
        grey, alone = torch.full((2,), is_grey), slice(0, 1)
        torch.manual_seed(3)
        # BasicSR draws one grey plane for a whole batch, so that one image is compared.
        some = slice(0, 2) if not is_grey else alone
        expected = basicsr.generate_gaussian_noise_pt(images[some] / 255, level[some], grey[some].float()) * 255
        generator = torch.Generator().manual_seed(3)
        found = add_grey_or_colour_noise(images[some], level[some], grey[some], generator) - images[some]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
        torch.manual_seed(3)
        expected = basicsr.generate_poisson_noise_pt(images / 255, scale, grey.float()) * 255
        found = add_poisson_noise(images, scale, grey, torch.Generator().manual_seed(3)) - images
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
        assert ((found[:, 0] - found[:, 1]).abs() > 1e-3).any() == (not is_grey)


def test_exact_noise_has_its_statistics():
    images = torch.full((2, 3, 90, 90), 128.0, dtype=torch.float64)
    images[..., :45, :] = 40.0
    levels = torch.tensor([6.0, 12.0])
    noise = ExactOperators(1).gaussian_noise(images, levels, torch.tensor([True, False])) - images
    torch.testing.assert_close(noise.flatten(1).std(1), levels.double(), rtol=0.03, atol=0)
    assert torch.equal(noise[0, 0], noise[0, 1])
    assert not torch.equal(noise[1, 0], noise[1, 1])
    # Two values are counted in two levels.
    assert count_levels(images).flatten().tolist() == [2, 2]
    shot = ExactOperators(1).poisson_noise(images, torch.tensor([0.1, 0.2]), torch.tensor([False, True])) - images
    for place, scale in enumerate((0.1, 0.2)):
        for value, rows in ((40, slice(0, 45)), (128, slice(45, 90))):
            spread = float(shot[place, :, rows].std())
            assert spread == pytest.approx(scale * 255 * (value / 255 / 2) ** 0.5, rel=0.05)
    torch.testing.assert_close(shot[1, 0], shot[1, 2], rtol=0, atol=3e-6)  # each on its own grid of 2^-20


def test_exact_jpeg_is_pillows_and_the_devices_is_close():
    image = _image(64, 80)
    for quality in (30, 75, 95):
        file = io.BytesIO()
        Image.fromarray(image[0].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        expected = torch.from_numpy(np.asarray(Image.open(file)).transpose(2, 0, 1).copy()).double()
        exact = ExactOperators(0).jpeg(image.double(), torch.tensor([float(quality)]))[0]
        assert torch.equal(exact, expected)
        device = DeviceOperators(None).jpeg(image.float(), torch.tensor([float(quality)]))
        assert torch.equal(device, to_8_bits(compress_jpeg(image.float(), torch.tensor([quality]))))
        assert 10 * torch.log10(255**2 / (device[0] - expected).square().mean()) > 34
