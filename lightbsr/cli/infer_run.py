"""Restore a list of images; the next one is read and the last one written while one is computed."""

from __future__ import annotations

import os
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lightbsr.cli.infer_files import Job
from lightbsr_arch.errors import ImageError
from lightbsr_arch.inference.comparison import SHOWN_SIDE, STRENGTHS, eight_bits, write_comparison
from lightbsr_arch.inference.image_files import DecodedImage, read_picture
from lightbsr_arch.inference.image_writing import check_fit, write_picture
from lightbsr_arch.inference.input_files import read_file, read_standard_input
from lightbsr_arch.inference.memory import is_out_of_memory
from lightbsr_arch.inference.resizing import shrink
from lightbsr_arch.inference.side_by_side import Panel
from lightbsr_arch.inference.upscaler import Upscaler

DEFAULT_QUALITY = 95
"""Of JPEG and WebP."""

_ON_DISK = 1 << 30
"""A result of more bytes is put together in a file instead of the memory."""

_ALONE = 256 << 20
"""A result of more bytes is computed only when the one before is written."""

_FAILURES = (OSError, MemoryError, RuntimeError, ValueError, ArithmeticError, struct.error, cv2.error)
"""What may go wrong with an image; the others are done all the same."""


@dataclass(frozen=True)
class Writing:
    """How results are written."""

    quality: int | None
    """Of JPEG and WebP; None is DEFAULT_QUALITY, and keeps lossless WebP lossless."""
    overwrite: bool
    compare: bool
    """Also write an image and a page that compare with bicubic interpolation."""
    stream: bool


@dataclass
class Report:
    """What has become of the images."""

    done: list[str] = field(default_factory=list)
    """Names of those that were restored."""
    skipped: list[str] = field(default_factory=list)
    """Names of those whose result was there."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Names and reasons."""


@dataclass(frozen=True)
class _Result:
    """What the writer needs."""

    job: Job
    picture: DecodedImage
    pixels: NDArray[Any]
    line: str
    notes: list[str]
    started: float
    strengths: list[Panel]
    """The middle of the image at several strengths, for the comparison."""


def restore_all(
    jobs: Sequence[Job], upscaler: Upscaler, writing: Writing, show_degradation: bool, report: Report
) -> None:
    """Restore images, print a line on each, and note in the report what has become of them.

    Args:
        jobs: The images.
        upscaler: Restores them.
        writing: How results are written.
        show_degradation: Print what the encoder sees.
        report: Filled while images are restored, so that it is right when this is stopped.
    """
    ready = []
    for job in jobs:
        if not writing.stream and not writing.overwrite and os.path.lexists(job.target):
            report.skipped.append(str(job.found))
            print(f"{job.found}: skipped, {job.target} is there")
        else:
            ready.append(job)
    lines = sys.stderr if writing.stream else sys.stdout
    with (
        ThreadPoolExecutor(1, "reader") as reader,
        ThreadPoolExecutor(1, "writer") as writer,
        tqdm(total=len(ready), unit="picture", disable=not sys.stderr.isatty(), bar_format=_BAR, delay=0.5) as bar,
    ):
        loop = _Loop(upscaler, writing, show_degradation, report, writer, bar, lambda text: bar.write(text, file=lines))
        upcoming = iter([*ready[1:], None])
        reading: Future[DecodedImage] | None = reader.submit(_read, ready[0], upscaler) if ready else None
        try:
            for job in ready:
                current, following = reading, next(upcoming)
                with loop.failures_of(job):
                    assert current is not None
                    picture = current.result()
                # Behind the result: one image is read ahead, no more.
                reading = None if following is None else reader.submit(_read, following, upscaler)
                if current is not None and current.exception() is None:
                    with loop.failures_of(job):
                        loop.restore(job, picture)
        finally:  # when it is stopped too: what is computed is written and counted
            loop.wait_for_writer()


_BAR = "{percentage:3.0f}% |{bar}| {n:.1f} of {total_fmt} images, {elapsed} gone, {remaining} left"


def _read(job: Job, upscaler: Upscaler) -> DecodedImage:
    picture = read_picture(read_standard_input() if job.found.path is None else read_file(job.found.path))
    height, width = (
        max(1, round(side / upscaler.downscale_first)) * upscaler.scale for side in picture.pixels.shape[:2]
    )
    channels = 1 if picture.pixels.ndim == 2 else picture.pixels.shape[2]
    check_fit(job.target.suffix.lower(), width, height, alpha=channels in (2, 4))
    return picture


