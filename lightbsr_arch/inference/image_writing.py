"""Write images so that they appear whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightbsr_arch.errors import ImageError
from lightbsr_arch.inference.colour_profiles import colour_space
from lightbsr_arch.inference.png_writing import write_png
from lightbsr_arch.saving import new_file


@dataclass(frozen=True)
class Format:
    """What a file format can hold."""

    deep: bool
    """16 bits a channel."""
    alpha: bool
    profile: bool
    side: int
    """Largest width and height."""
    grey: bool = True
    """One channel; else grey becomes RGB."""
    exif: int = 0
    """Bytes of EXIF data at most."""
    resolution: int = 0
    """Pixels per inch at most; 0 where it holds none."""


_PNG = Format(deep=True, alpha=True, profile=True, side=2**31 - 1, exif=2**31 - 1, resolution=10**7)
# EXIF data in a JPEG is one segment, whose length is written in 16 bits.
_JPEG = Format(deep=False, alpha=False, profile=True, side=65500, exif=2**16 - 3, resolution=2**16 - 1)
_TIFF = Format(deep=True, alpha=True, profile=True, side=2**31 - 1, resolution=10**7)
FORMATS = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format(deep=False, alpha=True, profile=True, side=16383, grey=False, exif=2**31 - 1),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format(deep=False, alpha=False, profile=False, side=2**15 - 1, resolution=10**7),
}
"""What can be written, by extension."""


def check_fit(extension: str, width: int, height: int, alpha: bool) -> None:
    """Refuse an image that a format cannot hold, before it is computed.

    Raises:
        ImageError: Too large, or with an alpha that would be lost.
    """
    holds = FORMATS[extension]
    if max(width, height) > holds.side:
        raise ImageError(
            f"the result of {width}x{height} is larger than {extension} holds ({holds.side} a side): take --ext png."
        )
    if alpha and not holds.alpha:
        raise ImageError(f"its alpha channel would be lost in {extension}: take --ext png.")


def write_picture(
    path: Path,
    pixels: NDArray[Any],
    profile: bytes | None = None,
    exif: bytes | None = None,
    quality: int = 95,
    overwrite: bool = False,
    resolution: tuple[float, float] | None = None,
    lossless: bool = False,
) -> list[str]:
    """Write an image in the format that its extension names.

    Args:
        path: Its folder is made.
        pixels: (H, W) or (H, W, channels): grey, grey and alpha, RGB, or RGB and alpha; uint8, uint16, or floats in
            [0, 1], which are written with 16 bits.
        profile: An ICC profile.
        exif: EXIF data.
        quality: Of JPEG and WebP, 1 to 100.
        overwrite: Replace a file of that name.
        resolution: Pixels per inch, horizontally and vertically.
        lossless: Write a WebP without loss, whatever the quality.

    Returns:
        Notes on what the format does not hold.

    Raises:
        FileExistsError: There is a file of that name.
        WriteFailed: It cannot be written.
    """
    extension = path.suffix.lower()
    holds = FORMATS[extension]
    notes = []
    if pixels.dtype == np.float32:
        pixels = np.rint(pixels * 65535).astype(np.uint16)
    if pixels.dtype == np.uint16 and not holds.deep:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        notes.append(f"8 bits a channel are all that {extension} holds")
    kept, left_out = _held(extension, pixels, profile, exif, resolution)
    notes += left_out
    with new_file(path) as file:
        if extension == ".png":
            write_png(file, pixels, kept.profile, kept.exif, kept.resolution)
        elif extension in (".tif", ".tiff"):
            _write_tiff(file, pixels, kept)
        else:
            options: dict[str, Any] = {}
            if kept.profile is not None:
                options["icc_profile"] = kept.profile
            if kept.exif is not None:
                options["exif"] = kept.exif
            if kept.resolution is not None:
                options["dpi"] = tuple(max(round(value), 1) for value in kept.resolution)
            if extension != ".bmp":
                options["quality"] = quality
            if lossless and extension == ".webp":
                options |= {"lossless": True, "exact": True}  # colours of transparent pixels too
            if holds is _JPEG:
                options["subsampling"] = 0
            kind = Image.registered_extensions()[extension]
            Image.fromarray(_without_axis(pixels)).save(file, kind, **options)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} has appeared meanwhile, and was left as it is")
    return notes


def _without_axis(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


@dataclass(frozen=True)
class _Metadata:
    """What is written beside the pixels."""

    profile: bytes | None
    exif: bytes | None
    resolution: tuple[float, float] | None


def _held(
    extension: str,
    pixels: NDArray[Any],
    profile: bytes | None,
    exif: bytes | None,
    resolution: tuple[float, float] | None,
) -> tuple[_Metadata, list[str]]:
    """What of the metadata a format holds, and notes on the rest."""
    holds = FORMATS[extension]
    notes = []
    is_grey = pixels.ndim == 2 or pixels.shape[2] < 3
    if profile is not None and not holds.profile:
        notes.append(f"{extension} holds no colour profile")
        profile = None
    elif profile is not None and is_grey and not holds.grey and colour_space(profile) == "GRAY":
        notes.append(f"{extension} holds no grey: its grey colour profile was left out")
        profile = None
    if exif is not None and len(exif) > holds.exif:
        limit = f" more than {holds.exif} bytes of" if holds.exif else ""
        notes.append(f"{extension} holds no{limit} EXIF data: its {len(exif)} bytes were left out")
        exif = None
    if resolution is not None and max(resolution) > holds.resolution:
        notes.append(f"{extension} does not hold its resolution of {resolution[0]:.6g} dpi")
        resolution = None
    return _Metadata(profile, exif, resolution), notes


def _write_tiff(file: BinaryIO, pixels: NDArray[Any], kept: _Metadata) -> None:
    from tifffile import imwrite

    pixels = _without_axis(pixels)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    imwrite(
        file,
        pixels,
        photometric="minisblack" if channels < 3 else "rgb",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        iccprofile=kept.profile,
        resolution=kept.resolution,
        resolutionunit=None if kept.resolution is None else "inch",
        metadata=None,
    )
