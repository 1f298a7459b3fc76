"""Frames of a burst: sensor values from PNG, NPY and DNG files, or photos, of which a sensor's values are made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightbsr_arch.errors import ImageError, MissingFileError, OptionError
from lightbsr_arch.layers.camera import PATTERNS, RGB_TO_XYZ, Colours, linear_of_srgb, mosaic, pack

RAW_SUFFIXES = frozenset({".dng", ".nef", ".cr2", ".arw", ".orf", ".raf", ".rw2"})
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".npy"}) | RAW_SUFFIXES
PACKED_LEVELS = 2**14
"""Of 16-bit PNGs with four channels, as public burst sets have them."""
_WORST_CONDITION = 1e4
"""Condition of a colour matrix above which it is none; those of cameras are below 20."""

COLOURS_FILE = "colours.json"
"""Beside frames without colours of their own: ``rgb2cam`` (3x3) and ``gains`` (brightness, red, blue)."""
HOW_TO_GET_RAWPY = "reading RAW files needs rawpy: pip install 'lightbsr[raw]'"


@dataclass(frozen=True)
class Sensor:
    """How sensor values in PNG and NPY files are meant; RAW files say it themselves."""

    pattern: str | None = None
    """Of one-channel files: RGGB, GRBG, GBRG or BGGR; None takes them for grey photos."""
    black_level: float = 0.0
    white_level: float | None = None
    """None is the largest value of the file's type."""

    def __post_init__(self) -> None:
        if self.pattern is not None and self.pattern not in PATTERNS:
            raise OptionError("pattern", f"expected one of {', '.join(PATTERNS)}, got {self.pattern!r}.")
        if self.white_level is not None and self.white_level <= self.black_level:
            raise OptionError(
                "white_level", f"expected more than the black level {self.black_level:g}, got {self.white_level:g}."
            )

    def normalised(self, values: NDArray[Any]) -> Tensor:
        """Values in [0, 1], float32."""
        white = self.white_level
        if white is None:
            white = float(np.iinfo(values.dtype).max) if np.issubdtype(values.dtype, np.integer) else 1.0
        scaled = (torch.from_numpy(values.astype(np.float32)) - self.black_level) / (white - self.black_level)
        return scaled.clamp(0, 1)


@dataclass(frozen=True)
class Frame:
    """One frame."""

    packed: Tensor
    """(4, h, w), float32 in [0, 1], linear: R, Gr, Gb, B."""
    colours: Colours
    """Of a batch of one: how it becomes sRGB."""
    name: str
    is_photo: bool = False
    """Whether the sensor's values were made of a finished photo."""

    @property
    def size(self) -> str:
        """Width and height in sensor pixels, for messages."""
        return f"{2 * self.packed.shape[2]}x{2 * self.packed.shape[1]}"


def read_frame(path: Path, sensor: Sensor | None = None) -> Frame:
    """Read a frame.

    A PNG of 16 bit with four channels is packed, in the order in which OpenCV gives them: R, Gr, Gb, B. A one-channel PNG or a
    2-D NPY is a Bayer mosaic if ``sensor`` has a pattern. Other images are photos in sRGB: they are linearised and seen
    through a mosaic, which leaves a third of their values; where there are RAW files, take those.

    Raises:
        MissingFileError: There is no such file.
        ImageError: It cannot be read.
        OptionError: A RAW file without rawpy, or an NPY without a pattern.
    """
    sensor = Sensor() if sensor is None else sensor
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file; a burst needs all frames that are named.")
    suffix = path.suffix.lower()
    if suffix in RAW_SUFFIXES:
        return _read_raw(path)
    if suffix == ".npy":
        return _read_npy(path, sensor)
    flags = cv2.IMREAD_UNCHANGED if suffix == ".png" else cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    values = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags) if path.stat().st_size else None
    if values is None or values.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{path}: cannot be read as an image of 8 or 16 bit: cut short, or no image at all.")
    if values.ndim == 3 and values.shape[2] == 4 and values.dtype == np.uint16:
        packed = torch.from_numpy(values.astype(np.float32) / PACKED_LEVELS).permute(2, 0, 1).contiguous()
        return Frame(packed, Colours.of(None, 1), str(path))
    if values.ndim == 2 and sensor.pattern is not None:
        return _bayer(sensor.normalised(values), sensor.pattern, path)
    if values.ndim == 2:
        values = cv2.cvtColor(values, cv2.COLOR_GRAY2BGR)
    return _photo(values, path)


def _photo(values: NDArray[Any], path: Path) -> Frame:
    height, width = (side - side % 2 for side in values.shape[:2])
    if min(height, width) < 2:
        raise ImageError(
            f"{path}: {values.shape[1]}x{values.shape[0]} is too small: expected sides of 2 pixels at least."
        )
    rgb = np.ascontiguousarray(values[:height, :width, 2::-1].transpose(2, 0, 1)).astype(np.float32)
    rgb /= np.iinfo(values.dtype).max
    return Frame(mosaic(linear_of_srgb(torch.from_numpy(rgb))), Colours.of(None, 1), str(path), is_photo=True)


def _bayer(values: Tensor, pattern: str, path: Path, colours: Colours | None = None) -> Frame:
    try:
        packed = pack(values, pattern).contiguous()
    except ValueError as error:
        raise ImageError(f"{path}: {error}") from error
    return Frame(packed, Colours.of(None, 1) if colours is None else colours, str(path))


