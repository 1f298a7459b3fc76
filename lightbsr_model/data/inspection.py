"""Read every image of a source, and report what they are and their problems."""

from __future__ import annotations

import hashlib
import io
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from lightbsr_arch.errors import ImageError
from lightbsr_model.data.decoding import decode_rgb
from lightbsr_model.data.finished_pairs import are_near
from lightbsr_model.data.image_sources import ImageReader, ImageSource
from lightbsr_model.data.worker_pool import WorkerPool

_DEPTHS = {"1": 1, "I;16": 16, "I;16B": 16, "I": 32, "F": 32}
"""Bits a channel of Pillow's modes; 8 for all others."""


@dataclass(frozen=True)
class ImageFacts:
    """One image that can be read."""

    name: str
    """Path or name in an LMDB."""
    height: int
    width: int
    kind: str
    """Format, mode and bits a channel, like ``PNG RGB 8 bit``."""
    sha256: str
    """Of the decoded pixels, so that an image is known again in another file format."""


@dataclass
class Findings:
    """What a source holds."""

    images: list[ImageFacts | None] = field(default_factory=list)
    """One for each image of the source; None where it cannot be read."""
    unreadable: list[str] = field(default_factory=list)
    """A message each."""
    seconds: float = 0.0
    """That reading and decoding all took."""
    processes: int = 1

    @property
    def readable(self) -> list[ImageFacts]:
        """The images that can be read."""
        return [image for image in self.images if image is not None]

    @property
    def kinds(self) -> Counter[str]:
        """How many there are of each kind."""
        return Counter(image.kind for image in self.readable)

    @property
    def duplicates(self) -> list[list[str]]:
        """Names of images with the same pixels, group by group."""
        groups: dict[str, list[str]] = defaultdict(list)
        for image in self.readable:
            groups[image.sha256].append(image.name)
        return [names for names in groups.values() if len(names) > 1]

    def smaller_than(self, side: int) -> list[ImageFacts]:
        """The images with a side below a number of pixels."""
        return [image for image in self.readable if min(image.height, image.width) < side]


def inspect_images(reader: ImageReader, workers: int) -> Findings:
    """Read and decode every image, as a training does.

    Args:
        reader: The images.
        workers: Processes; 0 reads in this one.

    Raises:
        CommandFailed: A worker process died.
    """
    findings = Findings()
    started = time.monotonic()
    with WorkerPool(_Inspection(reader.source), workers) as pool:
        for outcome in pool.map(range(len(reader)), "reading"):
            if isinstance(outcome, str):
                findings.unreadable.append(outcome)
            findings.images.append(None if isinstance(outcome, str) else outcome)
        findings.processes = pool.processes
    findings.seconds = time.monotonic() - started
    return findings


def size_mismatches(gt: Findings, lq: Findings, scale: int, may_differ: bool = False) -> list[str]:
    """A line for each pair whose GT image is not its LQ image times the scale, but for what cropping takes away.

    Args:
        gt: Of the GT images.
        lq: Of the LQ images, in their order.
        scale: The factor.
        may_differ: Whether pairs may differ a little, for a model that aligns them.
    """
    return [
        f"{low.name}: {low.width}x{low.height}, times {scale}, does not fit the {high.width}x{high.height} of {high.name}"
        for high, low in zip(gt.images, lq.images, strict=True)
        if high is not None
        and low is not None
        and (high.height // scale, high.width // scale) != (low.height, low.width)
        and not (may_differ and are_near((low.height, low.width), (high.height, high.width), scale))
    ]


@dataclass(frozen=True)
class _Inspection:
    source: ImageSource

    def __call__(self, index: int) -> ImageFacts | str:
        name = self.source.names[index]
        try:
            content = self.source.content(index)
            image, _ = decode_rgb(content, name)
        except OSError as error:
            return f"{name}: cannot be read ({error})"
        except ImageError as error:
            return str(error)
        height, width, _ = image.shape
        return ImageFacts(name, height, width, _kind(content), hashlib.sha256(image.tobytes()).hexdigest())


def _kind(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content)) as image:
            # Pillow has no mode for 16-bit colour PNGs; their header says it.
            depth = content[24] if image.format == "PNG" else _DEPTHS.get(image.mode, 8)
            return f"{image.format} {image.mode.partition(';')[0]} {depth} bit"
    except (OSError, SyntaxError, ValueError):
        return "a format that Pillow does not know"


def ranges(values: Sequence[Any]) -> str:
    """The least and the largest of some values, once where they are equal."""
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"
