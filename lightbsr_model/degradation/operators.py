"""The operations of real-world degradations on a batch: on a device for training, and exactly for tests.

Both work on images in 0..255. On the device they are float32, random numbers are torch's, and JPEG is BasicSR's DiffJPEG.
For tests they are float64, and every result is snapped to a grid of 2^-20 grey levels, so that sums taken in another order
do not fall on the other side of a half; random numbers are NumPy's ``RandomState``, whose streams its compatibility policy
freezes, and JPEG is Pillow's.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightbsr_model.degradation.jpeg import compress_jpeg, encode_and_decode_jpeg
from lightbsr_model.degradation.noise import add_grey_or_colour_noise, add_poisson_noise, count_levels, luma
from lightbsr_model.degradation.resize import Mode, resize

SNAP = 2.0**20
"""Steps of a grey level that exact values are rounded to."""


class Operators(Protocol):
    """What a degradation is made of. Images are (N, C, H, W) in 0..255, parameters (N,) on the host."""

    def start(self, gt: Tensor) -> Tensor:
        """GT images in the dtype of the arithmetic."""

    def blur(self, images: Tensor, kernels: Tensor) -> Tensor:
        """Convolve each image with its (k, k) kernel, borders reflected."""

    def resize(self, images: Tensor, size: tuple[int, int], mode: Mode, antialias: bool) -> Tensor:
        """Resize all images alike."""

    def gaussian_noise(self, images: Tensor, level: Tensor, grey: Tensor) -> Tensor:
        """Add Gaussian noise, and clamp."""

    def poisson_noise(self, images: Tensor, scale: Tensor, grey: Tensor) -> Tensor:
        """Add Poisson noise, and clamp."""

    def jpeg(self, images: Tensor, quality: Tensor) -> Tensor:
        """Round to 8 bits, compress, decompress, and round."""


def to_8_bits(images: Tensor) -> Tensor:
    """Round to integers (ties to even), and clamp to 0..255."""
    return images.round().clamp(0, 255)


def reflected(images: Tensor, radius: int) -> Tensor:
    """Continue images by a border, reflected without repeating the edge, as often as a small image needs it."""
    if min(images.shape[-2:]) > radius:
        return F.pad(images, (radius,) * 4, mode="reflect")
    rows, columns = (_reflected_index(side, radius, images.device) for side in images.shape[-2:])
    return images[..., rows, :][..., columns]


def _reflected_index(side: int, radius: int, device: torch.device) -> Tensor:
    index = torch.arange(-radius, side + radius, device=device)
    if side == 1:
        return torch.zeros_like(index)
    index = index.remainder(2 * side - 2)
    return torch.minimum(index, 2 * side - 2 - index)


def blur_by_fourier_transform(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each image with its kernel, borders reflected; of any size.

    Args:
        images: (N, C, H, W).
        kernels: (N, k, k), k odd, of the images' dtype and device.
    """
    height, width = images.shape[-2:]
    border = kernels.shape[-1] - 1
    padded = reflected(images, border // 2)
    size = tuple(_fast_length(side) for side in padded.shape[-2:])
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(kernels, s=size)[:, None]
    return torch.fft.irfft2(spectrum, s=size)[..., border : border + height, border : border + width]


def _fast_length(length: int) -> int:
    """The least length from this one up with no prime factor above 5: transforms of others take up to several times as long."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


class DeviceOperators:
    """In float32 on the images' device.

    Args:
        generator: Of the noise, on that device; None is torch's global one.
    """

    def __init__(self, generator: torch.Generator | None) -> None:
        self._generator = generator

    def start(self, gt: Tensor) -> Tensor:
        """In float32."""
        return gt.float()

    def blur(self, images: Tensor, kernels: Tensor) -> Tensor:
        """By the Fourier transform."""
        return blur_by_fourier_transform(images, kernels.to(images))

    def resize(self, images: Tensor, size: tuple[int, int], mode: Mode, antialias: bool) -> Tensor:
        """By torch."""
        return resize(images, size, mode, antialias)

    def gaussian_noise(self, images: Tensor, level: Tensor, grey: Tensor) -> Tensor:
        """From the generator."""
        return add_grey_or_colour_noise(images, level, grey, self._generator).clamp_(0, 255)

    def poisson_noise(self, images: Tensor, scale: Tensor, grey: Tensor) -> Tensor:
        """From the generator."""
        return add_poisson_noise(images, scale, grey, self._generator).clamp_(0, 255)

    def jpeg(self, images: Tensor, quality: Tensor) -> Tensor:
        """BasicSR's DiffJPEG."""
        return to_8_bits(compress_jpeg(to_8_bits(images), quality.to(images)))


class ExactOperators:
    """In float64, with the same bits on every machine; one image at a time where it is drawn or encoded.

    Args:
        seed: Of the noise.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.RandomState(seed)

    def start(self, gt: Tensor) -> Tensor:
        """In float64."""
        return gt.double()

    def blur(self, images: Tensor, kernels: Tensor) -> Tensor:
        """By the Fourier transform."""
        return _snapped(blur_by_fourier_transform(images, kernels.to(images)))

    def resize(self, images: Tensor, size: tuple[int, int], mode: Mode, antialias: bool) -> Tensor:
        """By torch."""
        return _snapped(resize(images, size, mode, antialias))

    def gaussian_noise(self, images: Tensor, level: Tensor, grey: Tensor) -> Tensor:
        """NumPy's ``standard_normal``, of grey noise (1, H, W)."""
        noisy = []
        for image, each, is_grey in zip(images, level.tolist(), grey.tolist(), strict=True):
            shape = (1 if is_grey else image.shape[0], *image.shape[1:])
            noise = torch.from_numpy(self._random.standard_normal(shape)).to(image)
            noisy.append(image + each * noise)
        return _snapped(torch.stack(noisy).clamp(0, 255))

    def poisson_noise(self, images: Tensor, scale: Tensor, grey: Tensor) -> Tensor:
        """NumPy's ``poisson``, of grey noise on the (1, H, W) grey image."""
        noisy = []
        for image, each, is_grey in zip(images[:, None], scale.tolist(), grey.tolist(), strict=True):
            values = to_8_bits(_snapped(luma(image)) if is_grey else image)
            levels = float(count_levels(values))
            counts = self._random.poisson((values / 255 * levels).cpu().numpy())
            noise = torch.from_numpy(counts / levels * 255).to(image) - values
            noisy.append((image + each * noise)[0])
        return _snapped(torch.stack(noisy).clamp(0, 255))

    def jpeg(self, images: Tensor, quality: Tensor) -> Tensor:
        """Pillow's."""
        compressed = []
        for image, each in zip(to_8_bits(images), quality.tolist(), strict=True):
            pixels = image.to(torch.uint8).permute(1, 2, 0).cpu().numpy().copy()
            decoded = encode_and_decode_jpeg(pixels, int(each))
            compressed.append(torch.from_numpy(decoded.transpose(2, 0, 1).copy()).to(image))
        return torch.stack(compressed)


def _snapped(images: Tensor) -> Tensor:
    return (images * SNAP).round() / SNAP
