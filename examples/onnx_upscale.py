"""Upscale an image with an exported ONNX model, without torch: needs numpy, pillow and onnxruntime.

lightbsr export lightbsr_small_x4 -o model.onnx
python onnx_upscale.py model.onnx photo.jpg big.png
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

TILE, OVERLAP = 256, 32
"""Side of a tile, and its overlap with the next one, in LR pixels."""

FAULTS = tuple(
    value
    for value in vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
    if isinstance(value, type) and issubclass(value, Exception)
)
"""The exceptions of onnxruntime, which have no common base class."""


def upscale(session: onnxruntime.InferenceSession, pixels: np.ndarray) -> np.ndarray:
    """Upscale (H, W, 3) to (scale * H, scale * W, 3), uint8, tile by tile.

    The degradation is estimated for each tile separately; ``lightbsr infer`` estimates it from the whole image.
    """
    height, width = pixels.shape[:2]
    rows, columns = (list(range(0, max(side - OVERLAP, 1), TILE - OVERLAP)) for side in (height, width))
    result = None
    for top in rows:
        for left in columns:
            tile = pixels[top : top + TILE, left : left + TILE]
            lq = tile.astype(np.float32).transpose(2, 0, 1)[None] / 255
            (sr,) = session.run(None, {"lq": lq})
            sr = np.rint(sr[0].transpose(1, 2, 0).clip(0, 1) * 255).astype(np.uint8)
            scale = sr.shape[0] // tile.shape[0]
            if result is None:
                result = np.empty((height * scale, width * scale, 3), np.uint8)
            # Of an overlap, each tile supplies the half that is nearer to its centre.
            above, before = (OVERLAP // 2 * (start > 0) for start in (top, left))
            target = result[
                (top + above) * scale : (top + TILE) * scale, (left + before) * scale : (left + TILE) * scale
            ]
            target[...] = sr[above * scale :, before * scale :]
    return result


def main(arguments: list[str]) -> int:
    """Return 0 if the result was written, 2 after an error in the input."""
    if len(arguments) != 3:
        print("usage: python onnx_upscale.py MODEL.onnx IMAGE RESULT", file=sys.stderr)
        return 2
    model, source, target = arguments
    what = model
    try:
        session = onnxruntime.InferenceSession(model, providers=onnxruntime.get_available_providers())
        what = source
        with Image.open(source) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        what = model
        result = upscale(session, pixels)
        what = target
        Image.fromarray(result).save(target)
    except (*FAULTS, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        print(f"onnx_upscale.py: {what}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
