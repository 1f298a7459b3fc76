"""Bursts of any set of sRGB images."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from lightbsr_arch.errors import ImageError, OptionError
from lightbsr_model.data.burst_set_options import MOST_FRAMES, SyntheticBurstSet
from lightbsr_model.data.crops import Crop, cut_crops, draw_crop
from lightbsr_model.data.image_sources import open_images
from lightbsr_model.data.row_decoding import EncodedImage
from lightbsr_model.degradation.burst import BAYER_SCALE, SCALE, BurstParams, camera_of


@DATASET_REGISTRY.register()
class SyntheticBurstDataset(Dataset[dict[str, Any]]):
    """Bursts of RAW frames of sRGB images, see :mod:`lightbsr_model.degradation.burst`.

    A training set draws crop, flips, camera, motions and noise for each sample from torch's global generator. Any other set
    takes the middle of each image, and draws from a stream that depends on ``seed`` and on the image's name alone, in
    float64 and rounded to the camera's bits: the same on every machine.

    Args:
        opt: Options of the data set, see :class:`~lightbsr_model.data.burst_set_options.SyntheticBurstSet`; and ``phase``,
            ``name`` and ``scale``, 4, which the pipeline sets.

    A sample has, float32: ``frames`` (T, 4, gt_size / 8, gt_size / 8), packed R, Gr, Gb, B; ``gt`` (3, gt_size, gt_size), both
    linear; ``flow`` (T - 1, 2, gt_size / 8, gt_size / 8), where the base's pixels are found in the other frames; ``colours``
    (12,), see :class:`~lightbsr_arch.layers.camera.Colours`; and ``gt_path``, of a test set ``lq_path`` too.

    Raises:
        OptionError: Options that do not fit, by key.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"": SyntheticBurstSet}

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.is_training = opt.get("phase", "train") == "train"
        self.seed, self.gt_size = int(opt.get("seed") or 0), int(opt["gt_size"])
        if int(opt.get("scale") or BAYER_SCALE) != BAYER_SCALE:
            raise OptionError("scale", f"expected {BAYER_SCALE}, from a Bayer frame to its image, got {opt['scale']}.")
        if self.gt_size % SCALE or self.gt_size < 2 * SCALE:
            raise OptionError("gt_size", f"expected a multiple of {SCALE}, at least {2 * SCALE}, got {self.gt_size}.")
        self.frames = _most_frames(opt.get("frames", 14), self.is_training)
        self.camera = camera_of(opt.get("camera") or "mended", opt.get("camera_opt"))
        self.images = open_images(opt)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, image, side = self.images.name(index), self._open(index), self._side
        if self.is_training:
            generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
            flips = (bool(self.opt.get("use_hflip", True)), bool(self.opt.get("use_rot", False)))
            crop = draw_crop(image.size, side, *flips, generator)
            params = self.camera.draw(self.frames, generator)

            def normal(shape: tuple[int, ...]) -> Tensor:
                return torch.randn(shape, generator=generator, dtype=torch.float64)
        else:
            crop = Crop((image.size[0] - side) // 2, (image.size[1] - side) // 2, side)
            seed, params = self.drawn(index)
            # NumPy's compatibility policy freezes this stream.
            state = np.random.RandomState(seed)

            def normal(shape: tuple[int, ...]) -> Tensor:
                return torch.from_numpy(state.standard_normal(shape))

        frames, gt, flow = self.camera.take(cut_crops(image, [crop])[0].double() / 255, params, normal)
        sample = {"frames": frames, "gt": gt, "flow": flow, "colours": params.colours.vector[0]}
        names = (
            {"gt_path": path} if self.is_training else {"gt_path": path, "lq_path": f"{self.images.stem(index)}.png"}
        )
        return {**{name: value.float().contiguous() for name, value in sample.items()}, **names}

    def check_sizes(self) -> None:
        """Check that bursts can be made of all images.

        Raises:
            ImageError: One is too small, or cannot be read; the message names it.
        """
        for index in range(len(self)):
            self._open(index)

    @property
    def _side(self) -> int:
        """Of what is taken of an image."""
        return self.gt_size + 2 * self.camera.cut

    def _open(self, index: int) -> EncodedImage:
        image = self.images.open(index)
        if min(image.size) < self._side:
            raise ImageError(
                f"{self.images.name(index)}: {image.size[1]}x{image.size[0]} is too small for gt_size {self.gt_size} and "
                f"{self.camera.cut} pixels around it; leave it out, or lower gt_size."
            )
        return image

    def drawn(self, index: int) -> tuple[int, BurstParams]:
        """The seed of an image of a test set, and what it draws of the camera and its motions."""
        seed = zlib.crc32(f"{self.seed}/{self.images.stem(index)}".encode("utf-8", "surrogateescape"))
        return seed, self.camera.draw(self.frames, torch.Generator().manual_seed(seed))


def _most_frames(frames: Any, is_training: bool) -> int:
    """The number of frames that a sample has.

    Raises:
        OptionError: Not one number, or a range in a set that does not train.
    """
    values = list(frames) if isinstance(frames, (list, tuple)) else [frames]
    numbers = all(
        isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_FRAMES for value in values
    )
    if not numbers or len(values) not in (1, 2) or values[0] > values[-1]:
        raise OptionError("frames", f"expected a number of 1 to {MOST_FRAMES} or [least, most], got {frames!r}.")
    if len(values) == 2 and not is_training:
        raise OptionError("frames", f"a range is for training; a test set has one number of frames, got {frames!r}.")
    return int(values[-1])
