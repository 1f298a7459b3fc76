"""Enlarge a picture with an exported ONNX model, without torch: needs numpy, pillow and onnxruntime.

lightbsr export lightbsr_small_x4 -o model.onnx
python onnx_upscale.py model.onnx photo.jpg big.png
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

TILE, OVERLAP = 256, 32
"""A tile's side, and what it shares with the next one, in pixels of the picture."""


def upscale(session: onnxruntime.InferenceSession, pixels: np.ndarray) -> np.ndarray:
    """From (H, W, 3) to (scale * H, scale * W, 3), uint8, tile by tile.

    Each tile is restored by what the network sees in it alone; ``lightbsr infer`` looks at the whole picture first.
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
            # Of what two tiles share, each gives the half that is nearer to its middle.
            above, before = (OVERLAP // 2 * (start > 0) for start in (top, left))
            target = result[
                (top + above) * scale : (top + TILE) * scale, (left + before) * scale : (left + TILE) * scale
            ]
            target[...] = sr[above * scale :, before * scale :]
    return result


if __name__ == "__main__":
    model, source, target = sys.argv[1:]
    image = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
    session = onnxruntime.InferenceSession(model, providers=onnxruntime.get_available_providers())
    Image.fromarray(upscale(session, np.asarray(image))).save(target)
