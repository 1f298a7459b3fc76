"""One image of a burst of frames, in tiles, in the memory of one tile and one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.tiles import SMALLEST_TILE, Grid, Span, join_tiles, spans
from lightbsr_arch.layers.camera import Colours, colours_of_packed
from lightbsr_arch.layers.registration import warp

DEFAULT_TILE = 128
"""Side in packed pixels."""
_GRID = Grid(alignment=1, overlap=48, untrusted=16)
"""A frame's features are read up to ten pixels beside where its flow points to, and see eleven around that."""
MIN_AGREEMENT = 0.5
_LARGE_SHIFT, _COARSE_SIDE = 8, 96
"""Packed pixels beyond which a shift is taken out before a network sees the flow, and the side of the small versions of
frames in which it is found."""
_JUDGED_AT = 4
"""Frames are compared in averages over squares of packed pixels, in which their noise is small."""


class BurstNetwork(Protocol):
    """Restores bursts."""

    scale: int

    def __call__(self, burst: Tensor, flow: Tensor | None = None) -> Tensor:
        """(N, T, 4, h, w) to (N, 3, scale * h, scale * w)."""

    def estimate_flow(self, burst: Tensor) -> Tensor:
        """(N, T - 1, 2, h, w)."""


@dataclass(frozen=True)
class AlignedBurst:
    """Frames that show the base's scene, and how they lie."""

    frames: Tensor
    """(T, 4, h, w), the base first; large shifts are taken out."""
    flow: Tensor
    """(T - 1, 2, h, w): where the base's pixels are found in the other frames."""
    left_out: list[str]
    """Why other frames are not here, a line each."""


def align(
    net: BurstNetwork, frames: Tensor, names: Sequence[str], min_agreement: float = MIN_AGREEMENT
) -> AlignedBurst:
    """Register frames with the first one, and leave out those that cannot add to it.

    Args:
        net: Estimates the flow, one frame after the other.
        frames: (T, 4, h, w), on the device of the network.
        names: Of the frames.
        min_agreement: Correlation with the base, once aligned, below which a frame shows another scene, or has moved too far.
    """
    kept, taken, flows, left_out = [0], [frames[0]], [], []
    with torch.inference_mode():
        for number in range(1, len(frames)):
            same = next((other for other in kept if torch.equal(frames[other], frames[number])), None)
            if same is not None:
                left_out.append(f"{names[number]}: left out, it is the same as {names[same]} and adds nothing.")
                continue
            frame, flow, found = _registered(net, frames[0], frames[number])
            if found < min_agreement:
                left_out.append(
                    f"{names[number]}: left out, it does not show what {names[0]} shows (correlation {found:.2f} once "
                    f"aligned, below {min_agreement:g})."
                )
                continue
            kept.append(number)
            taken.append(frame)
            flows.append(flow[None])
    none = frames.new_zeros(0, 2, *frames.shape[2:])
    return AlignedBurst(torch.stack(taken), torch.cat([none, *flows]), left_out)


def _registered(net: BurstNetwork, base: Tensor, frame: Tensor) -> tuple[Tensor, Tensor, float]:
    """A frame (4, h, w), the flow to it (2, h, w), and how much they agree where both show something.

    If it lies further from the base than networks look, it is moved back by whole pixels, with 0 where it ends.
    """
    right, down = _coarse_shift(base, frame)
    if max(abs(right), abs(down)) <= _LARGE_SHIFT:
        flow = net.estimate_flow(torch.stack([base, frame])[None])[0, 0]
        return frame, flow, agreement(base, frame, flow)
    height, width = base.shape[1:]
    rows, columns = (slice(max(0, -by), side - max(0, by)) for by, side in ((down, height), (right, width)))
    shared = frame[:, rows.start + down : rows.stop + down, columns.start + right : columns.stop + right]
    flow = net.estimate_flow(torch.stack([base[:, rows, columns], shared])[None])[0]
    found = agreement(base[:, rows, columns], shared, flow[0])
    moved = torch.zeros_like(frame)
    moved[:, rows, columns] = shared
    # Beside what both show there is nothing to find, however the flow goes on.
    beside = (columns.start, width - columns.stop, rows.start, height - rows.stop)
    return moved, F.pad(flow, beside, mode="replicate")[0], found


