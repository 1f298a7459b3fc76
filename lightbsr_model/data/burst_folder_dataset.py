"""Real bursts: a folder of frames for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from lightbsr_arch.errors import ImageError, MissingFileError, OptionError
from lightbsr_arch.inference.burst_files import PACKED_LEVELS, Sensor, files_of_burst, read_burst
from lightbsr_model.data.burst_set_options import BurstFolderSet
from lightbsr_model.degradation.burst import BAYER_SCALE, SCALE


@DATASET_REGISTRY.register()
class BurstFolderDataset(Dataset[dict[str, Any]]):
    """Bursts that exist as files, see :func:`~lightbsr_arch.inference.burst_files.read_frame` for their formats.

    Args:
        opt: Options of the data set, see :class:`~lightbsr_model.data.burst_set_options.BurstFolderSet`; and ``phase`` and
            ``name``, which the pipeline sets.

    A sample has ``frames`` (T, 4, h, w) and, with ``dataroot_gt``, ``gt`` (3, 8h, 8w), float32 in [0, 1], linear; ``colours``
    (12,); ``gt_path``, and ``lq_path`` but of a training set.

    Raises:
        OptionError: Options that do not fit, by key.
        MissingFileError: A folder is missing, or the GT image of a burst.
        ImageError: There are no bursts.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"": BurstFolderSet}

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.is_training = opt.get("phase", "train") == "train"
        self.frames, self.gt_size = int(opt.get("frames", 14)), opt.get("gt_size")
        if self.gt_size is not None and self.gt_size % SCALE:
            raise OptionError("gt_size", f"expected a multiple of {SCALE}, got {self.gt_size}.")
        self.sensor = Sensor(opt.get("pattern"), float(opt.get("black_level") or 0), opt.get("white_level"))
        root = Path(opt["dataroot_lq"]).expanduser()
        if not root.is_dir():
            raise MissingFileError("dataroot_lq", f"there is no folder {root}; it holds a folder for each burst.")
        self.paths = sorted(str(path) for path in root.iterdir() if path.is_dir())
        if not self.paths:
            raise ImageError("dataroot_lq", f"no folders in {root}; it holds a folder for each burst.")
        self._gt_root = None if opt.get("dataroot_gt") is None else Path(opt["dataroot_gt"]).expanduser()
        missing = [path for path in self.paths if self._gt_root and not self._gt_path(path).is_file()]
        if missing:
            raise MissingFileError(
                "dataroot_gt", f"{len(missing)} bursts have no GT image, first {self._gt_path(missing[0])}."
            )
        if self.is_training and self._gt_root is None:
            raise OptionError("dataroot_gt", "missing; a training needs the GT images of its bursts.")

    def _gt_path(self, burst: str) -> Path:
        return Path(self._gt_root or "") / f"{Path(burst).name}.png"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        folder = self.paths[index]
        frames, base = read_burst(files_of_burst(Path(folder))[: self.frames], self.sensor)
        sample: dict[str, Any] = {"frames": frames, "colours": base.colours.vector[0], "gt_path": folder}
        if self._gt_root is not None:
            sample["gt"] = self._read_gt(folder, frames)
        if not self.is_training:
            return {**sample, "lq_path": f"{Path(folder).name}.png"}
        if self.gt_size is None:
            return sample
        side = self.gt_size // SCALE
        if min(frames.shape[2:]) < side or len(frames) < self.frames:
            raise ImageError(
                f"{folder}: {len(frames)} frames of {base.size} are too few or too small for frames {self.frames} and "
                f"gt_size {self.gt_size} ({self.gt_size // BAYER_SCALE} sensor pixels); leave it out, or lower them."
            )
        top, left = (int(torch.randint(length - side + 1, ())) for length in frames.shape[2:])
        sample["frames"] = frames[:, :, top : top + side, left : left + side].contiguous()
        gt = sample["gt"][:, SCALE * top : SCALE * (top + side), SCALE * left : SCALE * (left + side)]
        return {**sample, "gt": gt.contiguous()}

    def _read_gt(self, folder: str, frames: Tensor) -> Tensor:
        path = self._gt_path(folder)
        values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        expected = (SCALE * frames.shape[2], SCALE * frames.shape[3], 3)
        if values is None or values.dtype != np.uint16 or values.shape != expected:
            found = "no image" if values is None else f"{values.shape} of {values.dtype}"
            raise ImageError(f"{path}: expected a linear image {expected} of 16 bit, got {found}.")
        return torch.from_numpy(values[:, :, ::-1].astype(np.float32).transpose(2, 0, 1).copy()) / PACKED_LEVELS
