"""What ``lightbsr finetune`` does around a training: divides one's images, writes its options, and judges its outcome."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lightbsr_arch.display import printable
from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.image_writing import write_picture
from lightbsr_arch.weights.fingerprint import weights_sha256
from lightbsr_arch.weights.model_files import Model
from lightbsr_model.data.decoding import RGBImage
from lightbsr_model.data.image_sources import FolderImages, ImageReader
from lightbsr_model.data.inspection import inspect_images
from lightbsr_model.degradation import get_degradation
from lightbsr_model.evaluation.comparison.running import Results
from lightbsr_model.evaluation.comparison.settings import Settings
from lightbsr_model.evaluation.comparison.statistics import Interval
from lightbsr_model.evaluation.comparison.tables import difference
from lightbsr_model.evaluation.model_entries import ModelEntry

LR_PATCH = 32
"""Side of the patches that are learnt from, in LR pixels."""

CLEAN = "bicubic"
"""The preset of images that are not degraded but for the downsampling."""

MOST_LOST = 0.05
"""dB that a model may lose on such images and still be better."""

_HELD_OUT = 5
"""One image of this many is held out."""

_MOST_HELD_OUT = 20
_LEAST_CROPS = 12
"""Crops of held-out images that are wanted at least, several of an image where there are few."""

_OURS = re.compile(r"\d{5}(_\d)?\.\w+")
"""Names of the files of a division."""

_CROP = 384
"""Largest side of a held-out crop, in HR pixels."""


@dataclass(frozen=True)
class Division:
    """One's images, divided."""

    train: Path
    """Folder of links to the images that are learnt from."""
    held_out: Path
    """Folder of crops of the others."""
    learnt_from: int
    """Number of images that are learnt from."""
    kept: int
    """Number of images that are held out."""
    left_out: tuple[str, ...]
    """A line for each image that is neither."""
    content: str
    """SHA-256 of all that can be used, in their order, which decides what is held out."""


def fingerprint(model: Model, preset: str, division: Division, training: Training) -> str:
    """SHA-256 of all that decides the outcome; a run of another one is not gone on with."""
    facts = (preset, training, division.content, model.options, weights_sha256(model.net.state_dict()))
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def setting_of(model: Model, preset: str | None) -> str:
    """The preset that a model is trained further under.

    Args:
        model: Its card names what it was trained for.
        preset: What the user named; None takes the card's.

    Raises:
        OptionError: Neither names a preset, or it is of another scale.
    """
    scale = model.options["scale"]
    if preset is None:
        preset = model.card.setting
        if " with " in preset:
            raise OptionError(
                f"--preset: the model was trained for {printable(preset)}; name a preset without overrides."
            )
    try:
        get_degradation(preset, scale=scale)
    except OptionError as error:
        raise OptionError(f"--preset: {str(error).removeprefix('preset: ')}") from error
    return preset


