"""Bursts of RAW frames of sRGB images: what a shaking camera sees (arXiv 2101.10997)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightbsr_arch.errors import OptionError
from lightbsr_arch.layers.camera import CAMERAS, Colours, camera_matrix, mosaic
from lightbsr_model.runtime.declared_keys import key, values_of

BAYER_SCALE = 4
"""From a frame to the HR image; a packed frame is half as large again."""
SCALE = 2 * BAYER_SCALE
_BASE_SHIFT = BAYER_SCALE / 2 - 0.5
"""The base frame's shift: its pixels are the means of HR pixels 4j + 1 and 4j + 2, and must show those at 4j."""
_READ_SLOPE, _READ_OFFSET, _READ_SPREAD = 2.18, 1.2, 0.26
_EIGHT_BITS = 255
Normal = Callable[[tuple[int, ...]], Tensor]


@dataclass(frozen=True)
class CameraOptions:
    """Keys of ``camera_opt``: what is changed of the ``camera``."""

    shift: float = key("Largest shift of a frame along each axis, in HR pixels.", 24.0, low=0, high=256)
    rotation: float = key("Largest rotation of a frame about the crop's centre, in degrees.", 1.0, low=0, high=45)
    cut: int = key(
        "HR pixels around the GT image that frames may show; less than shift and rotation reach leaves black corners.",
        28,
        low=0,
        high=512,
    )
    shot: list[float] = key(
        "Lowest and highest variance of the shot noise at white; drawn evenly on a logarithmic scale.",
        [1e-4, 0.012],
        low=1e-9,
        high=1,
        length=2,
    )
    read: float | None = key(
        "Variance of the read noise; ~ draws it with the shot noise, as real cameras have it.", None, low=0, high=1
    )
    noise: bool = key("Add noise.", True)
    bits: int | None = key("Depth that frames are rounded to; ~ does not round.", 14, low=2, high=24)
    eight_bit_scene: bool = key("Cut the linear scene to 8 bits first, as the published code does.", False)


CAMERAS_BY_NAME: dict[str, dict[str, Any]] = {
    "mended": {},
    "published": {"cut": 24, "bits": None, "eight_bit_scene": True},
    "noisy": {"shot": [0.012, 0.012], "read": 2.2e-4},
    "small": {"shift": 8.0, "cut": 12, "shot": [0.012, 0.012], "read": 2.2e-4},
}
"""Cameras by the names that option files use: ours; as in the published code, with black corners and 8 bits in the dark; with
its strongest noise always; and that for short trainings on small images."""


@dataclass(frozen=True)
class BurstParams:
    """What is drawn for one burst, in float64."""

    matrix: Tensor
    """(3, 3), see :class:`Colours`."""
    gains: Tensor
    """(3,)."""
    motions: Tensor
    """(T, 3): shift along x and y in HR pixels, rotation in degrees; the first is the base's."""
    shot: float
    read: float

    @property
    def colours(self) -> Colours:
        """Of a batch of one."""
        return Colours(self.matrix[None], self.gains[None])

    def described(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "rgb2cam": self.matrix.tolist(),
            "gains": self.gains.tolist(),
            "motions": self.motions.tolist(),
            **{"shot": self.shot, "read": self.read},
        }


@dataclass(frozen=True)
class Camera:
    """Draws and takes bursts; see :class:`CameraOptions` for the values."""

    shift: float
    rotation: float
    cut: int
    shot: list[float]
    read: float | None
    noise: bool
    bits: int | None
    eight_bit_scene: bool

    def draw(self, frames: int, generator: torch.Generator | None = None) -> BurstParams:
        """Draw a burst of a number of frames.

        The colours and the noise do not depend on the number of frames, nor a frame on those after it.
        """

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)

        def normal() -> float:
            return float(torch.randn((), generator=generator, dtype=torch.float64))

        matrix = camera_matrix(uniform(0, 1, CAMERAS))
        # A gain of a dim image is large, never negative: the published draw is cut where it cannot be meant.
        brightness = 1 / max(0.8 + 0.1 * normal(), 0.1)
        gains = torch.stack([torch.tensor(brightness, dtype=torch.float64), uniform(1.9, 2.4), uniform(1.5, 1.9)])
        log_shot = float(uniform(math.log(self.shot[0]), math.log(self.shot[1])))
        log_read = _READ_SLOPE * log_shot + _READ_OFFSET + _READ_SPREAD * normal()
        base = torch.tensor([[_BASE_SHIFT, _BASE_SHIFT, 0.0]], dtype=torch.float64)
        largest = torch.tensor([self.shift, self.shift, self.rotation], dtype=torch.float64)
        others = uniform(-1, 1, max(frames - 1, 0), 3) * largest
        read = math.exp(log_read) if self.read is None else self.read
        return BurstParams(matrix, gains, torch.cat([base, others]), math.exp(log_shot), read)

    def take(self, srgb: Tensor, params: BurstParams, normal: Normal) -> tuple[Tensor, Tensor, Tensor]:
        """Take a burst of an image, in float64.

        Args:
            srgb: (3, H, W) in [0, 1], with ``cut`` pixels around the GT image; H and W less twice that are multiples of 8.
            params: What :meth:`draw` drew.
            normal: Makes the noise: standard normal values of a shape, in float64.

        Returns:
            The frames, (T, 4, h, w); the GT image, (3, 8h, 8w), both linear, in the camera's colours; and where the base's
            packed pixels are found in the other frames, (T - 1, 2, h, w), x, then y, in packed pixels.

        Raises:
            ValueError: Other sides.
        """
        inner = [side - 2 * self.cut for side in srgb.shape[1:]]
        if min(inner) < SCALE or inner[0] % SCALE or inner[1] % SCALE:
            raise ValueError(
                f"expected sides that are multiples of {SCALE} and {2 * self.cut} more, got {srgb.shape[2]}x{srgb.shape[1]}."
            )
        linear = params.colours.to_linear(srgb.double()[None])[0]
        height, width = inner
        gt = linear[:, self.cut : self.cut + height, self.cut : self.cut + width]
        scene = (linear * _EIGHT_BITS).floor() / _EIGHT_BITS if self.eight_bit_scene else linear
        raw = mosaic(frames_of(scene, params.motions, self.cut))
        if self.noise:
            variance = params.shot * raw + params.read
            raw = raw + variance.sqrt() * normal(tuple(raw.shape))
        raw = raw.clamp(0, 1)
        if self.bits is not None:
            raw = (raw * 2**self.bits).round() / 2**self.bits
        return raw, gt, true_flow(params.motions, (srgb.shape[1], srgb.shape[2]), self.cut)


