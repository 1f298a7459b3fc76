"""Time several ways of doing one thing, in turns, so that a busy machine is busy for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Times of one way, in seconds."""

    seconds: tuple[float, ...]
    """One a turn, in the order of the turns."""

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        """Least and largest, in milliseconds."""
        return f"{min(self.seconds) * 1e3:.1f}..{max(self.seconds) * 1e3:.1f} ms"


def in_turns(
    ways: Mapping[str, Callable[[], object]],
    turns: int = 7,
    warm_up: int = 1,
    wait: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Call every way once a turn.

    Args:
        ways: By name.
        turns: How often each is timed.
        warm_up: Turns before, not timed.
        wait: Called before each look at the clock; for a device that works on by itself.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-warm_up, turns):
        for name, way in ways.items():
            wait()
            started = time.perf_counter()
            way()
            wait()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def ratio(slow: Timing, fast: Timing) -> float:
    """How many times as fast the second is: the median over turns, each of which had the same weather."""
    return statistics.median(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True))
