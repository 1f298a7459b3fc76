"""Images per second from the training data set, against BasicSR's ``PairedImageDataset`` on the same files.

    python -m benchmarks.loading --images BSD400

Both return random LQ/GT crops, flipped and rotated, as float tensors. Images are tiled from the given ones: sub-images of
480 pixels, and large images of 2048x1404.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.file_client import LmdbBackend
from torch.utils.data import DataLoader, Subset

from benchmarks.report import Section
from benchmarks.side_by_side import in_turns, ratio
from lightbsr.cli.data.prepare import run as prepare
from lightbsr_model.bridge.lmdb_backend import open_clients
from lightbsr_model.data.blind_degradation_paired_dataset import BlindDegradationPairedDataset

SCALE = 4


def make_pictures(images: Path, root: Path, count: int, suffix: str) -> None:
    """Write large images, tiled from others, and their downscaled versions."""
    files = sorted(path for path in images.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    tiles = []
    for path in files:
        image = cv2.imread(str(path))
        if image is not None:
            image = image if image.shape[1] >= image.shape[0] else np.rot90(image)
            tiles.append(np.ascontiguousarray(image[:320, :480]))
    tiles = [tile for tile in tiles if tile.shape == (320, 480, 3)]
    for folder in ("gt", "lq"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        rows = [
            np.hstack([tiles[(number * 25 + row * 5 + column) % len(tiles)] for column in range(5)]) for row in range(5)
        ]
        gt = np.vstack(rows)[:1404, :2048]
        cv2.imwrite(str(root / f"gt/{number:04d}{suffix}"), gt)
        lq = cv2.resize(gt, None, fx=1 / SCALE, fy=1 / SCALE, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(root / f"lq/{number:04d}{suffix}"), lq)


def data_sets(gt: Path, lq: Path, gt_size: int) -> dict[str, Any]:
    """BasicSR's data set and ours on the same files, and ours as in LightBSR's training, from the GT images alone."""
    options: dict[str, Any] = {"phase": "train", "scale": SCALE, "gt_size": gt_size, "use_hflip": True, "use_rot": True}
    roots = {"dataroot_gt": str(gt), "dataroot_lq": str(lq)}
    backend = "lmdb" if gt.suffix == ".lmdb" else "disk"
    return {
        "BasicSR": PairedImageDataset({**options, **roots, "io_backend": {"type": backend}}),
        "ours": BlindDegradationPairedDataset({**options, **roots, "io_backend": {"type": backend}}),
        "ours, GT alone": BlindDegradationPairedDataset(
            {**options, "dataroot_gt": str(gt), "io_backend": {"type": backend}, "preset": "setting1_x4"}
        ),
    }


def _row(gt: Path, lq: Path, gt_size: int, workers: int, samples: int, turns: int) -> list[Any]:
    sets = data_sets(gt, lq, gt_size)
    order = [int(index) % len(sets["ours"]) for index in torch.randperm(samples)]
    loaders = {
        name: DataLoader(
            Subset(dataset, order), batch_size=8, num_workers=workers, persistent_workers=workers > 0, drop_last=True
        )
        for name, dataset in sets.items()
    }
    times = in_turns({name: lambda loader=loader: [0 for _ in loader] for name, loader in loaders.items()}, turns)
    read = samples // 8 * 8
    rates = [read / times[name].median for name in loaders]
    ratios = [ratio(times["BasicSR"], times[name]) for name in ("ours", "ours, GT alone")]
    return [gt.parent.name, gt.suffix.removeprefix(".") or "folder", workers, *rates, *ratios]


def measure(
    turns: int,
    large: int,
    worker_counts: Sequence[int] = (0, 1, 2),
    gt_size: int = 256,
    images: Path | None = None,
    show: Callable[[list[Any]], None] = lambda _: None,
) -> Section:
    """Images per second from large images and from sub-images.

    Args:
        turns: How often each is timed.
        large: Number of large images to tile.
        worker_counts: Numbers of workers of the loaders.
        gt_size: Side of a crop.
        images: Folder of images to tile them from; default: scikit-image's.
        show: Called with each finished row.
    """
    # Otherwise BasicSR's data set and ours cannot open one LMDB in the same process.
    LmdbBackend.__init__ = open_clients
    section = Section(
        "Loading",
        f"Images per second, random crops of {gt_size}. BasicSR: `PairedImageDataset`; ours: `BlindDegradationPairedDataset` "
        "with `dataroot_lq`, the same files and the same kind of pairs; GT alone: as in LightBSR's training.",
        ("images", "from", "workers", "BasicSR", "ours", "GT alone", "ours / BasicSR", "GT alone / BasicSR"),
    )

    def add(gt: Path, lq: Path, samples: int) -> None:
        for workers in worker_counts:
            section.rows.append(_row(gt, lq, gt_size, workers, samples, turns))
            show(section.rows[-1])

    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(io.StringIO()):
        source = images or Path(skimage.__file__).parent / "data"
        for title, suffix in (("large PNG 2048x1404", ".png"), ("large JPEG 2048x1404", ".jpg")):
            root = Path(temporary, title)
            make_pictures(source, root, large, suffix)
            add(root / "gt", root / "lq", 2 * large)
        whole, cut = Path(temporary, "large PNG 2048x1404"), Path(temporary, "sub-images of 480")
        for kind in ("", ".lmdb"):
            for name, size in (("gt", 480), ("lq", 480 // SCALE)):
                words = ["folder", str(whole / name), "-o", str(cut / f"{name}{kind}"), "--workers", "0"]
                prepare("data prepare", [*words, "--size", str(size), "--step", str(size // 2)])
            add(cut / f"gt{kind}", cut / f"lq{kind}", 160)
    return section


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of images of at least 480x320 (default: scikit-image's)")
    parser.add_argument("--large", type=int, default=32, help="number of large images (default: %(default)s)")
    parser.add_argument("--gt-size", type=int, default=256, help="side of a crop (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)

    def show(row: list[Any]) -> None:
        print(*row, file=sys.stderr, flush=True)

    print(measure(args.turns, args.large, args.workers, args.gt_size, args.images, show).markdown())


if __name__ == "__main__":
    main()
