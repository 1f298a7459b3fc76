"""Training data: GT patches and the degradations that turn them into LR patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from lightbsr_model.data.decoding import RGBImage
from lightbsr_model.data.image_sources import open_images
from lightbsr_model.degradation import degrade, get_degradation
from lightbsr_model.errors import ImageError, OptionError


@DATASET_REGISTRY.register()
class BlindDegradationPairedDataset(Dataset[dict[str, Any]]):
    """Random GT crops with a random degradation a sample.

    Args:
        opt: Options of the data set. It contains the following keys:
            dataroot_gt (str): Folder or LMDB of GT images.
            io_backend (dict): ``type``: disk (default), lmdb, or bundled (scikit-image's pictures).
            meta_info_file (str): Optional, disk only: list of the images to take.
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
                finished pairs that any BasicSR model trains on.

    A sample has ``kernel`` (21, 21) and ``noise_level`` (scalar, 0..255), float32, ``gt_path``, and
    with ``degrade_in: device``: ``gt`` (views, 3, gt_size, gt_size), uint8;
    with ``degrade_in: loader``: ``lq`` (3, gt_size / scale, gt_size / scale) and ``gt`` (3, gt_size, gt_size), float32
    in [0, 1], RGB; with more than one view both have them as first dimension.

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
        self.degradation = get_degradation(opt["preset"], opt.get("degradation"))
        self.images = open_images(opt)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        # A generator of the sample's own, from torch's global one: of manual_seed, of the worker and the epoch in a plain
        # loader; of the sample's place in the run under lightbsr's launcher.
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        image = self.images.read(index)
        height, width = image.shape[:2]
        if min(height, width) < self.gt_size:
            raise ImageError(
                f"{self.images.name(index)}: {width}x{height} is too small for a crop of gt_size {self.gt_size}; "
                "leave it out, or lower gt_size."
            )
        gt = torch.stack([self._patch(image, generator) for _ in range(self.views)])
        drawn = self.degradation.draw(generator)
        kernel, noise_level = drawn.kernel.float(), drawn.noise_level.float()
        sample: dict[str, Any] = {"kernel": kernel, "noise_level": noise_level, "gt_path": self.images.name(index)}
        if self.degrade_in == "device":
            return {"gt": gt, **sample}
        noise = noise_level[None] if self.degradation.is_noisy else None
        lq = degrade(gt[None], kernel[None], noise, self.scale, self.border, generator)[0]
        pair = {"lq": lq, "gt": gt.float() / 255}
        if self.views == 1:
            pair = {key: value[0] for key, value in pair.items()}
        return {**pair, **sample, "lq_path": sample["gt_path"]}

    def _patch(self, image: RGBImage, generator: torch.Generator) -> Tensor:
        """Crop at random, every offset equally likely, then flip and rotate."""
        size = self.gt_size
        top, left = (int(torch.randint(0, side - size + 1, (), generator=generator)) for side in image.shape[:2])
        patch = image[top : top + size, left : left + size]
        flip, turns = (
            int(torch.randint(0, 2, (), generator=generator)),
            int(torch.randint(0, 4, (), generator=generator)),
        )
        if flip and self.opt.get("use_hflip", True):
            patch = patch[:, ::-1]
        if self.opt.get("use_rot", True):
            patch = np.rot90(patch, turns)
        return torch.from_numpy(np.ascontiguousarray(patch.transpose(2, 0, 1)))