class _Loop:
    """The part that stands still between reading and writing."""

    def __init__(
        self,
        upscaler: Upscaler,
        writing: Writing,
        show_degradation: bool,
        report: Report,
        writer: ThreadPoolExecutor,
        bar: Any,
        say: Callable[[str], None],
    ) -> None:
        self.upscaler, self.writing, self.show_degradation = upscaler, writing, show_degradation
        self.report, self.writer, self.bar, self.say = report, writer, bar, say
        self.finished = 0
        self.pending: tuple[_Result, Future[list[str]]] | None = None

    @contextmanager
    def failures_of(self, job: Job) -> Iterator[None]:
        """Note the failure of an image, and continue."""
        try:
            yield
        except _FAILURES as error:
            reason = _reason(error)
            self.report.failed.append((str(job.found), reason))
            self.say(f"{job.found}: failed: {reason}")
            self._advance(job)

    def restore(self, job: Job, picture: DecodedImage) -> None:
        """Compute one, and leave it to the writer."""
        started = time.monotonic()
        growth = (self.upscaler.scale / self.upscaler.downscale_first) ** 2
        if picture.pixels.nbytes * growth > _ALONE:
            self.wait_for_writer()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pixels = self.upscaler.upscale_array(picture.pixels, self._progress, self._canvas_beside(job.target))
            values = self.upscaler.read_degradation(picture.pixels) if self.show_degradation else {}
            strengths = self._strengths(picture.pixels, pixels) if self.writing.compare else []
        notes = [*picture.notes, *(str(warning.message) for warning in caught if warning.category is UserWarning)]
        height, width = pixels.shape[:2]
        line = f"{picture.pixels.shape[1]}x{picture.pixels.shape[0]} to {width}x{height}"
        if values and self.upscaler.probe is not None:
            line += f", {self.upscaler.probe.describe(values)}"
        self.wait_for_writer()
        result = _Result(job, picture, pixels, line, notes, started, strengths)
        self.pending = (result, self.writer.submit(self._write, result))

    def wait_for_writer(self) -> None:
        """Wait until the last result is on the disk, and report it."""
        if self.pending is None:
            return
        result, future = self.pending
        self.pending = None
        job = result.job
        with self.failures_of(job):
            notes = [*result.notes, *future.result()]
            self.report.done.append(str(job.found))
            target = "standard output" if self.writing.stream else str(job.target)
            told = f" ({'; '.join(notes)})" if notes else ""
            self.say(f"{job.found} -> {target}: {result.line}, {time.monotonic() - result.started:.1f} s{told}")
            self._advance(job)

    def _write(self, result: _Result) -> list[str]:
        if self.writing.stream:
            return _to_standard_output(result, self.writing)
        job, picture, target = result.job, result.picture, result.job.target
        if self.writing.compare:
            shrunk = self.upscaler.downscale_first
            lq = _as_seen(picture.pixels, shrunk)
            picture_file, page = (target.with_name(f"{target.stem}_compare{end}") for end in (".png", ".html"))
            for file in (picture_file, page):
                if file.exists() and not self.writing.overwrite:
                    raise FileExistsError(f"{file} is there already; --overwrite replaces it")
            write_comparison(picture_file, page, job.target.name, lq, result.pixels, result.strengths)
        return _write_result(target, result, self.writing, self.writing.overwrite)

    def _strengths(self, lq: NDArray[Any], restored: NDArray[Any]) -> list[Panel]:
        upscaler = self.upscaler
        if not upscaler.can_be_steered or upscaler.adaptation is not None:
            return []
        at_full = restored if upscaler.strength == 1 else None
        images = upscaler.at_strengths(lq, STRENGTHS, SHOWN_SIDE // upscaler.scale, at_full)
        return [Panel(eight_bits(image), f"strength {one:g}") for one, image in zip(STRENGTHS, images, strict=True)]

    def _canvas_beside(self, target: Path) -> Callable[..., NDArray[Any]]:
        def make(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            if size <= _ON_DISK or self.writing.stream:
                return np.empty(shape, dtype=dtype)
            target.parent.mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(dir=target.parent)  # noqa: SIM115 - it is gone when the array is
            if hasattr(os, "posix_fallocate"):  # a disk that is full says so here, not in the middle of the image
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype=dtype, mode="r+" if hasattr(os, "posix_fallocate") else "w+", shape=shape)

        return make

    def _progress(self, share: float) -> None:
        self.bar.n = self.finished + min(share, 0.99)
        self.bar.refresh()

    def _advance(self, job: Job) -> None:
        self.finished += 1
        self.bar.n = self.finished
        self.bar.refresh()


def _as_seen(pixels: NDArray[Any], shrunk: float) -> NDArray[Any]:
    """The image as the network saw it."""
    if shrunk == 1:
        return pixels
    return shrink(pixels[:, :, None] if pixels.ndim == 2 else pixels, shrunk)


def _write_result(path: Path, result: _Result, writing: Writing, overwrite: bool) -> list[str]:
    picture = result.picture
    return write_picture(
        path,
        result.pixels,
        picture.profile,
        picture.exif,
        DEFAULT_QUALITY if writing.quality is None else writing.quality,
        overwrite,
        picture.resolution,
        picture.lossless and writing.quality is None,
    )


def _to_standard_output(result: _Result, writing: Writing) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"result{result.job.target.suffix}"
        notes = _write_result(path, result, writing, overwrite=False)
        sys.stdout.buffer.write(path.read_bytes())
        sys.stdout.buffer.flush()
    return notes


def _reason(error: BaseException) -> str:
    """One line."""
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    words = str(error).partition("\n")[0]
    if is_out_of_memory(error):
        return f"memory does not suffice ({words}); --tile takes smaller parts, --downscale-first a smaller image"
    return words or type(error).__name__
