"""Registration without weights: the affine motion between two images of one scene, for whole batches on any device.

A motion says where each pixel of a *reference* is found in a *moving* image; warping the moving image by its flow lays it
over the reference. Nothing here reads a value on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = (4, 2, 1)
"""Averaging of the images from coarse to fine, in pixels."""
SMALLEST_LEVEL = 12
"""Side in pixels of the smallest image that a motion is read off."""
_STEPS, _DAMPING = 4, 1e-3
_LIKELY_CHANGE, _LIKELY_SHIFT = 0.02, 3.0
"""Standard deviations of what is expected of motions: of the matrix's linear part from the identity, and of the shift in
pixels. What an image with texture shows outweighs them; smooth images show little, and would fit any blur by a zoom."""
_CORRELATED = 20.0
"""How many times less the pixels say than independent ones would: their differences are of aliasing and blur."""
_COLOURS_SIGMA = 3.0
"""Of the Gaussian, in pixels, that images are compared behind to find gain and offset."""
_NO_MOTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0)
"""The affine matrix row by row, gain and offset."""
_SMALLEST_OVERLAP = 0.25
"""Share of the reference's pixels that must be found in the moving image; else there is no motion to speak of."""


@dataclass(frozen=True)
class AffineMotion:
    """What :func:`register_affine` finds in a batch."""

    matrix: Tensor
    """(N, 2, 3), float32: the pixel at (x, y), counted from the reference's centre, is found at matrix @ (x, y, 1), counted
    from the moving image's centre. Columns and rows in pixels."""
    gain: Tensor
    """(N,): moving * gain + offset is as bright as the reference."""
    offset: Tensor
    """(N,)."""
    agreement: Tensor
    """(N,): correlation of the registered images, -1 to 1; 0 where one of them is flat. Images without common content are
    far below 1."""

    def flow(self, height: int, width: int) -> Tensor:
        """The displacement of every pixel of a height x width reference, (N, 2, height, width): x, then y, in pixels."""
        y, x = (_centred(side, 1, side, self.matrix) for side in (height, width))
        points = _points(y, x)
        return torch.einsum("nij,jhw->nihw", self.matrix, points) - points[:2]


def register_affine(reference: Tensor, moving: Tensor) -> AffineMotion:
    """Find affine motion, gain and offset between the grey versions of images, by Gauss-Newton from coarse to fine.

    Minimises the squared difference over pixels that are found in both; a share of the reference's Laplacian takes up that
    one image is blurred more. Small motions are expected, see :data:`_LIKELY_CHANGE`. A motion under which the images differ
    more than without one becomes no motion; so does that of images with a side below :data:`SMALLEST_LEVEL`.

    Args:
        reference: (N, C, h, w) in [0, 1].
        moving: The same shape.

    Raises:
        ValueError: Other shapes.
    """
    if reference.dim() != 4 or reference.shape != moving.shape:
        raise ValueError(
            "registration needs two image batches (N, C, h, w) of one shape, got "
            f"{tuple(reference.shape)} and {tuple(moving.shape)}."
        )
    with torch.no_grad(), torch.autocast(reference.device.type, enabled=False):
        grey, other = (images.float().mean(dim=1, keepdim=True) for images in (reference, moving))
        radius = max(grey.shape[2:]) / 2
        found = still = grey.new_tensor(_NO_MOTION, dtype=torch.float64).expand(len(grey), 8)
        for factor in LEVELS:
            if min(grey.shape[2:]) // factor >= SMALLEST_LEVEL:
                level = _Level(grey, other, factor, radius)
                found = level.better_of(level.refined(found), found)
        whole = _Level(grey, other, 1, radius)
        found = whole.better_of(found, still)
        gain, offset, _, agreement = whole.judged(found)
        # From lengths of a radius to pixels.
        matrix = found[:, :6].view(-1, 2, 3) * found.new_tensor([1, 1, radius])
        return AffineMotion(matrix.float(), gain, offset, agreement)


