"""``lightbsr data burst``: write the bursts that a test sees."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor
from tqdm import tqdm

from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.burst_files import COLOURS_FILE, PACKED_LEVELS
from lightbsr_arch.saving import inside, write_whole
from lightbsr_model.data.burst_set_options import MOST_FRAMES
from lightbsr_model.data.image_sources import backend_of, open_all
from lightbsr_model.data.synthetic_burst_dataset import SyntheticBurstDataset
from lightbsr_model.degradation.burst import CAMERAS_BY_NAME

_RECORD = "bursts.json"


def run(command: str, arguments: Sequence[str]) -> None:
    """Write the bursts of a set of images.

    Raises:
        OptionError: A source that does not exist, or an output with other bursts.
        ImageError: An image cannot be read, or is too small.
    """
    parser = argparse.ArgumentParser(
        prog=f"lightbsr {command}",
        description="Write the bursts of a SyntheticBurstDataset as 16-bit PNG, the very values that a test sees: lq/NAME/ has "
        "the frames, packed R, Gr, Gb, B, gt/NAME.png the linear image; bursts.json says how each was made. Bursts that are "
        "there already are kept.",
    )
    add = parser.add_argument
    add("source", type=Path, metavar="HR", help="folder or LMDB of sRGB images")
    add("output", type=Path, metavar="OUT", help="folder")
    add("--camera", choices=tuple(CAMERAS_BY_NAME), default="mended", help="default: %(default)s")
    add("--frames", type=int, default=14, help=f"1 to {MOST_FRAMES} (default: %(default)s)")
    add("--gt-size", type=int, default=384, help="side of an image, a multiple of 8 (default: %(default)s)")
    add("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args(arguments)
    how = {"camera": args.camera, "frames": args.frames, "gt_size": args.gt_size, "seed": args.seed}
    open_all(str(args.source), "HR")  # names it as the command does
    source = {"dataroot_gt": str(args.source), "io_backend": {"type": backend_of(args.source)}}
    dataset = SyntheticBurstDataset({**source, **how, "phase": "test", "scale": 4})
    dataset.check_sizes()
    record = _record_of(args.output, how)
    for index in tqdm(range(len(dataset)), unit="burst", disable=None):
        name = dataset.images.stem(index)
        if name not in record["bursts"]:
            _write(dataset, index, name, args.output, record)
    print(f"{args.output}: {len(dataset)} bursts of {args.frames} frames, camera {args.camera}.")


def _record_of(output: Path, how: dict[str, Any]) -> dict[str, Any]:
    """What is there already.

    Raises:
        OptionError: Other bursts, or other files.
    """
    path = output / _RECORD
    if path.is_file():
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise OptionError(f"{path}: cannot be read ({error}); remove {output}, or name another folder.") from error
        if not isinstance(found, dict) or {name: found.get(name) for name in how} != how:
            raise OptionError(f"{output} holds other bursts ({path}): name another folder, or remove this one.")
        return found
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OptionError(f"{output} is there, and holds no bursts of this command: name another folder.")
    return {**how, "bursts": {}}


def _write(dataset: SyntheticBurstDataset, index: int, name: str, output: Path, record: dict[str, Any]) -> None:
    sample = dataset[index]
    seed, params = dataset.drawn(index)
    folder = inside(output / "lq", name)
    for number, frame in enumerate(sample["frames"]):
        write_whole(folder / f"{number:02}.png", _png(frame))
    described = params.described()
    colours = {key: described[key] for key in ("rgb2cam", "gains")}
    write_whole(folder / COLOURS_FILE, json.dumps(colours))
    write_whole(inside(output / "gt", f"{name}.png"), _png(sample["gt"].flip(0)))
    # Last: a burst that is recorded is complete.
    record["bursts"][name] = {"seed": seed, **described}
    write_whole(output / _RECORD, json.dumps(record, indent=1))


def _png(image: Tensor) -> bytes:
    """(channels, h, w) in [0, 1], the channels in OpenCV's order."""
    values = (image * PACKED_LEVELS).round().clamp(0, 65535).numpy().astype(np.uint16)
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(values.transpose(1, 2, 0)))
    return encoded.tobytes()
