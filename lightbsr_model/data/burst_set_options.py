"""The keys of data sets of bursts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightbsr_model.data.set_options import IoBackend
from lightbsr_model.degradation.burst import CameraOptions
from lightbsr_model.runtime.declared_keys import key

MOST_FRAMES = 64
_FRAMES = "frame 0 is the base"


@dataclass(frozen=True)
class SyntheticBurstSet:
    """Keys of a data set of type SyntheticBurstDataset."""

    dataroot_gt: str | None = key("Folder or LMDB of sRGB images.", None)
    io_backend: IoBackend = key("How the images are stored.", {"type": "disk"})
    meta_info_file: str | None = key("Text file that lists the images to take, on disk only; ~ takes all.", None)
    pictures: list[str] | None = key("With io_backend bundled: scikit-image's images by name, such as astronaut.", None)
    camera: Literal["mended", "published", "noisy", "small"] = key(
        "mended: ours; published: with its black corners and 8-bit scenes; noisy: always its strongest noise; small: "
        "noisy, with small motions, for small images.",
        "mended",
    )
    camera_opt: CameraOptions | None = key("What is changed of the camera; ~ is nothing.", None)
    frames: int | list[int] = key(
        "Number of frames; of a training set also [least, most], of which each batch has a number that is drawn.",
        14,
        low=1,
        high=MOST_FRAMES,
        length=2,
        reason=_FRAMES,
    )
    gt_size: int = key("Side of a GT image in pixels, a multiple of 8.", low=16, high=8192)
    use_hflip: bool = key("Flip training images horizontally at random.", True)
    use_rot: bool = key("Rotate training images by multiples of 90 degrees at random.", False)
    seed: int = key("Of validation and test sets; each image has a stream of its own, by its name.", 0, low=-(2**63))


@dataclass(frozen=True)
class BurstFolderSet:
    """Keys of a data set of type BurstFolderDataset."""

    dataroot_lq: str = key("Folder of folders, each with the frames of a burst; the first by name is the base.")
    dataroot_gt: str | None = key(
        "Folder of linear 16-bit images of 4 times a frame's sides, named as the bursts; ~ for bursts without.", None
    )
    frames: int = key("At most this number of frames, the first by name.", 14, low=1, high=MOST_FRAMES, reason=_FRAMES)
    pattern: Literal["RGGB", "GRBG", "GBRG", "BGGR"] | None = key(
        "Bayer pattern of one-channel frames; ~ takes them for grey photos. RAW files say theirs.", None
    )
    black_level: float = key("Value of black in one-channel frames.", 0.0)
    white_level: float | None = key("Value of white there; ~ is the largest that the file can hold.", None)
    gt_size: int | None = key(
        "Side of training crops in GT pixels, a multiple of 8; ~ takes whole frames.", None, low=16
    )
