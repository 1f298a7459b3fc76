"""The YAML of ``lightbsr compare``, checked completely before anything runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lightbsr_arch.errors import OptionError
from lightbsr_model.data.image_sources import open_all
from lightbsr_model.degradation import get_degradation
from lightbsr_model.evaluation.comparison.metrics import METRICS, PYIQA
from lightbsr_model.evaluation.comparison.published_figures import PUBLISHED
from lightbsr_model.evaluation.model_entries import ModelEntry, ModelListReader
from lightbsr_model.option_files.document import OptionDocument
from lightbsr_model.option_files.folder_names import name_fault
from lightbsr_model.option_files.suggestions import nearest

_LARGEST_COST_SIZE = 1 << 24
"""Largest number of LR pixels to measure costs with: more than 4096x4096 do not fit into memory."""


@dataclass(frozen=True)
class CropBox:
    """A requested crop."""

    set: str
    image: str
    """Name of the image, without extension."""
    preset: str
    box: tuple[int, int, int, int]
    """Left, top, width and height in HR pixels."""


@dataclass(frozen=True)
class Settings:
    """The models, test sets, degradations and metrics of a comparison."""

    name: str
    """Name of the comparison and of its folder."""
    scale: int
    sets: Mapping[str, str]
    """Test sets: name, and folder or LMDB of HR images."""
    presets: tuple[str, ...]
    models: tuple[ModelEntry, ...]
    """The models, in the order of the tables."""
    metrics: tuple[str, ...] = ("psnr_y", "ssim_y")
    """Names of the metrics; plots and differences use the first."""
    reference: str | None = None
    """The model that paired differences are taken to. Default: the last."""
    border: str = "clamp"
    """What the downsampling sees outside the image."""
    seed: int = 0
    """Seed of the noise and of drawn degradations."""
    device: str = "auto"
    cost: bool = True
    """Whether to measure parameters, GMACs, time and memory."""
    cost_size: tuple[int, int] = (180, 320)
    """Height and width of the LR image to measure them with."""
    crops: int = 2
    """Number of images per set and preset to show crops of, chosen by where the methods differ most."""
    crop_size: int = 96
    """Side of these crops in HR pixels."""
    boxes: tuple[CropBox, ...] = ()
    """Additional crops."""
    published: tuple[str, ...] = ()
    """Methods whose published figures are added to the tables, marked as published."""
    bootstrap: int = 10_000
    """Number of resamples of the images for each interval."""
    confidence: float = 0.95
    """Confidence level of the intervals."""


def read_settings(document: OptionDocument, source: str) -> Settings:
    """Make settings from a document.

    Args:
        document: The YAML.
        source: Name of the file, for messages.

    Raises:
        OptionProblems: With all problems.
    """
    reader = _Reader(document)
    values = reader.read()
    reader.refuse(source)
    return Settings(**values)


class _Reader(ModelListReader):
    def read(self) -> dict[str, Any]:
        names = {field.name for field in fields(Settings)}
        given = self.known_values(names, ("name", "scale", "sets", "presets", "models"))
        values = {key: value for key, value in given.items() if value is not None}
        self._numbers(values)
        self._sets(values.get("sets", {}))
        for list_key in ("presets", "metrics", "published"):
            if list_key in values:
                values[list_key] = self._words(list_key, values[list_key])
        for preset in values.get("presets", ()):
            try:
                get_degradation(preset, scale=values.get("scale"))
            except OptionError as error:  # noqa: PERF203 - a handful of presets
                self.report(("presets",), str(error).removeprefix("preset: "))
        for metric in values.get("metrics", ()):
            if metric not in METRICS and not metric.startswith(PYIQA):
                self.report(("metrics",), f"no metric is named {metric!r}; known: {', '.join(METRICS)}, {PYIQA}<name>")
        for method in values.get("published", ()):
            if method not in PUBLISHED:
                self.report(("published",), f"no published figures of {method!r}; known: {', '.join(PUBLISHED)}")
        values["models"] = self.read_models()
        model_names = [entry.name for entry in values["models"]]
        if values.get("reference") is not None and values["reference"] not in model_names:
            self.report(
                ("reference",),
                f"no model is named {values['reference']!r}{nearest(values['reference'], model_names)}",
            )
        values["boxes"] = self._boxes(values.get("boxes", []), values)
        return values

    def _numbers(self, values: dict[str, Any]) -> None:
        limits = {
            "scale": (2, 4),
            "seed": (0, None),
            "crops": (0, None),
            "crop_size": (8, None),
            "bootstrap": (100, None),
        }
        self.check_whole(values, limits)
        self.check_choices(values)
        confidence = values.get("confidence", 0.95)
        if not isinstance(confidence, (int, float)) or not 0 < confidence < 1:
            self.report(("confidence",), f"expected a number between 0 and 1, got {confidence!r}")
        size = values.get("cost_size", [180, 320])
        if not _are_integers(size, 2) or min(size) < 1 or size[0] * size[1] > _LARGEST_COST_SIZE:
            self.report(
                ("cost_size",),
                f"expected height and width, as [180, 320], at most {_LARGEST_COST_SIZE} pixels, got {size!r}",
            )
        else:
            values["cost_size"] = tuple(size)
        if not isinstance(values.get("cost", True), bool):
            self.report(("cost",), f"expected true or false, got {values['cost']!r}")

    def _words(self, key: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
            self.report((key,), f"expected a list of names, as [a, b], got {value!r}")
            return ()
        return tuple(value)

    def _sets(self, sets: Any) -> None:
        if not isinstance(sets, dict) or not sets:
            self.report(("sets",), f"expected names and folders, got {sets!r}")
            return
        for name, place in sets.items():
            if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+", name) or name_fault(name):
                self.report(("sets", name), "expected a name of letters, digits, _ . + and -: it becomes a folder")
            if not isinstance(place, str) or not Path(place).expanduser().is_dir():
                self.report(("sets", name), f"there is no folder {place}")

    def _boxes(self, boxes: Any, values: Mapping[str, Any]) -> tuple[CropBox, ...]:
        entries: list[CropBox] = []
        for number, given in enumerate(boxes if isinstance(boxes, list) else [boxes]):
            place = ("boxes", str(number))
            words = ("set", "image", "preset")
            if (
                not isinstance(given, dict)
                or set(given) != {*words, "box"}
                or not all(isinstance(given[word], str) for word in words)
                or not _are_integers(given["box"], 4)
            ):
                self.report(place, f"expected set, image, preset and box: [left, top, width, height], got {given!r}")
                continue
            sets = values.get("sets")
            if (
                not isinstance(sets, dict)
                or given["set"] not in sets
                or given["preset"] not in values.get("presets", ())
            ):
                self.report(place, f"its set and preset are not compared: {given['set']}, {given['preset']}")
                continue
            entry = CropBox(given["set"], given["image"], given["preset"], tuple(given["box"]))
            if (fault := _fault_of_box(entry, sets[entry.set], values.get("scale"))) is not None:
                self.report(place, fault)
            entries.append(entry)
        return tuple(entries)


def _are_integers(value: Any, count: int) -> bool:
    """Whether a value is a list of ``count`` integers; true and false do not count as integers."""
    return isinstance(value, list) and len(value) == count and all(type(entry) is int for entry in value)


def _fault_of_box(box: CropBox, root: str, scale: Any) -> str | None:
    """Why a crop cannot be made: its image is missing, or too small."""
    left, top, width, height = box.box
    if not isinstance(root, str) or not Path(root).expanduser().is_dir() or type(scale) is not int or scale < 1:
        return None  # reported at their own keys
    try:
        images = open_all(root)
        stems = [images.stem(number) for number in range(len(images))]
        if box.image not in stems:
            return f"{box.set} has no image {box.image!r}{nearest(box.image, stems)}"
        rows, columns = (side - side % scale for side in images.read(stems.index(box.image)).shape[:2])
    except OptionError as error:
        return str(error)
    if left < 0 or top < 0 or width < 1 or height < 1 or left + width > columns or top + height > rows:
        return f"{list(box.box)} is not within {box.set}'s {box.image}, {columns}x{rows} (left, top, width, height)"
    return None
