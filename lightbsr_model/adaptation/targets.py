"""The LR images that a network is adapted to: parts of them that fit into memory, and what can be read off them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lightbsr_arch.errors import ImageError
from lightbsr_model.adaptation.jpeg_quality import jpeg_quality_of
from lightbsr_model.adaptation.large_images import LargeImage, content_of, open_pixels
from lightbsr_model.losses.wavelet import detail_map, haar
from lightbsr_model.runtime.random_streams import derive_seed

CROP = 48
"""Side of what a network sees of an LR image in a step, in pixels."""

_WHOLE = 384
"""Longest side of an image that is kept whole; of larger ones parts are."""

_PART = 192
"""Side of such a part."""

_MOST_PARTS = 64
"""Of all images together; of one image at most a quarter."""

_ROBUST = 0.6745
"""The median of the absolute values of a standard normal distribution."""

_LARGE = 1e6
"""Puts a block behind all others."""

_LEAST_NOISE = 2.0
"""Grey levels below which an estimate of noise is taken for fine detail."""


@dataclass(frozen=True)
class Part:
    """A part of an LR image, or all of it."""

    image: int
    """The number of the image."""
    pixels: Tensor
    """(3, H, W), uint8."""
    detail: Tensor
    """(1, H, W) in [0, 1], see :func:`~lightbsr_model.losses.wavelet.detail_map`."""

    def lq(self, device: torch.device | None = None) -> Tensor:
        """(1, 3, H, W) in [0, 1]."""
        return self.pixels[None].to(device).float() / 255


@dataclass(frozen=True)
class Crops:
    """Parts of LR images of one size."""

    lq: Tensor
    """(N, 3, CROP, CROP) in [0, 1]."""
    detail: Tensor
    """(N, 1, CROP, CROP), see :class:`Part`."""
    images: Tensor
    """(N,): the numbers of their images."""


class TargetImages:
    """LR images to adapt to.

    Of images that are larger than some hundred pixels a side, parts at random places are kept: memory does not grow with
    them.

    Args:
        images: Names, and (H, W, 3) arrays, uint8, one at a time, or what cuts such arrays.
        seed: Of the places.
        count: Number of images, by which the parts are shared out.
        jpeg: The JPEG quality of each image, 1 to 100, 0 for none; None where none was compressed.

    Raises:
        ImageError: There is none, or one is smaller than what a step takes of it.
    """

    def __init__(
        self,
        images: Iterable[tuple[str, NDArray[np.uint8] | LargeImage]],
        seed: int = 0,
        count: int = 1,
        jpeg: Sequence[int] | None = None,
    ) -> None:
        self.names: list[str] = []
        self.contents: list[str] = []
        """Hashes of the images, see :func:`~lightbsr_model.adaptation.large_images.content_of`."""
        self.parts: list[Part] = []
        share = max(1, min(_MOST_PARTS // 4, _MOST_PARTS // max(1, count)))
        for number, (name, pixels) in enumerate(images):
            if min(pixels.shape[:2]) < CROP:
                raise ImageError(
                    f"{name}: {pixels.shape[1]}x{pixels.shape[0]} pixels; expected at least {CROP}x{CROP}, of which a network "
                    "learns at a time: leave it out."
                )
            self.names.append(name)
            self.contents.append(content_of(pixels))
            generator = torch.Generator().manual_seed(derive_seed(seed, "parts", number))
            for part in _parts(pixels, share, generator):
                tensor = torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1)))
                self.parts.append(Part(number, tensor, detail_map(tensor[None].float() / 255)[0]))
        if not self.parts:
            raise ImageError("expected one image at least to adapt to.")
        self.noise = [self._noise_of(number) for number in range(len(self.names))]
        """The estimated standard deviation of each image's noise, in grey levels; 0 where it cannot be told from detail."""
        self.jpeg = [0] * len(self.names) if jpeg is None else list(jpeg)
        """The JPEG quality of each image, 0 for none."""
        sizes = torch.tensor([float(part.pixels[0].numel()) for part in self.parts])
        self._shares = sizes / sizes.sum()

    @classmethod
    def read(cls, paths: Sequence[Path], seed: int = 0) -> TargetImages:
        """Read image files, of any depth and with or without alpha, one at a time; the quality of JPEGs is read off them.

        Raises:
            ImageError: One cannot be read, or is too small; the message names it.
        """
        images = ((str(path), open_pixels(path)) for path in paths)
        return cls(images, seed, len(paths), [jpeg_quality_of(path) for path in paths])

    @classmethod
    def of(cls, lq: Tensor, seed: int = 0) -> TargetImages:
        """From a batch (N, 3, H, W) in [0, 1]."""
        pixels = (lq.detach() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return cls(((f"image {number}", one) for number, one in enumerate(pixels)), seed, len(pixels))

    def parts_of(self, image: int) -> list[Part]:
        """What is kept of an image."""
        return [part for part in self.parts if part.image == image]

    def crops(self, count: int, generator: torch.Generator, device: torch.device | None = None) -> Crops:
        """Draw crops, each place equally likely, turned and mirrored at random."""
        lq: list[Tensor] = []
        detail: list[Tensor] = []
        images = []
        for number in torch.multinomial(self._shares, count, replacement=True, generator=generator).tolist():
            part = self.parts[number]
            top, left = (int(torch.randint(side - CROP + 1, (), generator=generator)) for side in part.pixels.shape[1:])
            turns, flip = (
                int(torch.randint(4, (), generator=generator)),
                bool(torch.randint(2, (), generator=generator)),
            )
            place = (slice(None), slice(top, top + CROP), slice(left, left + CROP))
            for values, into in ((part.pixels[place].float() / 255, lq), (part.detail[place], detail)):
                turned = values.rot90(turns, (1, 2))
                into.append(turned.flip(2) if flip else turned)
            images.append(part.image)
        return Crops(torch.stack(lq).to(device), torch.stack(detail).to(device), torch.tensor(images))

    def _noise_of(self, image: int) -> float:
        """The median of absolute diagonal differences, over the smoothest eighth of the 2x2 blocks by the other differences.

        Of white noise the three are independent: this choice leaves fine detail out, and the estimate as it is. Blocks at the
        ends of the range, where noise is cut off, are left out too, if that leaves any.
        """
        diagonal, others = [], []
        for part in self.parts_of(image):
            detail = haar(part.lq())[1]
            diagonal.append(detail[0, 2].flatten(1))
            cut_off = ((part.pixels == 0) | (part.pixels == 255)).any(dim=0)[None].float()
            blocks = F.max_pool2d(cut_off, 2)[0].flatten() * _LARGE
            others.append(detail[0, :2].square().sum(dim=(0, 1)).flatten() + blocks)
        edges = torch.cat(others)
        smooth = edges.argsort()[: max(1, len(edges) // 8)]
        chosen = torch.cat(diagonal, dim=1)[:, smooth]
        # Of 8 bits these are multiples of half a grey level, and so would be their median.
        spread = torch.rand(chosen.shape, generator=torch.Generator().manual_seed(0)) - 0.5
        level = 255 * float((chosen + spread / (2 * 255)).abs().median()) / _ROBUST
        return level if level > _LEAST_NOISE else 0.0


def _parts(
    pixels: NDArray[np.uint8] | LargeImage, most: int, generator: torch.Generator
) -> Iterable[NDArray[np.uint8]]:
    height, width = pixels.shape[:2]
    if max(height, width) <= _WHOLE:
        yield pixels[:height, :width]
        return
    size = (min(height, _PART), min(width, _PART))
    count = max(1, min(most, height * width // (size[0] * size[1])))
    for _ in range(count):
        top, left = (
            int(torch.randint(side - own + 1, (), generator=generator))
            for side, own in zip((height, width), size, strict=True)
        )
        yield pixels[top : top + size[0], left : left + size[1]].copy()


def luma(images: Tensor) -> Tensor:
    """Y of (N, 3, H, W) images in [0, 1] as BasicSR's metrics take it, rounded to 8 bits first; (N, H, W) in grey levels."""
    weights = torch.tensor([65.481, 128.553, 24.966], device=images.device)
    pixels = (images * 255).round().clamp(0, 255) / 255
    return torch.einsum("nchw,c->nhw", pixels, weights) + 16


def psnr_y(restored: Tensor, gt: Tensor, border: int) -> Tensor:
    """PSNR on Y of each of (N, 3, H, W) images in [0, 1], without a border of some pixels; (N,)."""
    difference = (luma(restored) - luma(gt))[:, border:-border, border:-border]
    error = difference.square().mean(dim=(1, 2)).clamp(min=1e-10)
    return 10 * torch.log10(255**2 / error)


def reflect(images: Tensor, border: int) -> Tensor:
    """Pad (N, C, H, W) on all sides by reflection."""
    return F.pad(images, (border,) * 4, mode="reflect") if border else images
