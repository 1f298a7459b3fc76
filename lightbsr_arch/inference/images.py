"""Images as users hold them (numpy, PIL, tensors), taken apart into colour and alpha, and put together again."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightbsr_arch.errors import ImageError
from lightbsr_arch.inference.colour_profiles import belonging
from lightbsr_arch.inference.tiles import Canvas

ORIENTATION = 0x0112
"""EXIF's tag."""

_ROWS = 256
"""Rows that are converted at a time."""


@dataclass(frozen=True)
class Planes:
    """An image's colour and alpha, apart."""

    colour: Canvas
    """(H, W, 3); of a grey image the same values three times, not copied."""
    alpha: Canvas | None
    """(H, W, 1), or None."""
    grey: bool
    """Whether there is one value a pixel instead of three."""
    flat: bool = False
    """Whether a grey image came without an axis of channels."""

    def join(self, colour: Canvas, alpha: Canvas | None) -> Canvas:
        """Colour (H', W', 3) and alpha (H', W', 1) as an image of the kind that this was made of."""
        if self.grey:
            colour = _mean(colour)
        if alpha is not None:
            return np.concatenate([colour, alpha], axis=2)
        return colour[:, :, 0] if self.flat else colour


def _mean(colour: Canvas) -> Canvas:
    grey = np.empty((*colour.shape[:2], 1), dtype=colour.dtype)
    for top in range(0, len(colour), _ROWS):
        mean = colour[top : top + _ROWS].mean(axis=2, keepdims=True, dtype=np.float32)
        grey[top : top + _ROWS] = mean if colour.dtype == np.float32 else np.rint(mean)
    return grey


def take_apart(image: NDArray[Any]) -> Planes:
    """Check an array and take it apart.

    Args:
        image: (H, W) or (H, W, channels) with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels: uint8,
            uint16, or floats in [0, 1].

    Raises:
        ImageError: Anything else, NaN, infinity and values out of range among it.
    """
    if image.ndim not in (2, 3) or 0 in image.shape or (image.ndim == 3 and image.shape[2] > 4):
        raise ImageError(
            f"expected an image (H, W), (H, W, 3) or (H, W, 4) with at least one pixel, got an array {image.shape}."
        )
    if image.dtype in (np.uint8, np.uint16):
        pixels = image
    elif np.issubdtype(image.dtype, np.floating):
        low, high = float(image.min()), float(image.max())
        if not np.isfinite([low, high]).all():
            raise ImageError("the image holds NaN or infinity: there is nothing to restore there.")
        if low < -1e-3 or high > 1 + 1e-3:
            raise ImageError(f"expected floats in [0, 1], got {low:.6g} to {high:.6g}: scale them first.")
        pixels = image.astype(np.float32, copy=False)
    else:
        raise ImageError(f"expected uint8, uint16 or floats in [0, 1], got {image.dtype}.")
    flat = pixels.ndim == 2
    pixels = pixels[:, :, None] if flat else pixels
    channels = pixels.shape[2]
    colour: Any = pixels[:, :, : channels - (channels in (2, 4))]
    grey = channels < 3
    if grey:
        colour = np.broadcast_to(colour, (*colour.shape[:2], 3))
    return Planes(colour, pixels[:, :, channels - 1 :] if channels in (2, 4) else None, grey, flat)


def from_pil(image: Any) -> NDArray[Any]:
    """A PIL image of any mode as an array that :func:`take_apart` takes.

    Palettes, CMYK and other colour spaces become RGB, a transparent colour becomes alpha, two-valued images become grey.

    Raises:
        ImageError: Integers that do not fit into 16 bits.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(f"expected integers up to 65535, got {values.min()} to {values.max()}.")
        transparent = image.info.get("transparency")
        deep = values.astype(np.uint16)
        return deep if transparent is None else with_transparent(deep, transparent)
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        return np.asarray(image.convert("LA" if grey else "RGBA"))
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    return np.asarray(image if image.mode == "F" else image.convert("RGB"))


def with_transparent(pixels: NDArray[Any], value: int | tuple[int, ...]) -> NDArray[np.uint16]:
    """Grey (H, W) or RGB (H, W, 3) of 16 bits with alpha: 0 where a pixel has the value that stands for transparent."""
    planes = pixels.reshape(*pixels.shape[:2], -1)
    alpha = np.where((planes == np.asarray(value)).all(axis=2, keepdims=True), 0, 65535)
    return np.concatenate([planes, alpha.astype(np.uint16)], axis=2)


def exif_of(image: Any) -> Any:
    """A PIL image's EXIF data; none where they are damaged."""
    from PIL.Image import Exif

    try:
        return image.getexif()
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return Exif()


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn by EXIF's number: 1 to 4 are not turned by a quarter, even and odd ones are mirrored or not."""
    turned = np.rot90(pixels, {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}.get(orientation, 0))
    return turned[:, ::-1] if orientation in (2, 4, 5, 7) else turned


def to_array(image: Any) -> NDArray[Any]:
    """An image of any kind as an array (H, W) or (H, W, channels), on the CPU.

    Args:
        image: A numpy array; a PIL image, which is turned upright by its EXIF orientation; or a tensor (channels, H, W),
            uint8 or floating point.

    Raises:
        ImageError: No such thing.
    """
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, torch.Tensor):
        if image.dim() != 3 or not (image.is_floating_point() or image.dtype == torch.uint8):
            raise ImageError(
                f"expected a tensor (3, H, W) or (N, 3, H, W), uint8 or floats in [0, 1], got {tuple(image.shape)} of "
                f"{image.dtype}."
            )
        values = image.detach().cpu()
        return (values.float() if values.is_floating_point() else values).permute(1, 2, 0).numpy()
    pil = sys.modules.get("PIL.Image")
    if pil is None or not isinstance(image, pil.Image):
        raise ImageError(f"expected a numpy array, a PIL image or a tensor, got {type(image).__name__}.")
    image.load()  # Pillow turns TIFFs while it loads them
    return upright(from_pil(image), exif_of(image).get(ORIENTATION, 1))


def like(image: Any, array: NDArray[Any]) -> Any:
    """An array as the kind of image that another one is; a PIL image gets its ICC profile."""
    if isinstance(image, np.ndarray):
        return array
    if isinstance(image, torch.Tensor):
        return torch.from_numpy(array).permute(2, 0, 1).contiguous().to(image.device, image.dtype)
    from PIL import Image

    result = Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)
    profile, _ = belonging(image.info.get("icc_profile"), result.mode in ("L", "LA", "I;16"))
    if profile is not None:
        result.info["icc_profile"] = profile
    return result
