"""Training samples of one set of images: random GT crops, and what turns them into LR patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lightbsr_arch.errors import ImageError, OptionError
from lightbsr_model.data.crops import Crop, cut_crops, draw_crop
from lightbsr_model.data.finished_pairs import draw_pairs_of_crops
from lightbsr_model.data.image_sources import ImageReader, open_images
from lightbsr_model.data.lq_images import degradation_or_lq_images, misaligned
from lightbsr_model.data.row_decoding import EncodedImage
from lightbsr_model.degradation import GaussianDegradation
from lightbsr_model.degradation.base import Degradation, as_batch, in_float32, without_margin

FINISHED = "has no effect on the finished LQ images of dataroot_lq; leave out one of the two."
"""What is said of keys that make or change LQ images."""


class PatchSource:
    """Makes samples for :class:`BlindDegradationPairedDataset`, which has one of these for each entry of its ``mix``.

    Args:
        opt: The data set's options, or those of an entry of its ``mix``.

    Raises:
        OptionError: Options that do not fit, by key.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.scale, self.gt_size, self.views = int(opt["scale"]), int(opt["gt_size"]), int(opt.get("views", 1))
        self.degrades_here = opt.get("degrade_in", "device") == "loader"
        self.use_hflip, self.use_rot = opt.get("use_hflip", True), opt.get("use_rot", True)
        self.images = open_images(opt)
        self.unequal_pairs = bool(opt.get("unequal_pairs"))
        source = degradation_or_lq_images(opt, self.images)
        if self.degrades_here and isinstance(source, GaussianDegradation):
            # The bits that loaders have always given: outer products differ from them in the last one.
            source = replace(source, as_outer_products=False)
        if isinstance(source, ImageReader) and opt.get("misalign") is not None:
            raise OptionError("misalign", FINISHED)
        self.lq_source: Degradation | ImageReader = (
            source if isinstance(source, ImageReader) else misaligned(source, opt)
        )

    def sample(self, index: int, generator: torch.Generator) -> dict[str, Any]:
        """Draw a sample of an image.

        Raises:
            ImageError: It is too small, cannot be read, or does not fit its LQ image.
        """
        image, source = self.images.open(index), self.lq_source
        height, width = image.size
        margin = 0 if isinstance(source, ImageReader) else self.scale * source.margin
        if min(height, width) < self.gt_size + 2 * margin:
            with_margin = f", with {margin} pixels around it that misalign needs" if margin else ""
            raise ImageError(
                f"{self.images.name(index)}: {width}x{height} is too small for a crop of gt_size {self.gt_size}{with_margin}; "
                "leave it out, or lower gt_size."
            )
        if isinstance(source, ImageReader):
            return self._finished_pair(image, source.open(index), generator)
        gt = cut_crops(image, self._draw_crops(image.size, self.gt_size + 2 * margin, generator))
        params = in_float32(source.draw(generator))
        if not self.degrades_here:
            return {"gt_views": gt, **params, "gt_path": image.name}
        lq = source.apply(gt[None], as_batch(params), self.scale, generator)[0]
        return {
            **self._as_pair(lq, without_margin(gt, source, self.scale)),
            **params,
            "gt_path": image.name,
            "lq_path": image.name,
        }

    def _finished_pair(self, image: EncodedImage, lq_image: EncodedImage, generator: torch.Generator) -> dict[str, Any]:
        crops = draw_pairs_of_crops(
            *(lq_image, image, self.gt_size // self.scale, self.scale, self.unequal_pairs),
            lambda size, side: self._draw_crops(size, side, generator),
        )
        gt = cut_crops(image, [high for _, high in crops])
        lq = cut_crops(lq_image, [low for low, _ in crops]).float() / 255
        return {**self._as_pair(lq, gt), "gt_path": image.name, "lq_path": lq_image.name}

    def _draw_crops(self, image_size: tuple[int, int], size: int, generator: torch.Generator) -> list[Crop]:
        return [draw_crop(image_size, size, self.use_hflip, self.use_rot, generator) for _ in range(self.views)]

    def _as_pair(self, lq: Tensor, gt: Tensor) -> dict[str, Tensor]:
        gt = gt.float() / 255
        pair = {"lq": lq[0], "gt": gt[0]}
        return pair if self.views == 1 else {**pair, "views": lq, "gt_views": gt}