def _read_npy(path: Path, sensor: Sensor) -> Frame:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ImageError(f"{path}: cannot be read as an NPY file ({error}).") from error
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise ImageError(
            f"{path}: expected the values of a Bayer sensor, (H, W), got {values.shape} of {values.dtype}."
        )
    if not np.isfinite(values).all():
        raise ImageError(
            f"{path}: {np.count_nonzero(~np.isfinite(values))} of its values are not finite; leave it out."
        )
    if sensor.pattern is None:
        raise OptionError("pattern", f"missing; {path} holds sensor values: give one of {', '.join(PATTERNS)}.")
    return _bayer(sensor.normalised(values), sensor.pattern, path)


def _read_raw(path: Path) -> Frame:
    try:
        import rawpy
    except ImportError as error:
        raise OptionError(f"{path}: {HOW_TO_GET_RAWPY}, or convert it to PNG.") from error
    try:
        with rawpy.imread(str(path)) as raw:
            return frame_of_raw(raw, path)
    except rawpy.LibRawError as error:
        raise ImageError(f"{path}: cannot be read as a RAW file ({error}).") from error


def frame_of_raw(raw: Any, path: Path) -> Frame:
    """A frame of what rawpy has opened.

    Raises:
        ImageError: Its sensor is not a Bayer sensor.
    """
    letters = raw.color_desc.decode("ascii", "replace")
    grid = None if raw.raw_pattern is None else np.asarray(raw.raw_pattern)
    pattern = "" if grid is None else "".join(letters[number] for number in grid.flatten())
    if pattern not in PATTERNS or grid is None:
        raise ImageError(f"{path}: expected a Bayer sensor ({', '.join(PATTERNS)}), got {pattern or 'none'}.")
    values = np.asarray(raw.raw_image_visible).astype(np.float32)
    black = np.asarray(raw.black_level_per_channel, dtype=np.float32)
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        values[y::2, x::2] -= black[grid[y, x]]
    white = float(raw.white_level) - float(black.max())
    balance = [float(value) for value in raw.camera_whitebalance[:3]]
    gains = torch.tensor([[1.0, balance[0] / balance[1], balance[2] / balance[1]]] if balance[1] > 0 else [[1.0] * 3])
    colours = Colours(_camera_matrix(raw.rgb_xyz_matrix), gains)
    return _bayer(torch.from_numpy(values / white).clamp(0, 1), pattern, path, colours)


def _camera_matrix(xyz_to_camera: Any) -> Tensor:
    """(1, 3, 3) from linear sRGB to the camera's colours, rows normalised; the identity where the file has no matrix."""
    found = torch.from_numpy(np.asarray(xyz_to_camera, dtype=np.float64)[:3])
    if not bool(found.any()):
        return torch.eye(3)[None]
    matrix = found @ torch.tensor(RGB_TO_XYZ, dtype=torch.float64)
    return (matrix / matrix.sum(dim=1, keepdim=True)).float()[None]


def files_of_burst(folder: Path) -> list[Path]:
    """The frames in a folder, in the order of their names.

    Raises:
        ImageError: There are none.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ImageError(f"{folder}: no frames in it ({', '.join(sorted(SUFFIXES))}).")
    return paths


def read_burst(paths: Sequence[Path], sensor: Sensor | None = None) -> tuple[Tensor, Frame]:
    """Read frames of one size; the first is the base.

    The base's colours are those of a file ``colours.json`` beside it, if there is one.

    Returns:
        (T, 4, h, w), and the base.

    Raises:
        ImageError: No frames, frames of several sizes, or one that cannot be read.
        MissingFileError: One is missing.
    """
    if not paths:
        raise ImageError("a burst needs one frame or more, got none.")
    frames = [read_frame(path, sensor) for path in paths]
    base = frames[0]
    others = [frame for frame in frames if frame.packed.shape != base.packed.shape]
    if others:
        listed = ", ".join(f"{frame.name} ({frame.size})" for frame in others[:3])
        raise ImageError(
            f"{base.name} is {base.size}, but {len(others)} of {len(frames)} frames are not: {listed}. "
            "A burst has frames of one size: leave the others out."
        )
    beside = paths[0].parent / COLOURS_FILE
    if beside.is_file() and not base.is_photo:
        base = replace(base, colours=_read_colours(beside))
    return torch.stack([frame.packed for frame in frames]), base


def _read_colours(path: Path) -> Colours:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        vector = torch.tensor(
            [[*(value for row in said["rgb2cam"] for value in row), *said["gains"]]], dtype=torch.float32
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ImageError(
            f"{path}: expected rgb2cam (3x3) and gains (3 numbers) as JSON, cannot be read ({error})."
        ) from error
    if vector.shape[1] != 12 or not bool(vector.isfinite().all()):
        raise ImageError(f"{path}: expected rgb2cam (3x3) and gains (3 numbers), got {vector.shape[1]} values.")
    if not (vector[0, 9:] > 0).all() or torch.linalg.cond(vector[0, :9].view(3, 3)) > _WORST_CONDITION:
        raise ImageError(f"{path}: expected a matrix rgb2cam that can be inverted and gains above 0, got {said}.")
    return Colours.of(vector, 1)
