"""Time several implementations in turns, so that other load on the machine affects all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Times of one implementation, in seconds."""

    seconds: tuple[float, ...]
    """One per turn, in order."""

    @property
    def median(self) -> float:
        """Median in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        """Minimum and maximum, in milliseconds."""
        return f"{min(self.seconds) * 1e3:.1f}..{max(self.seconds) * 1e3:.1f} ms"


def in_turns(
    ways: Mapping[str, Callable[[], object]],
    turns: int = 7,
    warm_up: int = 1,
    wait: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Call every implementation once per turn.

    Args:
        ways: The implementations by name.
        turns: How often each is timed.
        warm_up: Number of turns before, not timed.
        wait: Called before each reading of the clock, for devices that work asynchronously.
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
    """How many times as fast the second is: the median over turns, within which the load was the same."""
    return statistics.median(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True))
