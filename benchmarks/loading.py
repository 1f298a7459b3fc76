"""Images a second from the training data set, against BasicSR's ``PairedImageDataset`` on the same files.

    python -m benchmarks.loading --images ../shared/images/BSD400

Both give random LQ/GT crops, flipped and turned, as float tensors. The pictures are tiled from the images given: sub-images
of 480 pixels, and large ones of 2048x1404.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from torch.utils.data import DataLoader, Subset

from benchmarks.side_by_side import in_turns, ratio
from lightbsr_model.bridge.lmdb_backend import open_clients
from lightbsr_model.cli.data.prepare import run as prepare
from lightbsr_model.data.blind_degradation_paired_dataset import BlindDegradationPairedDataset

SCALE = 4


def make_pictures(images: Path, root: Path, count: int, suffix: str) -> None:
    """Write large pictures, tiled from others, and their small versions."""
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
    """BasicSR's and ours on the same files, and ours as LightBSR trains, from the GT images alone."""
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


def measure(gt: Path, lq: Path, gt_size: int, workers: int, samples: int, turns: int) -> str:
    """One line of the table."""
    sets = data_sets(gt, lq, gt_size)
    if gt.suffix == ".lmdb":
        # Stock and ours cannot have one file open in one process otherwise.
        from basicsr.utils.file_client import LmdbBackend

        LmdbBackend.__init__ = open_clients
    loaders = {
        name: DataLoader(
            Subset(dataset, [int(i) % len(dataset) for i in torch.randperm(samples)]),
            batch_size=8,
            num_workers=workers,
            persistent_workers=workers > 0,
            drop_last=True,
        )
        for name, dataset in sets.items()
    }
    times = in_turns({name: lambda loader=loader: [0 for _ in loader] for name, loader in loaders.items()}, turns)
    read = samples // 8 * 8
    rates = " | ".join(f"{read / times[name].median:.0f}" for name in loaders)
    ratios = " | ".join(f"{ratio(times['BasicSR'], times[name]):.2f}" for name in ("ours", "ours, GT alone"))
    return f"| {gt.parent.name} | {gt.suffix.removeprefix('.') or 'folder'} | {workers} | {rates} | {ratios} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures of 480x320 or more")
    parser.add_argument("--large", type=int, default=32, help="large pictures (default: %(default)s)")
    parser.add_argument("--gt-size", type=int, default=256, help="side of a crop (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, OpenCV {cv2.__version__}, {torch.get_num_threads()} "
        f"threads, crops of {args.gt_size}, images a second, median of {args.turns} turns\n"
    )
    print("| pictures | from | workers | BasicSR | ours | ours, GT alone | ours / BasicSR | GT alone / BasicSR |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for title, suffix in (("large PNG 2048x1404", ".png"), ("large JPEG 2048x1404", ".jpg")):
            root = Path(temporary, title)
            make_pictures(args.images, root, args.large, suffix)
            for workers in args.workers:
                print(measure(root / "gt", root / "lq", args.gt_size, workers, 2 * args.large, args.turns), flush=True)
        large, cut = Path(temporary, "large PNG 2048x1404"), Path(temporary, "sub-images of 480")
        for kind in ("", ".lmdb"):
            for name, size in (("gt", 480), ("lq", 480 // SCALE)):
                words = ["folder", str(large / name), "-o", str(cut / f"{name}{kind}"), "--workers", "0"]
                prepare("data prepare", [*words, "--size", str(size), "--step", str(size // 2)])
            for workers in args.workers:
                line = measure(cut / f"gt{kind}", cut / f"lq{kind}", args.gt_size, workers, 160, args.turns)
                print(line, flush=True)


if __name__ == "__main__":
    main()
