"""Write the results of a comparison: tables, figures of every image, plots, crops, and the page that contains all of it."""

from __future__ import annotations

import platform
from pathlib import Path

import cv2
import torch

from lightbsr_arch import __version__
from lightbsr_arch.saving import inside, write_whole
from lightbsr_model.evaluation.comparison.page import Page
from lightbsr_model.evaluation.comparison.pictures import crop_pictures, scatter
from lightbsr_model.evaluation.comparison.running import Results
from lightbsr_model.evaluation.comparison.tables import (
    difference_table,
    image_csv,
    image_table,
    preset_table,
    to_csv,
    to_latex,
    to_markdown,
)


def write_report(results: Results, folder: Path, device: torch.device) -> list[Path]:
    """Write the report of a comparison.

    Args:
        results: The results.
        folder: Folder of the comparison, which contains its images.
        device: Device of the measurements.

    Returns:
        The files, the page first.
    """
    settings = results.settings
    page = Page(f"{settings.name}, x{settings.scale}")
    files = {"images.csv": image_csv(results).encode()}
    for preset in settings.presets:
        page.section(preset)
        tables = [preset_table(results, preset)]
        if len(settings.models) > 1:
            tables.append(difference_table(results, preset))
        for table, name in zip(tables, (f"table_{preset}", f"differences_{preset}"), strict=False):
            page.table(table)
            files[f"{name}.md"] = to_markdown(table).encode()
            files[f"{name}.csv"] = to_csv(table).encode()
            files[f"{name}.tex"] = to_latex(table).encode()
        page.details(f"{preset}, every image", image_table(results, preset))
        plot = scatter(results, preset)
        if plot is not None:
            page.picture(plot, f"{preset}: quality against costs")
            files[f"scatter_{preset}.png"] = plot
    crops = crop_pictures(results, folder)
    if crops:
        page.section("Crops")
    for crop in crops:
        content = cv2.imencode(".png", crop.image[:, :, ::-1])[1].tobytes()
        page.picture(content, crop.title, "crop")
        files[f"crops/{crop.name}.png"] = content
    page.section("How it was measured")
    for words in _method(results, device):
        page.text(words)
    files = {"index.html": page.render().encode(), **files}
    paths = {inside(folder, name): content for name, content in files.items()}
    for path, content in paths.items():
        write_whole(path, content)
    return list(paths)


def _method(results: Results, device: torch.device) -> list[str]:
    settings = results.settings
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return [
        f"LR images: HR images cropped to a multiple of {settings.scale}, degraded by each preset, border {settings.border}, "
        f"seed {settings.seed}. All methods restored the same LR images: the SHA-256 of each is in images.csv.",
        f"Device: {device.type}, {name}; {platform.platform()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"lightbsr {__version__}.",
        "Networks: "
        + "; ".join(f"{entry.name}: {entry.path or entry.results or 'no weights'}" for entry in settings.models),
    ]
