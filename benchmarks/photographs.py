"""``python -m benchmarks.photographs``: what a photo model makes of photographs' degradations, and of clean images.

    python -m benchmarks.photographs --sets Set14=datasets/Set14 BSD=datasets/BSD -o OUT

Test sets under mild and real-world degradations, JPEG alone and bicubic downsampling alone, restored by the photo model, by the
small models, and by what needs no network: bicubic interpolation, and OpenCV's non-local means before it. PSNR-Y, SSIM-Y and
NIQE by ``lightbsr compare``, with its page. Questions:

(a) Is the photo model above all others under each degradation, in all three?
(b) Is it within 0.3 dB of the small model on clean images?

Run again, it continues where it stopped. ``--montage FOLDER`` restores a crop of each photograph of a folder instead, where it
has most detail, and puts bicubic interpolation, the small model and the photo model side by side in OUT/montage.jpg.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import lightbsr_model  # noqa: F401 - BasicSR does not import without it
from benchmarks.study.arguments import named_folder
from lightbsr_arch import Upscaler
from lightbsr_arch.inference.image_writing import write_picture
from lightbsr_arch.methods.bicubic import BicubicUpsampler
from lightbsr_arch.weights.model_files import bundled_model
from lightbsr_model.data.degrading import lr_image
from lightbsr_model.data.image_sources import open_all
from lightbsr_model.evaluation.comparison.report import write_report
from lightbsr_model.evaluation.comparison.running import run_comparison, samples
from lightbsr_model.evaluation.comparison.settings import Settings
from lightbsr_model.evaluation.comparison.tables import preset_table, to_markdown
from lightbsr_model.evaluation.model_entries import ModelEntry

CLEAN = "bicubic"
METRICS = ("psnr_y", "ssim_y", "niqe")
STRENGTHS = (3, 5, 10)
"""Of non-local means: OpenCV's `h` for brightness and colour; 3 is its default, larger is stronger."""
WINDOW, SEARCH = 7, 21
"""Sides of its windows, as OpenCV recommends."""
CROP, GAP = 64, 12
"""Of the montage: side of a crop in LR pixels, and space beside it."""


def denoised(pixels: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """An RGB image (H, W, 3) after OpenCV's non-local means."""
    image = np.ascontiguousarray(pixels[:, :, ::-1])
    return cv2.fastNlMeansDenoisingColored(image, None, strength, strength, WINDOW, SEARCH)[:, :, ::-1]


def write_denoised(settings: Settings, out: Path) -> None:
    """Write all LR images of a comparison, and denoise and enlarge them; what is there is left as it is."""
    bicubic = Upscaler(BicubicUpsampler(settings.scale), device="cpu")
    for set_name in settings.sets:
        for preset in settings.presets:
            for place, sample in samples(settings, set_name, preset):
                name, lq = f"{set_name}/{preset}/{place['image']}.png", lr_image(sample)
                if (out / "lr" / name).is_file():
                    continue
                for strength in STRENGTHS:
                    enlarged = bicubic.upscale(denoised(lq, strength))
                    write_picture(out / f"denoised_{strength}" / name, enlarged, overwrite=True)
                write_picture(out / "lr" / name, lq)


def settings_of(scale: int, sets: Mapping[str, str], model: str, others: list[str], out: Path) -> Settings:
    """The comparison."""
    entries = [ModelEntry("bicubic", network={"type": "BicubicUpsampler", "scale": scale})]
    entries += [
        ModelEntry(
            f"non-local means {strength}, bicubic",
            results=str(out / f"denoised_{strength}"),
            lr=str(out / "lr"),
        )
        for strength in STRENGTHS
    ]
    entries += [ModelEntry(Path(name).stem, path=str(bundled_model(name) or name)) for name in (*others, model)]
    presets = (f"photo_x{scale}", f"realworld_x{scale}", "jpeg_75", CLEAN)
    return Settings(
        "photographs", scale, sets, presets, tuple(entries), metrics=METRICS, cost=False, reference=Path(model).stem
    )


def most_detailed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The square crop of :data:`CROP` pixels a side with the largest gradients."""
    steep = np.abs(cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    sums = cv2.boxFilter(steep, -1, (CROP, CROP), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    height, width = (side - CROP + 1 for side in pixels.shape[:2])
    top, left = np.unravel_index(sums[:height, :width].argmax(), (height, width))
    return np.ascontiguousarray(pixels[top : top + CROP, left : left + CROP])


def montage(folder: str, scale: int, models: list[str], columns: int = 3) -> Image.Image:
    """Crops of photographs, each enlarged by bicubic interpolation and restored by models, side by side."""
    reader = open_all(folder)
    upscalers = [Upscaler(BicubicUpsampler(scale), device="cpu")]
    upscalers += [Upscaler.from_checkpoint(model, device="cpu") for model in models]
    rows = []
    for place in range(len(reader)):
        crop = most_detailed(reader.read(place))
        rows.append(np.hstack([upscaler.upscale(crop) for upscaler in upscalers]))
    height, width = (side + GAP for side in rows[0].shape[:2])
    lines = -(-len(rows) // columns)
    sheet = np.full((lines * height, columns * width, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + row.shape[0], left : left + row.shape[1]] = row
    return Image.fromarray(sheet)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photographs", description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--sets", nargs="+", metavar="NAME=FOLDER", help="test sets")
    what.add_argument("--montage", metavar="FOLDER", help="photographs to look at")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of all results")
    parser.add_argument("--scale", type=int, choices=(2, 4), default=4, help="default: %(default)s")
    parser.add_argument(
        "-m", "--model", help="the photo model: a file or a bundled one (default: lightbsr_photo_xSCALE)"
    )
    parser.add_argument(
        "--others", nargs="+", metavar="MODEL", help="what it is compared with (default: the small ones)"
    )
    args = parser.parse_args()
    model = args.model or f"lightbsr_photo_x{args.scale}"
    noise = ["lightbsr_small_noise_x4"] if args.scale == 4 else []
    others = args.others or [f"lightbsr_small_x{args.scale}", *noise]
    names = [Path(name).stem for name in (*others, model)]
    if len(set(names)) < len(names):
        parser.error(f"models are told apart by their names, and two of {', '.join(names)} are the same: rename a file")
    if args.montage:
        args.output.mkdir(parents=True, exist_ok=True)
        montage(args.montage, args.scale, [others[0], model]).save(args.output / "montage.jpg", quality=92)
        return
    settings = settings_of(args.scale, dict(map(named_folder, args.sets)), model, others, args.output)
    write_denoised(settings, args.output)
    results = run_comparison(settings, args.output, torch.device("cpu"))
    write_report(results, args.output, torch.device("cpu"))
    for preset in settings.presets:
        print(f"\n{preset}\n\n{to_markdown(preset_table(results, preset))}")


if __name__ == "__main__":
    main()
