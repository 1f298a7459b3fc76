"""Iterations whose loss or gradient is not finite: their steps are skipped, and too many in a row end the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from basicsr.utils import get_root_logger

from lightbsr_arch.errors import CommandFailed


class NotFinite(CommandFailed):
    """Losses or gradients were not finite in too many consecutive iterations."""


@dataclass
class Iteration:
    """An iteration, and what to report of it if its step was skipped."""

    number: int
    losses: Mapping[str, Any]
    skipped: bool | torch.Tensor
    """A tensor while only the device knows."""
    rates: Sequence[float]
    names: Sequence[str]


class SkippedIterations:
    """Counts and reports skipped iterations.

    Args:
        most_in_a_row: Number of consecutive ones at which the run ends.
        scaler: The gradient scaler of a training in fp16.
    """

    def __init__(self, most_in_a_row: int, scaler: Any) -> None:
        self.most_in_a_row, self.scaler = most_in_a_row, scaler
        self.in_a_row = 0
        self.total = 0
        self.unchecked: list[Iteration] = []

    def check(self) -> dict[str, float]:
        """Check the iterations since the last check, which waits for the device.

        Returns:
            The losses of the last one.

        Raises:
            NotFinite: Too many consecutive ones were skipped.
        """
        flags = [torch.as_tensor(iteration.skipped) for iteration in self.unchecked]
        all_skipped = torch.stack([flag.to(flags[-1].device) for flag in flags]).tolist()
        for iteration, skipped in zip(self.unchecked, all_skipped, strict=True):
            if not skipped:
                self.in_a_row = 0
            elif not self._fp16_scale_is_falling(iteration):
                self._report(iteration)
        losses = {key: float(value) for key, value in self.unchecked[-1].losses.items()}
        self.unchecked.clear()
        return losses

    def _fp16_scale_is_falling(self, iteration: Iteration) -> bool:
        """Whether the loss is finite and its scale can still be reduced: how fp16 finds the largest scale that fits."""
        if self.scaler is None or self.scaler.get_scale() < 1:
            return False
        return all(math.isfinite(value) for value in iteration.losses.values())

    def _report(self, iteration: Iteration) -> None:
        self.in_a_row += 1
        self.total += 1
        terms = ", ".join(f"{key} {float(value):.4g}" for key, value in iteration.losses.items())
        rates = ", ".join(f"{rate:.3g}" for rate in iteration.rates)
        names = ", ".join(iteration.names) or "without names"
        details = f"{terms}; learning rate {rates}; images {names}"
        message = f"iteration {iteration.number}: a loss or gradient is not finite ({details})"
        if self.in_a_row >= self.most_in_a_row:
            raise NotFinite(
                f"{message}. This is number {self.in_a_row} in a row (train.max_nonfinite). Check these images, "
                "lower the learning rate or set train.grad_clip, and resume with --auto_resume."
            )
        get_root_logger().warning(f"Skipped {message}; {self.total} iterations skipped so far.")
