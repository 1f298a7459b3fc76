"""Restoring and measuring every image of a comparison; goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from lightbsr_arch.errors import CommandFailed, OptionError
from lightbsr_arch.saving import inside, write_whole
from lightbsr_model.data.blind_degradation_benchmark_dataset import BlindDegradationBenchmarkDataset
from lightbsr_model.data.decoding import RGBImage, decode_rgb
from lightbsr_model.data.degrading import lr_image, pixels_sha256
from lightbsr_model.data.image_sources import backend_of
from lightbsr_model.evaluation.comparison.cost import Cost, measure_cost
from lightbsr_model.evaluation.comparison.methods import (
    FinishedImages,
    NetworkRestoration,
    open_method,
)
from lightbsr_model.evaluation.comparison.metrics import get_metric
from lightbsr_model.evaluation.comparison.settings import Settings
from lightbsr_model.evaluation.model_entries import ModelEntry


@dataclass(frozen=True)
class Scored:
    """One restored image."""

    model: str
    """By name."""
    set: str
    """By name."""
    preset: str
    """By name."""
    image: str
    """Without extension."""
    lr_sha256: str
    """Of the LR image's pixels."""
    figures: Mapping[str, float]
    """Metric to value."""


@dataclass
class Results:
    """All that a comparison has found."""

    settings: Settings
    """What was asked."""
    scored: list[Scored]
    """By model, set, preset and image, in the settings' order."""
    costs: dict[str, Cost] = field(default_factory=dict)
    """By model; finished images have none."""
    unchecked: tuple[str, ...] = ()
    """Models of finished images whose LR images were not at hand."""

    def values(self, set_name: str, preset: str, metric: str) -> dict[str, list[float]]:
        """A metric's values by model, the images in one order."""
        found: dict[str, list[float]] = {}
        for each in self.scored:
            if (each.set, each.preset) == (set_name, preset):
                found.setdefault(each.model, []).append(each.figures[metric])
        return found


class Store:
    """What a comparison keeps: SR images, and a line for each image and each figure.

    Args:
        folder: Of the comparison.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lr = _Lines(folder / "lr_sha256.jsonl")
        self._restored = _Lines(folder / "restored.jsonl")
        self._figures = _Lines(folder / "figures.jsonl")

    def check_lr(self, place: Mapping[str, str], lr_sha256: str) -> None:
        """Note an LR image's hash, or compare it with the one that is noted.

        Raises:
            CommandFailed: They differ.
        """
        key = "/".join((place["set"], place["preset"], place["image"]))
        known = self._lr.get(key)
        if known is None:
            self._lr.put(key, lr_sha256)
        elif known != lr_sha256:
            raise CommandFailed(
                f"the LR image of {key} is another than when the comparison in {self.folder} began: seed, border or the HR "
                "image has changed. Take another output folder."
            )

    def image_path(self, model: str, place: Mapping[str, str]) -> Path:
        """Where a restored image lies.

        Raises:
            OptionError: A name would lead out of the comparison's folder.
        """
        return inside(self.folder / "images", f"{model}/{place['set']}/{place['preset']}/{place['image']}.png")

    def restored(self, model: str, place: Mapping[str, str], made_of: str) -> RGBImage | None:
        """An image restored before, of the same network and LR image; None if there is none."""
        path = self.image_path(model, place)
        if self._restored.get(self._key(model, place)) != made_of or not path.is_file():
            return None
        return decode_rgb(path.read_bytes(), str(path))[0]

    def keep(self, model: str, place: Mapping[str, str], made_of: str, image: RGBImage) -> None:
        """Keep a restored image: the file first, then the line that makes it count."""
        path = self.image_path(model, place)
        write_whole(path, cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())
        self._restored.put(self._key(model, place), made_of)

    def figure(self, metric: str, image: RGBImage, gt: RGBImage, border: int) -> float:
        """Measure an image, or look the value up that the same pixels gave before."""
        key = "/".join((metric, str(border), pixels_sha256(image), pixels_sha256(gt)))
        known = self._figures.get(key)
        if known is None:
            known = get_metric(metric).measure(image, gt, border)
            self._figures.put(key, known)
        return float(known)

    @staticmethod
    def _key(model: str, place: Mapping[str, str]) -> str:
        return "/".join((model, place["set"], place["preset"], place["image"]))


class _Lines:
    """Keys and values in a file that only grows; the last line of a key counts, a line cut short does not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Any] = {}
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
                try:
                    key, value = json.loads(line)
                except ValueError:
                    continue
                self._values[key] = value

    def get(self, key: str) -> Any:
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        self._values[key] = value
        # On a line of its own even after one that a kill cut short.
        with self._path.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write("\n" + json.dumps([key, value], ensure_ascii=False))


