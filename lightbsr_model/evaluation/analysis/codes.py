"""The codes of many images under a grid of degradations."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lightbsr_arch.errors import ImageError, OptionError
from lightbsr_model.data.image_sources import ImageReader, open_all
from lightbsr_model.degradation.exact import benchmark_lq
from lightbsr_model.evaluation.analysis.settings import AnalysisSettings
from lightbsr_model.evaluation.comparison.methods import NetworkRestoration


@dataclass(frozen=True)
class CodeTable:
    """The codes of one network."""

    vectors: NDArray[np.float64]
    """(images * grid points, D), ordered by image, then by grid point."""
    image: NDArray[np.int64]
    """Index of the image of each code."""
    point: NDArray[np.int64]
    """Index of the grid point of each code."""
    names: tuple[str, ...]
    """Names of the images."""


def open_pictures(settings: AnalysisSettings) -> ImageReader:
    """Open the HR images.

    Raises:
        OptionError: There are fewer than four.
    """
    images = open_all(settings.images)
    if len(images) < 4:
        raise OptionError(f"images: expected at least 4, some to train probes on and some unseen, found {len(images)}.")
    return images


def degraded(settings: AnalysisSettings, images: ImageReader) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield the index of the image, the index of the grid point, and a sample as the benchmark data set returns it.

    Raises:
        ImageError: An image is smaller than the patch.
    """
    grid = settings.grid
    for number in range(min(settings.count, len(images))):
        image = images.read(number)
        height, width = (side - side % settings.scale for side in image.shape[:2])
        if settings.patch is not None:
            if min(height, width) < settings.patch:
                raise ImageError(
                    f"{images.name(number)}: {image.shape[1]}x{image.shape[0]} is too small for a patch of {settings.patch}: "
                    "leave it out, or lower `patch`."
                )
            top, left = (height - settings.patch) // 2, (width - settings.patch) // 2
            image = image[top : top + settings.patch, left : left + settings.patch]
        else:
            image = image[:height, :width]
        gt = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        for place, point in enumerate(grid):
            kernel = point.degradation.draw(torch.Generator().manual_seed(0))["kernel"]
            seed = zlib.crc32(f"{settings.seed}/{images.stem(number)}/{place}".encode("utf-8", "surrogateescape"))
            lq = benchmark_lq(gt, kernel, point.noise_level, settings.scale, settings.border, seed)
            sample = {
                "lq": lq,
                "gt": gt.float() / 255,
                "kernel": kernel.float(),
                "noise_level": torch.tensor(point.noise_level),
            }
            yield number, place, sample


def collect_codes(
    settings: AnalysisSettings, methods: dict[str, tuple[NetworkRestoration, str | None]]
) -> dict[str, CodeTable]:
    """Run every encoder on every image under every degradation.

    Args:
        settings: The grid and the images.
        methods: By name: a network, and the module whose output is the code, if that is not ``represent``'s.
    """
    images = open_pictures(settings)
    vectors: dict[str, list[NDArray[np.float64]]] = {name: [] for name in methods}
    image_of, point_of = [], []
    count = min(settings.count, len(images))
    for number, place, sample in tqdm(degraded(settings, images), total=count * len(settings.grid), unit="code"):
        image_of.append(number)
        point_of.append(place)
        for name, (method, code) in methods.items():
            vectors[name].append(method.represent(sample, code).double().numpy())
    names = tuple(images.stem(number) for number in range(count))
    return {
        name: CodeTable(np.stack(each), np.array(image_of), np.array(point_of), names) for name, each in vectors.items()
    }
