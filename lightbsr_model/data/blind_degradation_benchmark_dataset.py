"""Validation and test data: HR images under one fixed degradation, the same bits everywhere."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from lightbsr_arch.errors import ImageError
from lightbsr_model.data.decoding import RGBImage
from lightbsr_model.data.image_sources import ImageReader, open_images
from lightbsr_model.data.lq_images import degradation_or_lq_images
from lightbsr_model.data.set_options import BenchmarkSet
from lightbsr_model.degradation.base import Degradation, Params, as_batch, in_float32


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
            seed (int): Of the noise and of parameters that are a range. Each image has a stream of its own, which
                depends on the seed and on the image's name alone. Default: 0.

    A sample has ``lq`` (3, H / scale, W / scale) and ``gt`` (3, H, W), float32 in [0, 1], RGB; the parameters of its
    degradation, float32: ``kernel`` (21, 21), ``noise_level`` (scalar, 0..255) and ``jpeg_quality`` (scalar, 1 to 100, 0 for
    none), or of a real-world one ``degradation``; ``parameters``, all as a normalised vector; ``gt_path``; ``lq_path``, which
    carries the preset's name, so that images saved under several presets do not overwrite each other. With
    ``dataroot_lq`` it has no parameters of a degradation, ``lq_path`` is the file's, and the GT image is cut to the LQ image's
    size times the scale, as BasicSR does.

    Raises:
        OptionError: Options that do not fit, by key.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"": BenchmarkSet}

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.scale = int(opt["scale"])
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
        seed, params = self.drawn(index)
        return {
            "lq": self._degradation.apply_exactly(gt, params, self.scale, seed),
            "gt": gt.float() / 255,
            **in_float32(params),
            "parameters": self._degradation.vector(as_batch(params))[0],
            "lq_path": f"{self.images.stem(index)}_{self.opt['preset']}.png",
            "gt_path": path,
        }

    @property
    def _degradation(self) -> Degradation:
        if isinstance(self.lq_source, ImageReader):
            raise TypeError("the degradation of finished LQ images is not known.")
        return self.lq_source

    def drawn(self, index: int) -> tuple[int, Params]:
        """An image's seed, and the parameters of the degradation that it gives, in float64.

        Raises:
            TypeError: The LQ images exist already.
        """
        seed = zlib.crc32(f"{self.seed}/{self.images.stem(index)}".encode("utf-8", "surrogateescape"))
        return seed, self._degradation.draw(torch.Generator().manual_seed(seed))

    def described(self, index: int) -> tuple[int, dict[str, Any]]:
        """An image's seed, and its degradation as plain values.

        Raises:
            TypeError: The LQ images exist already.
        """
        seed, params = self.drawn(index)
        return seed, self._degradation.describe(params)

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
