"""Write the LR images of a preset, with all that is needed to make them again in another program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import features

from lightbsr_arch import __version__
from lightbsr_arch.errors import ImageError, OptionError
from lightbsr_arch.saving import inside
from lightbsr_model.data.blind_degradation_benchmark_dataset import BlindDegradationBenchmarkDataset
from lightbsr_model.data.decoding import RGBImage, to_rgb
from lightbsr_model.data.preparing import encode_png
from lightbsr_model.data.set_making import Task
from lightbsr_model.data.set_stores import EncodedPng, ImageEntry
from lightbsr_model.degradation import get_degradation
from lightbsr_model.degradation.kernel_shape import kernel_picture

METHOD = (
    "The HR image, 8-bit RGB, is cropped at the bottom and right to a multiple of the scale; convolved in float64 with the "
    "kernel (kernel[y][x], y down, x right), borders reflected without repeating the edge pixel; shrunk as MATLAB's imresize "
    "bicubic with antialiasing does, the border continued as `border` says (clamp: the edge pixel is repeated; symmetric: "
    "mirrored with it); rounded to multiples of 2^-20; then noise_level * "
    "numpy.random.RandomState(seed).standard_normal((3, height, width)) is added, if noise_level > 0; rounded half to even; "
    "clipped to 0..255."
)
"""In words, for the JSON."""

METHOD_OF_DISTURBANCE = (
    " The kernels are Gaussians whose every value was multiplied by 1 + U(0, kernel_disturb), and that were normalised then; "
    "they are given as applied."
)
"""What is added where the preset disturbs its kernels."""

METHOD_OF_JPEG = (
    " Then Pillow compresses the image as JPEG of jpeg_quality, with chroma subsampled 4:2:0 and no other setting changed, and "
    "decompresses it."
)
"""What follows where the preset has JPEG."""


METHOD_OF_REAL_WORLD = (
    "The HR image, 8-bit RGB, is cropped at the bottom and right to a multiple of the scale; then come, in float64 "
    "and in the order of `operations`, those of each order (a 2 at the end: the second's). blur: convolution with a "
    "kernel of `size`, borders reflected without repeating the edge pixel; kernels by the formulas of "
    "lightbsr_model/degradation/mixed_kernels.py (BasicSR's), angles in degrees, cutoffs in radians per pixel. "
    "resize: torch's interpolate (align_corners off, `antialias` as given) to floor(size * factor), where the size is "
    "the LR image's in the last order. noise: with RandomState(seed) of NumPy; gaussian: level * standard_normal((3 "
    "or, if grey, 1, height, width)) is added; poisson: as BasicSR's generate_poisson_noise, of the grey image if "
    "grey, times scale; clipped to 0..255. jpeg: rounded half to even to 8 bits, compressed by Pillow with chroma "
    "subsampled 4:2:0, and decompressed. At last it is resized to the LR size by `final.resize_mode` and filtered by "
    "`final.sinc`, before or after the last JPEG, and rounded half to even. After every operation but JPEG values are "
    "rounded to multiples of 2^-20."
)
"""In words, of real-world presets."""


def lr_image(sample: Mapping[str, Any]) -> RGBImage:
    """The LR image of a sample as 8-bit RGB, (H, W, 3)."""
    return to_rgb(sample["lq"])


def pixels_sha256(image: RGBImage) -> str:
    """SHA-256 of an image's pixels, 8-bit RGB, row by row."""
    return hashlib.sha256(image.tobytes()).hexdigest()


@dataclass(frozen=True)
class LrRendering:
    """From the number of an image to its LR image as PNG. Raises ImageError for an image that cannot be used."""

    dataset: BlindDegradationBenchmarkDataset
    """Made with a preset; its LR images are the ones that tests see."""
    png_level: int
    """Of the encoding, 0 to 9."""

    def __call__(self, index: int) -> list[EncodedPng]:
        """Degrade and encode."""
        name = self.dataset.images.stem(index)
        try:
            inside(Path(), f"{name}.png")
        except OptionError as error:
            raise ImageError(f"{self.dataset.opt['dataroot_gt']}: {error}") from error
        sample = self.dataset[index]
        seed, described = self.dataset.described(index)
        lr = lr_image(sample)
        # At the end of its line: it has 441 numbers.
        kernel = {"kernel": described.pop("kernel")} if "kernel" in described else {}
        facts = {
            "gt_size": list(sample["gt"].shape[1:]),
            "lr_sha256": pixels_sha256(lr),
            **described,
            "seed": seed,
            **kernel,
        }
        height, width, channels = lr.shape
        return [EncodedPng(name, encode_png(lr, self.png_level), (height, width, channels), facts)]


def tasks_of(dataset: BlindDegradationBenchmarkDataset) -> list[Task[int]]:
    """One task for each image of a data set."""
    source = dataset.images.source
    tasks = []
    for index in range(len(dataset)):
        size, stamp = source.stamp(index)
        tasks.append(Task(f"{source.stem(index)}|{stamp}", size, index))
    return tasks


def recipe_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the LR images of a data set's options, with the preset spelt out."""
    return {
        "preset": options["preset"],
        "degradation": get_degradation(options["preset"], options.get("degradation")).recipe(),
        "scale": options["scale"],
        "border": options.get("border", "clamp"),
        "seed": options.get("seed", 0),
    }


def degradation_files(recipe: Mapping[str, Any], entries: Sequence[ImageEntry]) -> dict[str, bytes]:
    """``degradation.json`` and, of Gaussian presets, an image of each kernel, by file names.

    The JSON has the recipe, the versions, the method in words, and for each image its name, size, every drawn parameter,
    seed, and the SHA-256 of its pixels (8-bit RGB, row by row).
    """
    images = [{"name": entry.name, "lr_size": [entry.height, entry.width], **entry.facts} for entry in entries]
    versions = {"lightbsr": __version__, "torch": torch.__version__, "numpy": np.__version__}
    is_real_world = "kernel" not in recipe["degradation"]
    method = METHOD + (METHOD_OF_DISTURBANCE if "kernel_disturb" in recipe["degradation"] else "")
    if is_real_world or "jpeg" in recipe["degradation"]:
        versions |= {"pillow": PIL.__version__, "libjpeg_turbo": str(features.version("libjpeg_turbo"))}
        method = METHOD_OF_REAL_WORLD if is_real_world else method + METHOD_OF_JPEG
    head = json.dumps({**recipe, "versions": versions, "method": method}, ensure_ascii=False)
    # A line an image: kernels are 441 numbers.
    lines = ",\n".join(json.dumps(image, ensure_ascii=False) for image in images)
    document = f'{head[:-1]},\n"images": [\n{lines}\n]}}\n'
    files = {"degradation.json": document.encode("utf-8", "surrogateescape")}
    for entry in [] if is_real_world else entries:
        picture = kernel_picture(torch.tensor(entry.facts["kernel"], dtype=torch.float64))
        files[f"kernels/{entry.name}.png"] = encode_png(picture, 9)
    return files
