"""JPEG compression: by BasicSR's DiffJPEG on the device for training, by a real encoder for test images.

DiffJPEG has its luma quantisation table transposed (``basicsr/utils/diffjpeg.py:21``): a real encoder quantises horizontal
frequencies by what it takes for vertical ones. Here the table is turned back, which brings the result 2 to 11 dB closer to
Pillow's at qualities up to 75. What differs still is that DiffJPEG does not round its tables, and repeats chroma pixels where
decoders smooth them: 35.4 dB or more between the two on LR photographs at qualities of 10 to 100, 41.5 dB or more on grey ones
(``tests/model/degradation/test_jpeg.py``).
"""

from __future__ import annotations

import copy
import io
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 16
"""Side of a block of chroma, subsampled 2 x 2, in pixels."""

_LEAST_FACTOR = 0.01
"""Of the quantisation tables: that of quality 99.5. At 100 it would be 0, and DiffJPEG divides by it."""


def compress_jpeg(images: Tensor, quality: Tensor, differentiable: bool = False) -> Tensor:
    """Compress and decompress images on their device (BasicSR's DiffJPEG, 4:2:0).

    Sizes that are no multiple of 16 are continued by the edge pixel for it, as encoders do. Nothing waits for the device.

    Args:
        images: (N, 3, H, W), RGB in 0..255.
        quality: (N,), 1 to 100; 0 leaves an image as it is.
        differentiable: Round so that gradients reach the images, at a small error; else they are 0 everywhere.

    Returns:
        (N, 3, H, W) in 0..255, not rounded, of the images' dtype.
    """
    height, width = images.shape[-2:]
    codec = _diff_jpeg(images.device, differentiable)
    rgb = F.pad(images.float() / 255, (0, -width % _BLOCK, 0, -height % _BLOCK), mode="replicate")
    # DiffJPEG's own forward would read each quality, and write to it.
    factor = _table_factor(quality.to(rgb))
    y, cb, cr = codec.compress(rgb, factor=factor)
    decoded = codec.decompress(y, cb, cr, *rgb.shape[-2:], factor=factor)[..., :height, :width] * 255
    return torch.where(quality.view(-1, 1, 1, 1) > 0, decoded.to(images.dtype), images)


def encode_and_decode_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress and decompress an image by Pillow's encoder (libjpeg, 4:2:0), as a JPEG file would have it.

    Args:
        image: (H, W, 3), RGB.
        quality: 1 to 100.

    Returns:
        (H, W, 3), RGB.
    """
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file) as decoded:
        return np.array(decoded)


def _table_factor(quality: Tensor) -> Tensor:
    """What libjpeg multiplies its quantisation tables by."""
    quality = quality.clamp_min(1)
    return (torch.where(quality < 50, 50 / quality, 2 - quality / 50)).clamp_min(_LEAST_FACTOR)


@lru_cache(maxsize=8)
def _diff_jpeg(device: torch.device, differentiable: bool) -> Any:
    from basicsr.utils.diffjpeg import DiffJPEG

    with torch.inference_mode(False):  # kept for callers that need gradients too
        # Its tables are parameters that all DiffJPEGs of a process share: this one gets its own, to move and to correct.
        codec = copy.deepcopy(DiffJPEG(differentiable))
        luma_table = torch.nn.Parameter(codec.compress.y_quantize.y_table.detach().T.contiguous())
        codec.compress.y_quantize.y_table = codec.decompress.y_dequantize.y_table = luma_table
        return codec.requires_grad_(False).to(device)
