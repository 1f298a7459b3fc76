"""The figures of a comparison: crops where the methods differ most, and plots of quality against cost."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lightbsr_arch.inference.side_by_side import Box, Panel, side_by_side
from lightbsr_model.data.decoding import RGBImage, decode_rgb
from lightbsr_model.data.degrading import lr_image
from lightbsr_model.evaluation import plotting
from lightbsr_model.evaluation.comparison.metrics import get_metric
from lightbsr_model.evaluation.comparison.running import Results, Store, gt_image, open_set

_ZOOM = 2
_COLUMNS = 7
_MARKERS = "osD^vP*X<>p"


@dataclass(frozen=True)
class CropPicture:
    """One row of crops."""

    title: str
    """Set, image, preset and position."""
    name: str
    """File name, without extension."""
    image: RGBImage


def where_they_differ(images: Sequence[RGBImage], size: int) -> tuple[Box, float]:
    """Find the square where several versions of one image differ most.

    Args:
        images: (H, W, 3), 0..255, of equal size.
        size: Side of the square; less if the image is smaller.

    Returns:
        The square, and the mean variance between the versions in it.
    """
    stack = np.stack([image.astype(np.float32).mean(axis=2) for image in images])
    variance = stack.var(axis=0)
    height, width = (min(size, side) for side in variance.shape)
    # Sums over all squares, from one summed-area table.
    sums = cv2.integral(variance.astype(np.float64))
    squares = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(squares.argmax()), squares.shape)
    return Box(int(left), int(top), width, height), float(squares.max() / (height * width))


def crop_pictures(results: Results, folder: Path) -> list[CropPicture]:
    """Requested crops, and for each set and preset those where the methods differ most."""
    settings, store = results.settings, Store(folder)
    pictures = []
    for set_name in settings.sets:
        for preset in settings.presets:
            found: list[tuple[float, str, Box]] = []
            for image in (each.image for each in results.scored if _is_first(results, each, set_name, preset)):
                versions = _versions(results, store, set_name, preset, image)
                box, difference = where_they_differ(list(versions.values()), settings.crop_size)
                found.append((difference, image, box))
            chosen = [(image, box) for _, image, box in sorted(found, key=lambda each: -each[0])[: settings.crops]]
            asked = [
                (box.image, Box(*box.box)) for box in settings.boxes if (box.set, box.preset) == (set_name, preset)
            ]
            pictures += [_picture(results, store, set_name, preset, image, box) for image, box in [*asked, *chosen]]
    return pictures


def _is_first(results: Results, each: Any, set_name: str, preset: str) -> bool:
    return (each.model, each.set, each.preset) == (results.settings.models[0].name, set_name, preset)


def _versions(results: Results, store: Store, set_name: str, preset: str, image: str) -> dict[str, RGBImage]:
    place = {"set": set_name, "preset": preset, "image": image}
    paths = {entry.name: store.image_path(entry.name, place) for entry in results.settings.models}
    return {name: decode_rgb(path.read_bytes(), str(path))[0] for name, path in paths.items()}


def _picture(results: Results, store: Store, set_name: str, preset: str, image: str, box: Box) -> CropPicture:
    settings = results.settings
    dataset = open_set(settings, set_name, preset)
    index = [dataset.images.stem(number) for number in range(len(dataset))].index(image)
    sample = dataset[index]
    gt = gt_image(sample)
    lr = lr_image(sample).repeat(settings.scale, axis=0).repeat(settings.scale, axis=1)
    panels = [Panel(lr, "LR")]
    figures = {
        each.model: each.figures
        for each in results.scored
        if (each.set, each.preset, each.image) == (set_name, preset, image)
    }
    for name, version in _versions(results, store, set_name, preset, image).items():
        panels.append(Panel(version, name, _caption(settings.metrics[:2], figures[name])))
    panels.append(Panel(gt, "GT"))
    title = f"{set_name}, {image}, {preset}, {box.width}x{box.height} at ({box.left}, {box.top})"
    name = "_".join((set_name, preset, image, str(box.left), str(box.top)))
    return CropPicture(title, name, side_by_side(panels, zoom=_ZOOM, box=box, columns=_COLUMNS))


def _caption(metrics: Sequence[str], figures: Mapping[str, float]) -> str:
    texts = []
    for metric in metrics:
        described = get_metric(metric)
        texts.append(f"{figures[metric]:.{described.decimals}f}{' ' + described.unit if described.unit else ''}")
    return " / ".join(texts)


def scatter(results: Results, preset: str) -> bytes | None:
    """Plot the first metric against parameters and GMACs, one row of two plots per set, as PNG.

    Returns:
        The file; None if costs were not measured.

    Raises:
        OptionError: matplotlib is not installed.
    """
    if not results.costs:
        return None
    pyplot = plotting.pyplot()
    settings = results.settings
    described = get_metric(settings.metrics[0])
    rows = len(settings.sets)
    figure, grid = pyplot.subplots(rows, 2, figsize=(11, 3.6 * rows), squeeze=False, layout="constrained")
    for row, set_name in enumerate(settings.sets):
        values = results.values(set_name, preset, settings.metrics[0])
        for column, (label, cost_of) in enumerate(
            (("Parameters (M)", lambda cost: cost.parameters / 1e6), ("GMACs", lambda cost: cost.gmacs))
        ):
            axes = grid[row][column]
            for number, (name, cost) in enumerate(results.costs.items()):
                marker = _MARKERS[number % len(_MARKERS)]
                axes.scatter(
                    cost_of(cost), float(np.mean(values[name])), s=55, marker=marker, label=plotting.plain_label(name)
                )
            axes.set_xlabel(label)
            axes.set_ylabel(f"{described.label}{f' ({described.unit})' if described.unit else ''}")
            axes.set_title(f"{set_name}, {preset}", fontsize=10)
            axes.margins(x=0.2, y=0.15)
            axes.grid(alpha=0.3)
        # Names next to the points would overlap where methods are close.
        grid[row][1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    pyplot.close(figure)
    return file.getvalue()
