"""Progress of the demo: the current step, how far it is, and about how long the rest will take."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

_REDRAW_SECONDS = 0.5
"""On a terminal, where the last line is redrawn."""

_LINE_SECONDS = 10.0
"""Elsewhere, where each report is a separate line."""

_PRIOR_SECONDS = 5.0
"""Weight of the assumption that this machine is as fast as an idle one: the first measurements are unreliable."""


@dataclass(frozen=True)
class Stage:
    """A part of the demo, with the seconds that it takes on an idle machine."""

    title: str
    start: float
    """Seconds until its first iteration, or, without iterations, until its end."""
    phases: tuple[tuple[int, float], ...] = ()
    """Number of iterations of each training phase, and the seconds that they take together."""

    @property
    def iterations(self) -> int:
        """Number of iterations of all phases."""
        return sum(count for count, _ in self.phases)

    @property
    def total(self) -> float:
        """Seconds of the whole stage."""
        return self.start + sum(seconds for _, seconds in self.phases)

    def until(self, iteration: int) -> float:
        """Seconds until an iteration is done."""
        passed, left = self.start, iteration
        for count, seconds in self.phases:
            passed += seconds * min(left, count) / count
            left -= min(left, count)
        return passed


class DemoProgress:
    """Reports a sequence of stages from a separate thread, so that a stage without output is reported too.

    Used as a context; a stage is announced when it begins. The remaining time assumes that the rest is slower than on an
    idle machine by the same factor as the part already done.

    Args:
        stages: All of them, in order.
        file: Where reports go; standard output by default. On a terminal the last line is redrawn.
        clock: Returns seconds since any fixed time.
    """

    def __init__(
        self, stages: Sequence[Stage], file: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stages, self._file, self._clock = stages, file or sys.stdout, clock
        self._on_terminal = self._file.isatty()
        self._number = -1
        self._iteration, self._losses = 0, ""
        self._began = self._stage_began = clock()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._report_until_the_end, daemon=True)

    def __enter__(self) -> DemoProgress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._on_terminal:
            self._write("\r\x1b[K")

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    def begin_stage(self) -> None:
        """Announce the next stage."""
        with self._lock:
            self._number += 1
            self._iteration, self._losses = 0, ""
            self._stage_began = self._clock()
            title = f"[{self._number + 1}/{len(self._stages)}] {self._stages[self._number].title}"
            self._write(f"{chr(13) + chr(27) + '[K' if self._on_terminal else ''}{title}\n")

    def show(self, iteration: int, losses: str) -> None:
        """Record an iteration of the current stage for the next report."""
        with self._lock:
            self._iteration, self._losses = iteration, losses

    def report(self) -> str:
        """What has been done, and the remaining time, in one line."""
        with self._lock:
            stage, elapsed = self._stages[self._number], self.elapsed
            in_stage = self._clock() - self._stage_began
            before = sum(one.total for one in self._stages[: self._number])
            if self._iteration:
                done = before + stage.until(self._iteration)
                what = f"iteration {self._iteration}/{stage.iterations}"
            else:
                done = before + min(in_stage, stage.start)
                what = f"{'starting' if stage.iterations else 'running'}, {in_stage:.0f} s"
            total = sum(one.total for one in self._stages)
            left = (total - done) * (elapsed + _PRIOR_SECONDS) / (done + _PRIOR_SECONDS)
            return f"  {what}, {_duration(left)} left  {self._losses}".rstrip()

    def _report_until_the_end(self) -> None:
        while not self._ended.wait(_REDRAW_SECONDS if self._on_terminal else _LINE_SECONDS):
            if self._number < 0:
                continue
            line = self.report()
            if self._on_terminal:
                self._write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
            else:
                self._write(f"{line}\n")

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()


def _duration(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {max(seconds, 1):.0f} s"