def camera_of(name: Any, changes: Any = None) -> Camera:
    """The camera of a name, with changes.

    Args:
        name: One of :data:`CAMERAS_BY_NAME`.
        changes: Values of :class:`CameraOptions` by name, or None.

    Raises:
        OptionError: An unknown name, or values that do not fit, by key.
    """
    if name not in CAMERAS_BY_NAME:
        raise OptionError("camera", f"expected one of {', '.join(CAMERAS_BY_NAME)}, got {name!r}.")
    values = values_of(CameraOptions, {**CAMERAS_BY_NAME[name], **(changes or {})}, "camera_opt")
    low, high = values["shot"]
    if low > high:
        raise OptionError("camera_opt.shot", f"expected [lowest, highest], got [{low}, {high}].")
    return Camera(**values)


def moved_points(motion: Tensor, points: Tensor, size: tuple[int, int], back: bool = False) -> Tensor:
    """Where a frame shows points of the scene: shifted, then turned about the crop's centre.

    Args:
        motion: (3,), see :class:`BurstParams`.
        points: (2, ...), x and y in HR pixels of the crop.
        size: Height and width of the crop.
        back: Where the scene has what the frame shows at these points, instead.
    """
    tail = (1,) * (points.dim() - 1)
    centre = points.new_tensor([size[1] / 2, size[0] / 2]).view(2, *tail)
    shift = motion[:2].to(points).view(2, *tail)
    angle = math.radians(float(motion[2]))
    cos, sin = math.cos(angle), math.sin(angle)
    if back:
        x, y = points - centre
        return torch.stack([x * cos - y * sin, x * sin + y * cos]) + centre - shift
    x, y = points + shift - centre
    return torch.stack([x * cos + y * sin, -x * sin + y * cos]) + centre


def frames_of(scene: Tensor, motions: Tensor, cut: int) -> Tensor:
    """The RGB frames of a scene (3, H, W), before the mosaic: (T, 3, (H - 2 cut) / 4, (W - 2 cut) / 4).

    A pixel is the mean of the four HR pixels in the middle of its 4x4; each is read bilinearly, 0 outside.
    """
    size = (int(scene.shape[1]), int(scene.shape[2]))
    middle = BAYER_SCALE // 2
    y, x = (
        torch.arange(cut, side - cut, dtype=scene.dtype).view(-1, BAYER_SCALE)[:, middle - 1 : middle + 1].flatten()
        for side in size
    )
    points = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1])
    span = scene.new_tensor([size[1], size[0]]).view(2, 1, 1)
    places = torch.stack([moved_points(motion, points, size, back=True) for motion in motions])
    grid = ((2 * places + 1) / span - 1).permute(0, 2, 3, 1)
    read = F.grid_sample(scene.expand(len(motions), -1, -1, -1), grid, align_corners=False)
    return F.avg_pool2d(read, 2)


def true_flow(motions: Tensor, size: tuple[int, int], cut: int, scale: int = SCALE) -> Tensor:
    """Where the base's pixels are found in the other frames, (T - 1, 2, h, w), x, then y, in pixels of the frames.

    Args:
        motions: (T, 3), the base's first.
        size: Height and width of the crop.
        cut: HR pixels around the frames.
        scale: HR pixels of a frame's pixel.
    """
    y, x = (
        scale * torch.arange((side - 2 * cut) // scale, dtype=torch.float64) + (scale - 1) / 2 + cut for side in size
    )
    points = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1])
    scene = moved_points(motions[0], points, size, back=True)
    flows = [(moved_points(motion, scene, size) - points) / scale for motion in motions[1:]]
    return torch.stack(flows) if flows else points.new_zeros(0, *points.shape)
