"""The report of an adaptation, as one page that needs no other file."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightbsr_arch.inference.png_writing import write_png
from lightbsr_arch.inference.side_by_side import Panel, side_by_side
from lightbsr_model.adaptation.adapting import Outcome
from lightbsr_model.adaptation.guard import LEAST_GAIN, MOST_CHANGE
from lightbsr_model.data.decoding import to_rgb
from lightbsr_model.evaluation.comparison.page import Page
from lightbsr_model.evaluation.comparison.pictures import where_they_differ
from lightbsr_model.evaluation.comparison.tables import Cell, Table

_CROP = 160
"""Side of a crop, in pixels of the result."""


def adaptation_page(outcome: Outcome, facts: Mapping[str, str], noise: float) -> str:
    """Make the page.

    Args:
        outcome: Of the adaptation.
        facts: What it was made of, by name: the model, the images, the method.
        noise: The strongest noise that was estimated, in grey levels.
    """
    page = Page("An adapted model")
    page.text(outcome.verdict.reason)
    page.section("What was adapted")
    page.table(Table("", ("",), tuple((name, (Cell(value),)) for name, value in facts.items()), ()))
    page.section("What the guard looked at")
    page.table(_figures(outcome, noise))
    page.section("On the way")
    page.table(_record(outcome))
    page.section("Before and after")
    for name, lq, before, after in outcome.shown:
        page.picture(_crops(lq, before, after), f"{name}: where the two differ most", "crop")
    return page.render()


def _figures(outcome: Outcome, noise: float) -> Table:
    before, after = outcome.before, outcome.after
    rows = [
        (f"PSNR-Y on held-out images, degraded by {name} (dB)", value, after.psnr[name], f"at least {LEAST_GAIN:+.2f}")
        for name, value in before.psnr.items()
    ]
    rows.append(("Mean change of restored images (grey levels)", 0.0, after.change, f"at most {MOST_CHANGE:.0f}"))
    if before.niqe is not None and after.niqe is not None:
        rows.append(("NIQE of restored images, lower is better", before.niqe, after.niqe, "at most 10 % more"))
    limit = f"at most {max(3 * noise + 3, before.residual):.1f}"
    rows.append(
        ("Restored images degraded again, from the given ones (grey levels)", before.residual, after.residual, limit)
    )
    cells = tuple(
        (name, (_number(first), _number(last), _number(last - first, "+.2f"), Cell(allowed)))
        for name, first, last, allowed in rows
    )
    notes = (f"The weights are those after {outcome.iteration} steps, which gained most on the held-out images.",)
    return Table("", ("Before", "After", "Difference", "Allowed"), cells, notes)


def _record(outcome: Outcome) -> Table:
    if not outcome.record:
        return Table("Step", (), (), ())
    losses, gains = (tuple(outcome.record[0][key]) for key in ("losses", "gains"))
    rows = tuple(
        (
            str(entry["iteration"]),
            (
                *(_number(entry["losses"][name], ".5f") for name in losses),
                *(_number(entry["gains"][name], "+.3f") for name in gains),
            ),
        )
        for entry in outcome.record
    )
    return Table("Step", (*losses, *(f"gain by {name} (dB)" for name in gains)), rows, ())


def _number(value: float, form: str = ".2f") -> Cell:
    return Cell(format(value, form), value)


def _crops(lq: Tensor, before: Tensor, after: Tensor) -> bytes:
    scale = before.shape[1] // lq.shape[1]
    large = to_rgb(lq.cpu()).repeat(scale, axis=0).repeat(scale, axis=1)
    versions = [to_rgb(image.cpu()) for image in (before, after)]
    box, _ = where_they_differ(versions, _CROP)
    titles = ("LR image", "before", "after")
    panels = [Panel(image, title) for image, title in zip((large, *versions), titles, strict=True)]
    return _png(side_by_side(panels, zoom=2, box=box))


def _png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    write_png(file, image)
    return file.getvalue()
