"""Bicubic interpolation and the result beside each other: as an image, and as a page with a slider."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightbsr_arch.inference.images import take_apart
from lightbsr_arch.inference.png_writing import write_png
from lightbsr_arch.inference.resizing import enlarge
from lightbsr_arch.inference.side_by_side import Panel, side_by_side
from lightbsr_arch.saving import write_whole

_LARGEST = 2048
"""Side of what is shown, in pixels of the result; of larger results the middle is."""

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""What the row of strengths shows."""

SHOWN_SIDE = 256
"""Side of each image in that row, in pixels of the result."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ margin: 0; background: #222; color: #eee; font: 15px system-ui, sans-serif; text-align: center; }}
figure {{ position: relative; display: inline-block; margin: 0; line-height: 0; max-width: 100%; }}
img {{ max-width: 100%; height: auto; image-rendering: auto; }}
.over {{ position: absolute; inset: 0; clip-path: inset(0 calc(100% - var(--at)) 0 0); }}
.line {{ position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; background: #fff; pointer-events: none; }}
.row figure {{ line-height: 1.6; margin: 4px; }}
input {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }}
</style></head><body>
<p>{title}: left of the line bicubic interpolation, right of it the result{note}.</p>
<figure style="--at: 50%"><img alt="result" src="data:image/png;base64,{result}">
<img class="over" alt="bicubic interpolation" src="data:image/png;base64,{bicubic}"><span class="line"></span>
<input type="range" min="0" max="100" step="0.1" value="50" aria-label="where the line is"
oninput="this.parentNode.style.setProperty('--at', this.value + '%')"></figure>
{row}</body></html>
"""

_ROW = """<p>The middle of it at other strengths: 1 is as the network sees the image, 0 as if it were a clean one.</p>
<div class="row">{figures}</div>
"""

_FIGURE = """<figure><img alt="{title}" src="data:image/png;base64,{image}"><figcaption>{title}</figcaption></figure>"""


def write_comparison(
    picture: Path,
    page: Path,
    title: str,
    lq: NDArray[np.generic],
    sr: NDArray[np.generic],
    strengths: Sequence[Panel] = (),
) -> None:
    """Write both.

    Args:
        picture: A ``.png``: both side by side, pixel by pixel.
        page: A ``.html`` that needs no other file.
        title: Of the page.
        lq: The input as the network saw it, as ``take_apart`` takes it.
        sr: The result, larger by an integer factor.
        strengths: Shown in a row on the page.
    """
    scale = sr.shape[0] // lq.shape[0]
    height, width = (min(side, _LARGEST // scale) for side in lq.shape[:2])
    top, left = (lq.shape[0] - height) // 2, (lq.shape[1] - width) // 2
    part = np.ascontiguousarray(take_apart(lq[top : top + height, left : left + width]).colour)
    bicubic = eight_bits(enlarge(part, scale))
    rows, columns = (slice(start * scale, (start + side) * scale) for start, side in ((top, height), (left, width)))
    result = eight_bits(take_apart(sr[rows, columns]).colour)
    panels = [Panel(bicubic, "bicubic"), Panel(result, "LightBSR")]
    shown = max(result.shape[:2])
    write_whole(picture, _png(side_by_side(panels, crop=shown, zoom=1)))
    note = "" if (height, width) == lq.shape[:2] else f" (the middle {result.shape[1]}x{result.shape[0]} pixels)"
    figures = "\n".join(_FIGURE.format(title=panel.title, image=_encoded(panel.image)) for panel in strengths)
    row = _ROW.format(figures=figures) if strengths else ""
    encoded = {"bicubic": _encoded(bicubic), "result": _encoded(result)}
    write_whole(page, _PAGE.format(title=html.escape(title), note=note, row=row, **encoded))


def eight_bits(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """An image of any type, as :func:`take_apart` gives colours, in 0..255."""
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image).astype(np.uint8, copy=False)
    largest = 1 if image.dtype == np.float32 else 65535
    return np.rint(image.astype(np.float32) * (255 / largest)).astype(np.uint8)


def _encoded(image: NDArray[np.uint8]) -> str:
    return base64.b64encode(_png(image)).decode("ascii")


def _png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    write_png(file, image)
    return file.getvalue()
