"""Training data: GT patches and the degradations that turn them into LR patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from lightbsr_arch.errors import ImageError, OptionError
from lightbsr_model.data.crops import Crop, cut_crops, draw_crop
from lightbsr_model.data.image_sources import ImageReader, open_images
from lightbsr_model.data.lq_images import degradation_or_lq_images
from lightbsr_model.data.row_decoding import EncodedImage
from lightbsr_model.degradation import degrade


@DATASET_REGISTRY.register()
class BlindDegradationPairedDataset(Dataset[dict[str, Any]]):
    """Random GT crops with a random degradation a sample, or random crops of LQ and GT images that exist already.

    Args:
        opt: Options of the data set. It contains the following keys:
            dataroot_gt (str): Folder or LMDB of GT images.
            io_backend (dict): ``type``: disk (default), lmdb, or bundled (scikit-image's pictures).
            meta_info_file (str): Optional, disk only: list of the images to take.
            dataroot_lq (str): Optional: folder or LMDB of finished LQ images, instead of ``preset``.
            filename_tmpl (str): Name of an LQ image without extension; {} is its GT image's. Default: '{}'.
            pictures (list[str]): For bundled: the pictures by name.
            scale (int): The factor; BasicSR copies the file's ``scale`` here.
            gt_size (int): Side of a GT patch, a multiple of the scale.
            views (int): Patches of one image under one degradation, each cropped and flipped on its own. Default: 1.
            use_hflip (bool): Flip horizontally at random. Default: True.
            use_rot (bool): Rotate by multiples of 90 degrees at random. Default: True.
            preset (str): Name of the degradation, see :mod:`lightbsr_model.degradation.presets`.
            degradation (dict): Optional: parameters of the preset to override.
            border (str): What the downsampling sees outside a patch: clamp (default) or symmetric.
            degrade_in (str): ``device`` (default) leaves the degrading to the model, in whole batches; ``loader`` gives
                finished pairs that any model trains on, whatever it makes of a batch.
            degradation_per (str): sample (default), or batch: all samples of a batch take the first one's kernel and
                noise level (arXiv 2211.16928); the model does that, so only with ``degrade_in: device``.

    A sample has ``gt_path``, and
    with ``degrade_in: device``: ``gt_views`` (views, 3, gt_size, gt_size), uint8;
    with ``degrade_in: loader`` or ``dataroot_lq``: ``lq`` (3, gt_size / scale, gt_size / scale) and ``gt``
    (3, gt_size, gt_size), float32 in [0, 1], RGB, and ``lq_path``; with more than one view they are those of the first
    view, and ``views`` and ``gt_views`` have those of all. With a ``preset`` it has
    ``kernel`` (21, 21) and ``noise_level`` (scalar, 0..255) too, float32.

    Images are decoded only as far as the crops need, see :mod:`lightbsr_model.data.row_decoding`.

    Raises:
        OptionError: Options that do not fit, by key.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.scale = int(opt["scale"])
        self.gt_size = int(opt["gt_size"])
        self.views = int(opt.get("views", 1))
        self.degrade_in = opt.get("degrade_in", "device")
        self.border = opt.get("border", "clamp")
        if self.gt_size < self.scale or self.gt_size % self.scale or self.gt_size <= 10:
            raise OptionError(
                f"gt_size: expected a multiple of the scale {self.scale}, above 10 (a 21x21 kernel reflects at the border), "
                f"got {self.gt_size}."
            )
        if self.views < 1:
            raise OptionError(f"views: expected 1 or more, got {self.views}.")
        if self.degrade_in not in ("device", "loader"):
            raise OptionError(f"degrade_in: expected device or loader, got {self.degrade_in!r}.")
        if opt.get("degradation_per", "sample") not in ("sample", "batch"):
            raise OptionError(f"degradation_per: expected sample or batch, got {opt['degradation_per']!r}.")
        if opt.get("degradation_per") == "batch" and self.degrade_in == "loader":
            raise OptionError("degradation_per: a loader degrades each sample alone; batch needs degrade_in: device.")
        self.images = open_images(opt)
        self.lq_source = degradation_or_lq_images(opt, self.images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        # A generator of the sample's own, from torch's global one: of manual_seed, of the worker and the epoch in a plain
        # loader; of the sample's place in the run under lightbsr's launcher.
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        image = self.images.open(index)
        height, width = image.size
        if min(height, width) < self.gt_size:
            raise ImageError(
                f"{self.images.name(index)}: {width}x{height} is too small for a crop of gt_size {self.gt_size}; "
                "leave it out, or lower gt_size."
            )
        if isinstance(self.lq_source, ImageReader):
            return self._finished_pair(image, self.lq_source.open(index), generator)
        gt = cut_crops(image, self._draw_crops(image.size, self.gt_size, generator))
        drawn = self.lq_source.draw(generator)
        kernel, noise_level = drawn.kernel.float(), drawn.noise_level.float()
        sample = {"kernel": kernel, "noise_level": noise_level, "gt_path": image.name}
        if self.degrade_in == "device":
            return {"gt_views": gt, **sample}
        noise = noise_level[None] if self.lq_source.is_noisy else None
        lq = degrade(gt[None], kernel[None], noise, self.scale, self.border, generator)[0]
        return {**self._as_pair(lq, gt), **sample, "lq_path": image.name}

    def _finished_pair(self, image: EncodedImage, lq_image: EncodedImage, generator: torch.Generator) -> dict[str, Any]:
        (height, width), (lq_height, lq_width) = image.size, lq_image.size
        if (lq_height * self.scale, lq_width * self.scale) != (height, width):
            raise ImageError(
                f"{lq_image.name}: {lq_width}x{lq_height}, times the scale {self.scale}, is not the {width}x{height} of "
                f"its GT image {image.name}."
            )
        crops = self._draw_crops(lq_image.size, self.gt_size // self.scale, generator)
        gt = cut_crops(image, [crop.enlarged(self.scale) for crop in crops])
        lq = cut_crops(lq_image, crops).float() / 255
        return {**self._as_pair(lq, gt), "gt_path": image.name, "lq_path": lq_image.name}

    def _draw_crops(self, image_size: tuple[int, int], size: int, generator: torch.Generator) -> list[Crop]:
        flip, rot = self.opt.get("use_hflip", True), self.opt.get("use_rot", True)
        return [draw_crop(image_size, size, flip, rot, generator) for _ in range(self.views)]

    def _as_pair(self, lq: Tensor, gt: Tensor) -> dict[str, Tensor]:
        gt = gt.float() / 255
        pair = {"lq": lq[0], "gt": gt[0]}
        return pair if self.views == 1 else {**pair, "views": lq, "gt_views": gt}
