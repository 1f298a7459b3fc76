"""Real-world degradations: our loader and degrader against BasicSR's RealESRGANDataset and RealESRNetModel.feed_data.

Both read the same PNGs, decode, crop and flip them, draw Real-ESRGAN's published degradations and give LR and GT patches of one
size; all in this process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import skimage.data
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from benchmarks.machine import synchronise
from benchmarks.report import Section
from benchmarks.side_by_side import in_turns, ratio
from lightbsr.shipped_options import find_option_file
from lightbsr_model.bridge.patches import apply_patches
from lightbsr_model.option_files.whole_options import read_options
from lightbsr_model.runtime.random_streams import seed_everything
from lightbsr_model.training.batch_degrader import BatchDegrader, to_device

_IMAGES = ("astronaut", "coffee", "chelsea", "rocket")
_BATCHES = 4
"""Timed together: sizes, and so costs, differ from batch to batch."""

Feed = Callable[[int], tuple[Tensor, Tensor]]


def measure(device: torch.device, turns: int, batch: int = 12) -> Section:
    """Load and degrade batches.

    Raises:
        RuntimeError: The two do not give patches of the same sizes.
    """
    apply_patches()
    opt = read_options(find_option_file("options/compare/train_realesrnet.yml")).options
    opt.update(num_gpu=int(device.type == "cuda"), is_train=True, dist=False, rank=0, world_size=1, gt_usm=False)
    opt.update(queue_size=batch, path={})
    opt["network_g"].update(num_feat=8, num_block=1, num_grow_ch=4)
    section = Section(
        "Real-world degradations",
        f"From PNG files to a batch of {batch} GT patches of 256x256 and LR patches of 64x64, in one process. BasicSR: "
        "RealESRGANDataset crops 400x400, and RealESRNetModel.feed_data, without sharpening, degrades and crops again. "
        "`sizes`: samples of a batch share sizes and modes, as BasicSR's do.",
        ("preset", "BasicSR, images/s", "ours, images/s", "ours / BasicSR", "ours with sizes, images/s"),
    )
    with TemporaryDirectory() as folder:
        root = Path(folder)
        names = []
        for name in _IMAGES:
            pixels = getattr(skimage.data, name)()
            # Of at least 400 pixels, without a mirrored border.
            Image.fromarray(pixels).resize((640, 512)).save(root / f"{name}.png")
            names.append(f"{name}.png\n")
        (root / "names.txt").write_text("".join(names))
        theirs = _basicsr(opt, root, batch)
        for preset in ("realworld_x4", "photo_x4"):
            ours = {per: _ours(preset, per, root, batch, device) for per in ("sample", "sizes")}
            _check(theirs, ours["sample"])
            feeds = {"BasicSR": theirs, **ours}
            ways = {name: _batches(feed) for name, feed in feeds.items()}
            times = in_turns(ways, turns, wait=synchronise(device))
            rates = {name: _BATCHES * batch / timing.median for name, timing in times.items()}
            faster = ratio(times["BasicSR"], times["sample"])
            section.rows.append([preset, rates["BasicSR"], rates["sample"], faster, rates["sizes"]])
    return section


def _batches(feed: Feed) -> Callable[[], None]:
    turn = 0

    def run() -> None:
        nonlocal turn
        turn += 1
        for number in range(_BATCHES):
            feed(_BATCHES * turn + number)

    return run


def _basicsr(opt: dict[str, Any], root: Path, batch: int) -> Feed:
    section = {**opt["datasets"]["train"], "phase": "train", "scale": 4, "dataroot_gt": str(root)}
    section.update(io_backend={"type": "disk"}, meta_info=str(root / "names.txt"))
    dataset, model = build_dataset(section), build_model(opt)

    def feed(number: int) -> tuple[Tensor, Tensor]:
        seed_everything(number)
        model.feed_data(default_collate([dataset[place % len(dataset)] for place in range(batch)]))
        return model.lq, model.gt

    return feed


def _ours(preset: str, per: str, root: Path, batch: int, device: torch.device) -> Feed:
    section = {"name": "ours", "type": "BlindDegradationPairedDataset", "phase": "train", "dataroot_gt": str(root)}
    section |= {"scale": 4, "gt_size": 256, "preset": preset, "degradation_per": per, "io_backend": {"type": "disk"}}
    dataset = build_dataset(section)
    degrader = BatchDegrader({"manual_seed": 0, "rank": 0, "datasets": {"train": section}}, device)

    def feed(number: int) -> tuple[Tensor, Tensor]:
        seed_everything(number)
        degrader.begin(number)
        samples = default_collate([dataset[place % len(dataset)] for place in range(batch)])
        made = degrader(to_device(samples, device))
        return made.lq, made.gt if made.gt is not None else made.lq

    return feed


def _check(theirs: Feed, ours: Feed) -> None:
    sizes = [[tuple(each.shape) for each in feed(0)] for feed in (theirs, ours)]
    if sizes[0] != sizes[1]:
        raise RuntimeError(f"the two ways give other sizes: {sizes}.")