def warp(images: Tensor, flow: Tensor, stretched: bool = False) -> tuple[Tensor, Tensor]:
    """Read images where a flow points to, bilinearly.

    Args:
        images: (N, C, H, W).
        flow: (N, 2, H, W), x, then y, in pixels.
        stretched: Take displacements times W / (W - 1) and H / (H - 1), as a published code does.

    Returns:
        The images, (N, C, H, W), 0 where the flow leaves them; and where it does not, (N, 1, H, W) of 0 and 1.
    """
    height, width = images.shape[2:]
    size = flow.new_tensor([width, height]).view(1, 2, 1, 1)
    if stretched:
        flow = flow * size / (size - 1)
    y, x = (torch.arange(side, dtype=flow.dtype, device=flow.device) for side in (height, width))
    places = _points(y, x)[:2] + flow
    grid = ((2 * places + 1) / size - 1).permute(0, 2, 3, 1)
    # A plane of ones goes with them: it is 1 where all four neighbours are inside.
    read = F.grid_sample(torch.cat([images, torch.ones_like(images[:, :1])], dim=1), grid, align_corners=False)
    inside = (read[:, -1:] > 0.999).to(images.dtype)
    return read[:, :-1] * inside, inside


def with_colours_of(images: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Give images the gain and offset per channel under which they are closest to a reference inside a mask.

    Both are compared without their detail: a blurred image would be taken for one of low contrast, and noise for contrast.

    Args:
        images: (N, C, H, W).
        reference: The same shape.
        mask: (N, 1, H, W) of 0 and 1; a sample without ones stays as it is.

    Returns:
        (N, C, H, W), not clamped.
    """
    pair = torch.cat([images, reference], dim=1) * mask
    smooth, smooth_reference = (_smoothed(pair) / _smoothed(mask).clamp_min(1e-3)).chunk(2, dim=1)
    gain, offset, _, _ = _gain_and_offset(smooth, smooth_reference, mask)
    return images * gain[:, :, None, None] + offset[:, :, None, None]


class _Level:
    """The images averaged over squares of pixels, with coordinates in lengths of a radius from the images' centre.

    Parameters are (N, 8), float64: the affine matrix row by row, gain, offset.
    """

    def __init__(self, reference: Tensor, moving: Tensor, factor: int, radius: float) -> None:
        self.factor, self.radius = factor, radius
        self.size = reference.shape[2:]
        self.reference, averaged = (F.avg_pool2d(images, factor) for images in (reference, moving))
        around = F.pad(averaged, (1, 1, 1, 1), mode="replicate")
        slope_x = (around[..., 1:-1, 2:] - around[..., 1:-1, :-2]) / 2
        slope_y = (around[..., 2:, 1:-1] - around[..., :-2, 1:-1]) / 2
        # Of the whole image's pixels; what is read at a place is read of all three.
        self.moving = torch.cat([averaged, slope_x / factor, slope_y / factor], dim=1)
        height, width = self.reference.shape[2:]
        y = _centred(height, factor, self.size[0], averaged) / radius
        x = _centred(width, factor, self.size[1], averaged) / radius
        self.points = _points(y, x)
        around = F.pad(self.reference, (1, 1, 1, 1), mode="replicate")
        beside = around[..., 1:-1, 2:] + around[..., 1:-1, :-2] + around[..., 2:, 1:-1] + around[..., :-2, 1:-1]
        self.edges = beside - 4 * self.reference
        self.start = averaged.new_tensor(_NO_MOTION, dtype=torch.float64)
        # Inverse variances of the parameters and the share of the edges.
        change, shift = _LIKELY_CHANGE**-2, (radius / _LIKELY_SHIFT) ** 2
        self.expectation = self.start.new_tensor([change, change, shift, change, change, shift, 0, 0, 0])

    def refined(self, found: Tensor) -> Tensor:
        """Gauss-Newton steps."""
        motion = found - self.start
        sharpness = torch.zeros_like(found[:, :1])
        reference, edges = self.reference.flatten(1), self.edges.flatten(1)
        rows = self.points.flatten(1) * self.radius
        for _ in range(_STEPS):
            found = self.start + motion
            read, inside = self._read(found)
            value, slope_x, slope_y = (read * inside).flatten(2).unbind(1)
            gain, offset, blur = found[:, 6:7].float(), found[:, 7:8].float(), sharpness.float()
            ones = inside.flatten(1)
            columns = torch.cat(
                [
                    *((gain * slope)[:, None] * rows for slope in (slope_x, slope_y)),
                    *(column[:, None] for column in (value, ones, -edges * ones)),
                ],
                dim=1,
            ).double()
            rest = (gain * value + (offset - reference - blur * edges) * ones).double()
            # Of a pixel; the expectations count as that many pixels as they are sure.
            variance = _CORRELATED * rest.square().sum(dim=1, keepdim=True) / ones.sum(dim=1, keepdim=True).clamp_min(1)
            expected = (variance + 1e-7) * self.expectation
            normal = columns @ columns.transpose(1, 2)
            diagonal = _DAMPING * normal.diagonal(dim1=1, dim2=2) + 1e-8 * rest.shape[1] + expected
            slope = columns @ rest[:, :, None] + (expected * torch.cat([motion, sharpness], dim=1))[:, :, None]
            step, _ = torch.linalg.solve_ex(normal + torch.diag_embed(diagonal), slope)
            is_finite = step.isfinite().all(dim=1, keepdim=True)
            step = torch.where(is_finite, step, 0.0)[:, :, 0]
            motion, sharpness = motion - step[:, :8], sharpness - step[:, 8:]
        return self.start + motion

    def better_of(self, one: Tensor, other: Tensor) -> Tensor:
        """Of two parameters of a sample the first, unless the images differ less under the second."""
        (_, _, first, _), (_, _, second, _) = self.judged(one), self.judged(other)
        return torch.where((first < second)[:, None], one, other)

    def judged(self, found: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Best gain and offset under a motion, mean squared difference (infinite without overlap), and correlation."""
        read, inside = self._read(found)
        gain, offset, difference, correlation = _gain_and_offset(read[:, :1], self.reference, inside)
        covered = inside.mean(dim=(1, 2, 3)) > _SMALLEST_OVERLAP
        difference = torch.where(covered & difference[:, 0].isfinite(), difference[:, 0], torch.inf)
        return gain[:, 0], offset[:, 0], difference, torch.where(covered, correlation[:, 0], 0.0)

    def _read(self, found: Tensor) -> tuple[Tensor, Tensor]:
        """The moving image and its slopes where a motion finds the reference's pixels, and which of these are inside."""
        places = torch.einsum("nij,jhw->nihw", found[:, :6].float().view(-1, 2, 3), self.points) * self.radius
        centre = places.new_tensor([self.size[1] - self.factor, self.size[0] - self.factor]).view(1, 2, 1, 1) / 2
        places = (places + centre) / self.factor
        last = places.new_tensor([side - 1 for side in (self.reference.shape[3], self.reference.shape[2])])
        # Not a number, where a motion has run away, is outside too.
        places = (2 * places / last.view(1, 2, 1, 1) - 1).nan_to_num(9.0)
        inside = (places.abs() <= 1).all(dim=1, keepdim=True).float()
        grid = places.clamp(-2, 2).permute(0, 2, 3, 1)
        return F.grid_sample(self.moving, grid, align_corners=True), inside


def _gain_and_offset(images: Tensor, reference: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Least squares of images * gain + offset to a reference, each (N, C); the mean squared rest; and the correlation."""
    images, reference, mask = images.double(), reference.double(), mask.double()
    count = mask.sum(dim=(2, 3)).clamp_min(1)

    def mean(values: Tensor) -> Tensor:
        return (values * mask).sum(dim=(2, 3)) / count

    x, y = mean(images), mean(reference)
    dx, dy = images - x[:, :, None, None], reference - y[:, :, None, None]
    xx, xy, yy = mean(dx * dx), mean(dx * dy), mean(dy * dy)
    is_flat = xx < 1e-8
    gain = torch.where(is_flat, 1.0, xy / xx.clamp_min(1e-8))
    empty = mask.sum(dim=(2, 3)) == 0
    offset = torch.where(empty, 0.0, y - gain * x)
    rest = yy - torch.where(is_flat, 0.0, gain * xy)
    correlation = torch.where(is_flat | (yy < 1e-8), 0.0, xy / (xx * yy).clamp_min(1e-16).sqrt())
    return gain.float(), offset.float(), rest.float(), correlation.float()


def _smoothed(images: Tensor) -> Tensor:
    """Blurred by a Gaussian, with zeros outside."""
    radius, channels = round(3 * _COLOURS_SIGMA), images.shape[1]
    places = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-places.square() / (2 * _COLOURS_SIGMA**2))
    rows = (kernel / kernel.sum()).expand(channels, 1, 1, -1)
    blurred = F.conv2d(images, rows, padding=(0, radius), groups=channels)
    return F.conv2d(blurred, rows.transpose(2, 3), padding=(radius, 0), groups=channels)


def _centred(count: int, factor: int, side: int, like: Tensor) -> Tensor:
    """Where the pixels of an averaged side lie in the whole one, counted from its centre."""
    return torch.arange(count, dtype=like.dtype, device=like.device) * factor + (factor - side) / 2


def _points(y: Tensor, x: Tensor) -> Tensor:
    """(3, H, W) of x, y and 1."""
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows, torch.ones_like(rows)])