def divide(images: Path, folder: Path, scale: int, workers: int = 0) -> Division:
    """Read all images of a folder, and divide those that can be used into training and held-out ones.

    What is held out is a crop of every fifth image, at most twenty; of few images, several crops each. An image that is there
    twice counts once, so that no held-out image is learnt from.

    Args:
        images: The folder.
        folder: Where the two parts go, as ``train`` and ``held_out``; what was there before is replaced.
        scale: Of the model.
        workers: Processes that read.

    Raises:
        OptionError: Fewer than two different images can be used; or the folder holds something else.
        ImageError: There are none at all.
    """
    reader = ImageReader(FolderImages(images, key="IMAGES"))
    findings = inspect_images(reader, workers)
    least = scale * LR_PATCH
    left_out = list(findings.unreadable)
    seen: dict[str, str] = {}
    usable: list[int] = []
    for index, image in enumerate(findings.images):
        if image is None:
            continue
        if min(image.height, image.width) < least:
            left_out.append(f"{image.name}: {image.width}x{image.height}, smaller than a patch of {least}x{least}")
        elif image.sha256 in seen:
            left_out.append(f"{image.name}: the same image as {seen[image.sha256]}")
        else:
            seen[image.sha256] = image.name
            usable.append(index)
    if len(usable) < 2:
        raise OptionError(
            f"{images}: {len(usable)} of {len(reader)} images can be used, expected at least 2 different ones of "
            f"{least}x{least} pixels or more, one of which is held out. "
            + " ".join(f"{line.rstrip('.')}." for line in left_out[:3])
        )
    held_out = usable[_HELD_OUT // 2 :: _HELD_OUT][:_MOST_HELD_OUT] or usable[-1:]
    learnt = [index for index in usable if index not in held_out]
    content = hashlib.sha256(" ".join(seen).encode()).hexdigest()
    counts = (len(learnt), len(held_out))
    division = Division(folder / "train", folder / "held_out", *counts, tuple(left_out), content)
    if folder.resolve() in (images.resolve(), *images.resolve().parents):
        raise OptionError(f"--folder: {folder} holds the images themselves; name another.")
    for place in (division.train, division.held_out):
        _empty(place)
    for index in learnt:
        image_file = Path(reader.name(index))
        _link(image_file, division.train / f"{index:05d}{image_file.suffix.lower()}")
    for index in held_out:
        for number, crop in enumerate(_crops(reader.read(index), scale, -(-_LEAST_CROPS // len(held_out)))):
            write_picture(division.held_out / f"{index:05d}_{number}.png", crop, overwrite=True)
    return division


def _empty(folder: Path) -> None:
    """Make a folder, or remove from it what an earlier division put there."""
    folder.mkdir(parents=True, exist_ok=True)
    there = list(folder.iterdir())
    for path in there:
        if not _OURS.fullmatch(path.name) or path.is_dir():
            raise OptionError(
                f"--folder: {folder} holds {path.name}, which no fine-tuning put there; name another folder."
            )
    for path in there:
        path.unlink()


def _link(path: Path, link: Path) -> None:
    with suppress(OSError):
        link.symlink_to(path.absolute())
        return
    shutil.copyfile(path, link)  # a file system without links


def _crops(pixels: RGBImage, scale: int, count: int) -> Iterator[RGBImage]:
    """The middle of an image, or of each of its quarters that count."""
    rows = columns = 1 if count == 1 else 2
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    if min(height, width) < scale * LR_PATCH:
        rows = columns = 1
        height, width = pixels.shape[:2]
    for number in range(min(count, rows * columns)):
        top, left = number // columns * height, number % columns * width
        part = pixels[top : top + height, left : left + width]
        side = [min(length, _CROP) // scale * scale for length in part.shape[:2]]
        start = [(length - of) // 2 for length, of in zip(part.shape[:2], side, strict=True)]
        yield np.ascontiguousarray(part[start[0] : start[0] + side[0], start[1] : start[1] + side[1]])


class Training(NamedTuple):
    """What the user chooses of the training."""

    iterations: int
    batch: int
    lr: float
    seed: int


def training_options(model: Model, preset: str, division: Division, start: Path, training: Training) -> dict[str, Any]:
    """The option file of the training, which goes on from a model's weights by the L1 loss alone.

    Args:
        model: What is trained.
        preset: Of the degradations.
        division: The images.
        start: A checkpoint of the model.
        training: What the user chose.
    """
    scale = model.options["scale"]
    network = {key: list(value) if isinstance(value, tuple) else value for key, value in model.options.items()}
    return {
        "name": "finetuned",
        "model_type": "SRModel",
        "scale": scale,
        "num_gpu": "auto",
        "manual_seed": training.seed,
        "datasets": {
            "train": {
                "name": "own_images",
                "type": "BlindDegradationPairedDataset",
                "dataroot_gt": str(division.train.absolute()),
                "preset": preset,
                "gt_size": scale * LR_PATCH,
                "num_worker_per_gpu": 4 if torch.cuda.is_available() else 0,
                "batch_size_per_gpu": training.batch,
                "dataset_enlarge_ratio": max(1, -(-100 * training.batch // division.learnt_from)),
            }
        },
        "network_g": network,
        "path": {"pretrain_network_g": str(start.absolute()), "resume_state": None},
        "train": {
            "total_iter": training.iterations,
            "ema_decay": 0.99,
            "keep_checkpoints": 1,
            "optim_g": {"type": "Adam", "lr": training.lr, "betas": [0.9, 0.99]},
            "scheduler": {
                "type": "CosineAnnealingRestartLR",
                "periods": [training.iterations],
                "restart_weights": [1],
                "eta_min": 1e-7,
            },
            "warmup_iter": min(50, training.iterations // 10),
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "logger": {"print_freq": 10, "save_checkpoint_freq": min(200, training.iterations), "use_tb_logger": False},
    }


def comparison_settings(preset: str, scale: int, division: Division, before: Path, after: Path) -> Settings:
    """The comparison of the model before and after, and of bicubic interpolation, on the held-out crops."""
    return Settings(
        name="finetuned",
        scale=scale,
        sets={"held out": str(division.held_out)},
        presets=tuple(dict.fromkeys((preset, CLEAN))),
        models=(
            ModelEntry("bicubic", network={"type": "BicubicUpsampler", "scale": scale}),
            ModelEntry("after", path=str(after)),
            ModelEntry("before", path=str(before)),
        ),
        cost=False,
        crops=4,
    )


class Verdict(NamedTuple):
    """Whether a training was worth it."""

    gains: Mapping[str, Interval]
    """Of PSNR-Y in dB over the model before, by preset; over the held-out crops, paired, with 95 % intervals."""
    preset: str
    """The one that was trained under."""

    @property
    def is_better(self) -> bool:
        """Whether the gain under the preset is above 0 with its interval, and little is lost on clean images."""
        clean = self.gains.get(CLEAN)
        return self.gains[self.preset].low > 0 and (clean is None or clean.mean >= -MOST_LOST)

    def words(self) -> Sequence[str]:
        """A line for each preset."""
        return [
            f"{preset}: {gain.mean:+.2f} dB [{gain.low:+.2f}, {gain.high:+.2f}]" for preset, gain in self.gains.items()
        ]


def judge(results: Results, preset: str) -> Verdict:
    """The verdict of a comparison of :func:`comparison_settings`."""
    settings = results.settings
    gains = {}
    for name in settings.presets:
        values = results.values("held out", name, "psnr_y")
        gains[name] = difference(values["after"], values["before"], settings.bootstrap, settings.confidence)
    return Verdict(gains, preset)
