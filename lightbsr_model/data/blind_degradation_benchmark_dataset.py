"""Validation and test data: HR images under one fixed degradation, the same bits everywhere."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from lightbsr_arch.errors import ImageError
from lightbsr_model.data.decoding import RGBImage
from lightbsr_model.data.image_sources import ImageReader, open_images
from lightbsr_model.data.lq_images import degradation_or_lq_images
from lightbsr_model.data.set_options import BenchmarkSet
from lightbsr_model.degradation import blur_and_downsample, quantise
from lightbsr_model.degradation.base import Degradation, Params, in_float32
from lightbsr_model.degradation.jpeg import encode_and_decode_jpeg

_SNAP = 2.0**20


def benchmark_lq(
    gt: Tensor, kernel: Tensor, noise_level: float, scale: int, border: str, seed: int, jpeg_quality: int = 0
) -> Tensor:
    """Degrade one HR image so that every machine, thread count and device gives the same bits.

    The arithmetic is float64, and values are snapped to a grid of 2^-20 grey levels before the noise and the rounding,
    so that sums taken in another order do not fall on the other side of a half. The noise is NumPy's ``RandomState``,
    whose stream NumPy's compatibility policy freezes. JPEG is a real encoder's (Pillow's), as in the files that users have;
    training has BasicSR's DiffJPEG on the device instead, see :mod:`lightbsr_model.degradation.jpeg`. Its bits are those of the
    libjpeg-turbo that Pillow brings: the same on every machine with one version of it.

    Args:
        gt: (3, H, W), 0..255.
        kernel: (21, 21), float64.
        noise_level: In 0..255 units.
        scale: The factor.
        border: What the downsampling sees outside the image, see :mod:`lightbsr_model.degradation.resize`.
        seed: Of the noise.
        jpeg_quality: 1 to 100; 0 is no JPEG.

    Returns:
        (3, H / scale, W / scale), float32 in [0, 1], multiples of 1/255.
    """
    low = blur_and_downsample(gt[None].double(), kernel[None].to(gt.device), scale, border)[0]  # type: ignore[arg-type]
    low = (low * _SNAP).round() / _SNAP
    if noise_level > 0:
        noise = np.random.RandomState(seed).standard_normal(tuple(low.shape))
        low = low + noise_level * torch.from_numpy(noise).to(low.device)
    lq = quantise(low).float()
    if jpeg_quality:
        pixels = (lq * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        decoded = encode_and_decode_jpeg(pixels, jpeg_quality)
        lq = torch.from_numpy(decoded.transpose(2, 0, 1).copy()).to(lq) / 255
    return lq


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

    A sample has ``lq`` (3, H / scale, W / scale) and ``gt`` (3, H, W), float32 in [0, 1], RGB; ``kernel`` (21, 21),
    ``noise_level`` (scalar, 0..255) and ``jpeg_quality`` (scalar, 1 to 100, 0 for none), float32; ``gt_path`` and
    ``lq_path``, which carries the preset's name, so that images saved under several presets do not overwrite each other. With
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
        seed, params = self.drawn(index)
        noise_level, quality = float(params["noise_level"]), int(params["jpeg_quality"])
        return {
            "lq": benchmark_lq(gt, params["kernel"], noise_level, self.scale, self.border, seed, quality),
            "gt": gt.float() / 255,
            **in_float32(params),
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