def open_set(settings: Settings, set_name: str, preset: str) -> BlindDegradationBenchmarkDataset:
    """A test set under a preset."""
    root = settings.sets[set_name]
    return BlindDegradationBenchmarkDataset(
        {
            "name": set_name,
            "dataroot_gt": root,
            "io_backend": {"type": backend_of(root)},
            "preset": preset,
            "scale": settings.scale,
            "border": settings.border,
            "seed": settings.seed,
        }
    )


def samples(settings: Settings, set_name: str, preset: str) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Place and sample of every image of a set under a preset."""
    dataset = open_set(settings, set_name, preset)
    for index in range(len(dataset)):
        yield {"set": set_name, "preset": preset, "image": dataset.images.stem(index)}, dataset[index]


def gt_image(sample: Mapping[str, Any]) -> RGBImage:
    """The GT image of a sample as 8-bit RGB, (H, W, 3)."""
    return np.ascontiguousarray((sample["gt"] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def run_comparison(settings: Settings, folder: Path, device: torch.device) -> Results:
    """Restore and measure all that is not done yet, and gather all.

    Args:
        settings: What to compare.
        folder: Where images and figures are kept.
        device: Where networks run.

    Raises:
        OptionError: A metric or a checkpoint that cannot be used, or an image whose name leads out of the folder.
        CommandFailed: The LR images have changed since the comparison began.
    """
    for metric in settings.metrics:
        get_metric(metric)
    store = Store(folder)
    scored: list[Scored] = []
    costs: dict[str, Cost] = {}
    images = sum(_count_images(settings, name, folder) for name in settings.sets)
    total = len(settings.models) * len(settings.presets) * images
    with tqdm(total=total, unit="image") as bar:
        for entry in settings.models:
            bar.set_description(entry.name)
            method = open_method(entry, settings.scale, device)
            for set_name in settings.sets:
                for preset in settings.presets:
                    for place, sample in samples(settings, set_name, preset):
                        scored.append(_score(settings, store, entry, method, place, sample))
                        bar.update()
            if settings.cost and isinstance(method, NetworkRestoration):
                costs[entry.name] = measure_cost(method, settings.cost_size, settings.scale, device)
            # The next network takes its place in memory.
            del method
    unchecked = tuple(entry.name for entry in settings.models if entry.results is not None and entry.lr is None)
    return Results(settings, scored, costs, unchecked)


def _count_images(settings: Settings, set_name: str, folder: Path) -> int:
    """Number of images of a set, every name of which can be a file's: before hours are spent on the others."""
    dataset = open_set(settings, set_name, settings.presets[0])
    try:
        for index in range(len(dataset)):
            inside(folder, f"{dataset.images.stem(index)}.png")
    except OptionError as error:
        raise OptionError(f"sets, {set_name}: {error}") from error
    return len(dataset)


def _score(
    settings: Settings,
    store: Store,
    entry: ModelEntry,
    method: NetworkRestoration | FinishedImages,
    place: dict[str, str],
    sample: dict[str, Any],
) -> Scored:
    lr_sha256 = pixels_sha256(lr_image(sample))
    store.check_lr(place, lr_sha256)
    made_of = f"{method.fingerprint}/{lr_sha256}"
    # Finished images are read again: they may have been replaced.
    image = None if isinstance(method, FinishedImages) else store.restored(entry.name, place, made_of)
    if image is None:
        image = method.restore(sample, place)
        store.keep(entry.name, place, made_of, image)
    gt = gt_image(sample)
    figures = {metric: store.figure(metric, image, gt, settings.scale) for metric in settings.metrics}
    return Scored(entry.name, place["set"], place["preset"], place["image"], lr_sha256, figures)