def _coarse_shift(base: Tensor, frame: Tensor) -> tuple[int, int]:
    """How far right and down the base is found in a frame, (4, h, w) each, by phase correlation of small versions.

    No shift unless the frames agree more under the one that is found.
    """
    factor = max(min(base.shape[1:]) // _COARSE_SIDE, 1)
    seen = torch.stack([base, frame]).clamp_min(0).sqrt().mean(dim=1)
    small = F.avg_pool2d(seen[:, None], factor)[:, 0]
    height, width = small.shape[1:]
    # Borders, which do not go on on the other side, fade out.
    windows = (torch.hann_window(side, periodic=False, device=small.device) for side in (height, width))
    window = torch.outer(*windows)
    one, other = torch.fft.rfft2((small - small.mean(dim=(1, 2), keepdim=True)) * window)
    cross = other * one.conj()
    peaks = torch.fft.irfft2(cross / cross.abs().clamp_min(1e-12), s=(height, width))
    down, right = divmod(int(peaks.argmax()), width)
    down, right = (at - side if at > side // 2 else at for at, side in ((down, height), (right, width)))
    found = (factor * right, factor * down)
    flows = (base.new_tensor(shift).view(2, 1, 1).expand(2, *base.shape[1:]) for shift in (found, (0, 0)))
    moved, still = (agreement(base, frame, flow) for flow in flows)
    return found if moved > still else (0, 0)


def agreement(base: Tensor, frame: Tensor, flow: Tensor) -> float:
    """Correlation of a base (4, h, w) and a frame that is read along a flow (2, h, w), -1 to 1; 0 if they do not overlap."""
    seen = torch.stack([base, frame]).clamp_min(0).sqrt().mean(dim=1, keepdim=True)
    read, inside = warp(seen[1:], flow[None])
    side = min(_JUDGED_AT, *base.shape[1:])
    one, other, weight = (F.avg_pool2d(image, side) for image in (seen[:1] * inside, read, inside))
    is_whole = weight > 0.999
    pair = torch.stack([one[is_whole], other[is_whole]]).double()
    if pair.shape[1] < 2:
        return 0.0
    pair -= pair.mean(dim=1, keepdim=True)
    power = pair.square().sum(dim=1)
    if float(power.min()) < 1e-9:  # nothing to see in one of them: flat images agree if both are
        return float(power.max() < 1e-9)
    return float((pair[0] * pair[1]).sum() / power.prod().sqrt())


def restore_burst(
    net: BurstNetwork, burst: AlignedBurst, colours: Colours, tile: int = DEFAULT_TILE, deep: bool = False
) -> NDArray[Any]:
    """Make one image of a burst.

    Args:
        net: In evaluation mode, on the device of the frames.
        burst: What :func:`align` found.
        colours: Of the base, from linear camera RGB to sRGB.
        tile: Side of the parts in packed pixels, at least :data:`SMALLEST_TILE`.
        deep: 16 bits per channel instead of 8.

    Returns:
        sRGB, (scale * h, scale * w, 3).

    Raises:
        OptionError: A tile that is too small, or values that are not finite.
    """
    if tile < SMALLEST_TILE:
        raise OptionError(f"tile: expected {SMALLEST_TILE} packed pixels or more, got {tile}.")
    height, width = burst.frames.shape[2:]
    canvas = np.empty((net.scale * height, net.scale * width, 3), dtype=np.uint16 if deep else np.uint8)
    on_device = Colours(colours.matrix.to(burst.frames.device), colours.gains.to(burst.frames.device))

    def compute(row: Span, column: Span) -> NDArray[np.float32]:
        with torch.inference_mode():
            linear = net(*_part(burst, row, column))
            if not bool(linear.isfinite().all()):
                raise OptionError("the network's output is not finite: its weights, or the frames, are damaged.")
            return np.ascontiguousarray(on_device.to_srgb(linear)[0].permute(1, 2, 0).cpu().numpy())

    join_tiles(canvas, spans(height, tile, _GRID), spans(width, tile, _GRID), net.scale, compute)
    return canvas


def _part(burst: AlignedBurst, row: Span, column: Span) -> tuple[Tensor, Tensor]:
    """A tile's frames and flow, (1, T, 4, h, w) and (1, T - 1, 2, h, w): each frame is cut where its flow leads on average."""
    whole = burst.frames.shape[2:]
    rows, columns = slice(row.start, row.stop), slice(column.start, column.stop)
    parts, flows = [burst.frames[0, :, rows, columns]], []
    for frame, flow in zip(burst.frames[1:], burst.flow[:, :, rows, columns], strict=True):
        way = [round(value) for value in flow.mean(dim=(1, 2)).tolist()]
        is_far = (
            max(map(abs, way)) > _LARGE_SHIFT
        )  # the margin of tiles takes less; the network sees the flow as it is then
        right, down = (
            # Within the frame: what lies outside of it is no part of it, as for the whole image.
            min(max(by, -span.start), side - span.stop) if is_far else 0
            for by, span, side in zip(way, (column, row), (whole[1], whole[0]), strict=True)
        )
        parts.append(frame[:, row.start + down : row.stop + down, column.start + right : column.stop + right])
        flows.append(flow - flow.new_tensor([right, down]).view(2, 1, 1))
    empty = burst.flow.new_zeros(0, 2, *parts[0].shape[1:])
    return torch.stack(parts)[None], torch.cat([empty, *(flow[None] for flow in flows)])[None]


def plain_enlargement(base: Tensor, colours: Colours, scale: int, deep: bool = False) -> NDArray[Any]:
    """The base (4, h, w) alone, without a network: half its size in RGB, in sRGB, enlarged by bicubic interpolation.

    It lies where the networks that :mod:`lightbsr_model.degradation.burst` trains put the image: a sensor pixel j at 4 j.
    """
    small = colours.to_srgb(colours_of_packed(base)[None].cpu().float())[0].permute(1, 2, 0).numpy()
    most, kind = (65535, np.uint16) if deep else (255, np.uint8)
    pixels = np.rint(small * most).astype(kind)
    height, width = (scale * side for side in small.shape[:2])
    # The middle of a packed pixel's two sensor pixels.
    first = scale / 4
    back = np.array([[1 / scale, 0, -first / scale], [0, 1 / scale, -first / scale]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(pixels, back, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
