"""Validation and test data: HR images under one fixed degradation, the same bits everywhere."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from lightbsr_arch.errors import ImageError
from lightbsr_model.data.decoding import RGBImage
from lightbsr_model.data.image_sources import ImageReader, open_images
from lightbsr_model.data.lq_images import degradation_or_lq_images
from lightbsr_model.degradation import DrawnDegradation, blur_and_downsample, quantise

_SNAP = 2.0**20


def benchmark_lq(gt: Tensor, kernel: Tensor, noise_level: float, scale: int, border: str, seed: int) -> Tensor:
    """Degrade one HR image so that every machine, thread count and device gives the same bits.

    The arithmetic is float64, and values are snapped to a grid of 2^-20 grey levels before the noise and the rounding,
    so that sums taken in another order do not fall on the other side of a half. The noise is NumPy's ``RandomState``,
    whose stream NumPy's compatibility policy freezes.

    Args:
        gt: (3, H, W), 0..255.
        kernel: (21, 21), float64.
        noise_level: In 0..255 units.
        scale: The factor.
        border: What the downsampling sees outside the image, see :mod:`lightbsr_model.degradation.resize`.
        seed: Of the noise.

    Returns:
        (3, H / scale, W / scale), float32 in [0, 1], multiples of 1/255.
    """
    low = blur_and_downsample(gt[None].double(), kernel[None].to(gt.device), scale, border)[0]  # type: ignore[arg-type]
    low = (low * _SNAP).round() / _SNAP
    if noise_level > 0:
        noise = np.random.RandomState(seed).standard_normal(tuple(low.shape))
        low = low + noise_level * torch.from_numpy(noise).to(low.device)
    return quantise(low).float()


@DATASET_REGISTRY.register()
class BlindDegradationBenchmarkDataset(Dataset[dict[str, Any]]):
    """HR images, cropped to a multiple of the scale, and their LR images under one preset or as they exist already.

    Args:
        opt: Options of the data set. It contains the following keys:
            name (str): Name of the data set.
            dataroot_gt, dataroot_lq, filename_tmpl, io_backend, meta_info_file, pictures: As in
                :class:`BlindDegradationPairedDataset`.
            scale (int): The factor; BasicSR copies the file's ``scale`` here.
            preset (str): Name of the degradation, see :mod:`lightbsr_model.degradation.presets`.
            degradation (dict): Optional: parameters of the preset to override.
            border (str): What the downsampling sees outside the image: clamp (default) or symmetric.
            seed (int): Of the noise and of parameters that are a range. Each picture has a stream of its own, which
                depends on the seed and on the picture's name alone. Default: 0.

    A sample has ``lq`` (3, H / scale, W / scale) and ``gt`` (3, H, W), float32 in [0, 1], RGB; ``kernel`` (21, 21) and
    ``noise_level`` (scalar, 0..255), float32; ``gt_path`` and ``lq_path``, which carries the preset's name, so that
    pictures saved under several presets do not overwrite each other. With ``dataroot_lq`` it has no kernel and no noise
    level, ``lq_path`` is the file's, and the GT image is cut to the LQ image's size times the scale, as BasicSR does.

    Raises:
        OptionError: Options that do not fit, by key.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.scale = int(opt["scale"])
        self.border = opt.get("border", "clamp")
        self.seed = int(opt.get("seed", 0))
        self.images = open_images(opt)
        self.lq_source = degradation_or_lq_images(opt, self.images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.images.name(index)
        image = self.images.read(index)
        if isinstance(self.lq_source, ImageReader):
            return self._finished_pair(path, image, self.lq_source.name(index), self.lq_source.read(index))
        height, width = (side - side % self.scale for side in image.shape[:2])
        if min(height, width) <= 10:
            raise ImageError(
                f"{path}: {image.shape[1]}x{image.shape[0]} is too small for a test at x{self.scale}: "
                "a 21x21 kernel reflects at the border, so 11 pixels after cropping to a multiple of the scale are the least."
            )
        gt = torch.from_numpy(np.ascontiguousarray(image[:height, :width].transpose(2, 0, 1)))
        seed, (kernel, noise_level) = self.drawn(index)
        return {
            "lq": benchmark_lq(gt, kernel, float(noise_level), self.scale, self.border, seed),
            "gt": gt.float() / 255,
            "kernel": kernel.float(),
            "noise_level": noise_level.float(),
            "lq_path": f"{self.images.stem(index)}_{self.opt['preset']}.png",
            "gt_path": path,
        }

    def drawn(self, index: int) -> tuple[int, DrawnDegradation]:
        """A picture's seed, and the degradation that it gives, in float64.

        Raises:
            TypeError: The LQ images exist already.
        """
        if isinstance(self.lq_source, ImageReader):
            raise TypeError("the degradation of finished LQ images is not known.")
        seed = zlib.crc32(f"{self.seed}/{self.images.stem(index)}".encode("utf-8", "surrogateescape"))
        return seed, self.lq_source.draw(torch.Generator().manual_seed(seed))

    def _finished_pair(self, gt_path: str, gt: RGBImage, lq_path: str, lq: RGBImage) -> dict[str, Any]:
        height, width = lq.shape[0] * self.scale, lq.shape[1] * self.scale
        # As much more as cropping to a multiple of the scale takes away; BasicSR cuts any GT image to what fits.
        if not (0 <= gt.shape[0] - height < self.scale and 0 <= gt.shape[1] - width < self.scale):
            raise ImageError(
                f"{lq_path}: {lq.shape[1]}x{lq.shape[0]}, times the scale {self.scale}, does not fit the "
                f"{gt.shape[1]}x{gt.shape[0]} of its GT image {gt_path}."
            )
        images = {"lq": lq, "gt": gt[:height, :width]}
        sample = {key: torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255 for key, image in images.items()}
        return {**sample, "lq_path": lq_path, "gt_path": gt_path}
