"""Restoring and measuring every image of a comparison; an interrupted one continues where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import torch
from tqdm import tqdm

from lightbsr_arch.errors import CommandFailed, OptionError
from lightbsr_arch.saving import inside, write_whole
from lightbsr_model.data.blind_degradation_benchmark_dataset import BlindDegradationBenchmarkDataset
from lightbsr_model.data.decoding import RGBImage, decode_rgb, to_rgb
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
    """The scores of one restored image."""

    model: str
    set: str
    preset: str
    image: str
    """Name without extension."""
    lr_sha256: str
    """Hash of the LR image's pixels."""
    figures: Mapping[str, float]


@dataclass
class Results:
    """All results of a comparison."""

    settings: Settings
    scored: list[Scored]
    """Scores by model, set, preset and image, in the order of the settings."""
    costs: dict[str, Cost] = field(default_factory=dict)
    """Costs by model; existing SR images have none."""
    unchecked: tuple[str, ...] = ()
    """Models given as SR images without their LR images."""

    def values(self, set_name: str, preset: str, metric: str) -> dict[str, list[float]]:
        """Values of a metric by model, with the images in the same order for all."""
        found: dict[str, list[float]] = {}
        for each in self.scored:
            if (each.set, each.preset) == (set_name, preset):
                found.setdefault(each.model, []).append(each.figures[metric])
        return found


class Store:
    """The files of a comparison: SR images, and a line for each image and each figure.

    Args:
        folder: Folder of the comparison.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lr = _Lines(folder / "lr_sha256.jsonl")
        self._restored = _Lines(folder / "restored.jsonl")
        self._figures = _Lines(folder / "figures.jsonl")

    def check_lr(self, place: Mapping[str, str], lr_sha256: str) -> None:
        """Record the hash of an LR image, or compare it with the recorded one.

        Raises:
            CommandFailed: They differ.
        """
        key = "/".join((place["set"], place["preset"], place["image"]))
        known = self._lr.get(key)
        if known is None:
            self._lr.put(key, lr_sha256)
        elif known != lr_sha256:
            raise CommandFailed(
                f"the LR image of {key} differs from when the comparison in {self.folder} began: the seed, the border or the "
                "HR image has changed. Use another output folder."
            )

    def image_path(self, model: str, place: Mapping[str, str]) -> Path:
        """Path of a restored image.

        Raises:
            OptionError: A name would lead out of the comparison's folder.
        """
        return inside(self.folder / "images", f"{model}/{place['set']}/{place['preset']}/{place['image']}.png")

    def restored(self, model: str, place: Mapping[str, str], made_of: str) -> RGBImage | None:
        """An image restored earlier by the same network from the same LR image; None if there is none."""
        path = self.image_path(model, place)
        if self._restored.get(self._key(model, place)) != made_of or not path.is_file():
            return None
        return decode_rgb(path.read_bytes(), str(path))[0]

    def keep(self, model: str, place: Mapping[str, str], made_of: str, image: RGBImage) -> None:
        """Store a restored image: first the file, then the line that marks it as valid."""
        path = self.image_path(model, place)
        write_whole(path, cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())
        self._restored.put(self._key(model, place), made_of)

    def figure(self, metric: str, image: RGBImage, gt: RGBImage, border: int) -> float:
        """Measure an image, or look up the value that the same pixels gave before."""
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
    """Keys and values in an append-only file; the last line of a key counts, truncated lines are ignored."""

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
        # Begin a new line even after one that was truncated by a kill.
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
    """Set, preset and image name, and the sample, of every image of a set under a preset."""
    dataset = open_set(settings, set_name, preset)
    for index in range(len(dataset)):
        yield {"set": set_name, "preset": preset, "image": dataset.images.stem(index)}, dataset[index]


def gt_image(sample: Mapping[str, Any]) -> RGBImage:
    """The GT image of a sample as 8-bit RGB, (H, W, 3)."""
    return to_rgb(sample["gt"])


def run_comparison(settings: Settings, folder: Path, device: torch.device) -> Results:
    """Restore and measure what is not done yet, and collect all results.

    Args:
        settings: What to compare.
        folder: Folder of the comparison's images and figures.
        device: Device of the networks.

    Raises:
        OptionError: A metric or a checkpoint cannot be used, or an image's name leads out of the folder.
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
            # Free its memory for the next network.
            del method
    unchecked = tuple(entry.name for entry in settings.models if entry.results is not None and entry.lr is None)
    return Results(settings, scored, costs, unchecked)


def _count_images(settings: Settings, set_name: str, folder: Path) -> int:
    """Number of images of a set. Checks first that every name is valid as a file name, before hours are spent on others."""
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
    # Existing SR images are read again: they may have been replaced.
    image = None if isinstance(method, FinishedImages) else store.restored(entry.name, place, made_of)
    if image is None:
        image = method.restore(sample, place)
        store.keep(entry.name, place, made_of, image)
    gt = gt_image(sample)
    figures = {metric: store.figure(metric, image, gt, settings.scale) for metric in settings.metrics}
    return Scored(entry.name, place["set"], place["preset"], place["image"], lr_sha256, figures)
