"""The published learning rate: constant, then a linear warm-up, then a cosine (LightBSR, section 6)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightbsr_model.errors import OptionError


class TwoPhaseCosineLR(LRScheduler):
    """Constant in the encoder phase; in the joint phase a linear warm-up, then a cosine down to ``eta_min``.

    The rate changes every ``step_iter`` iterations: 970 is an epoch of the published recipe, 1 a smooth curve. The first
    warm-up step already has a share of the full rate (4e-5 of 2e-4 with five steps), the last iterations have ``eta_min``.

    Args:
        optimizer: Whose rates are set.
        encoder_iter: Length of the encoder phase in iterations.
        total_iter: Length of both phases together.
        warmup_iter: Length of the warm-up in iterations.
        step_iter: Iterations between two changes of the rate.
        eta_min: The last rate.
        last_epoch: Iterations done, less one; -1 starts anew.

    Raises:
        OptionError: Lengths that do not fit into each other, by name.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        encoder_iter: int,
        total_iter: int,
        warmup_iter: int = 0,
        step_iter: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if step_iter < 1:
            raise OptionError(f"scheduler.step_iter: expected 1 or more, got {step_iter}.")
        if not 0 <= warmup_iter <= max(total_iter - encoder_iter, 0):
            raise OptionError(
                f"scheduler.warmup_iter: expected 0 to the joint phase's length, total_iter - encoder_iter = "
                f"{total_iter - encoder_iter}, got {warmup_iter}."
            )
        self.encoder_iter = encoder_iter
        self.total_iter = total_iter
        self.warmup_iter = warmup_iter
        self.step_iter = step_iter
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the iteration that comes next, a closed form of its number."""
        return [self._rate(float(base)) for base in self.base_lrs]

    def _rate(self, base: float) -> float:
        joint = self.last_epoch - self.encoder_iter
        if joint < 0:
            return base
        if joint < self.warmup_iter:
            reached = (joint // self.step_iter + 1) * self.step_iter
            return base * min(reached / self.warmup_iter, 1.0)
        span = math.ceil((self.total_iter - self.encoder_iter - self.warmup_iter) / self.step_iter)
        step = min((joint - self.warmup_iter) // self.step_iter + 1, span)
        return self.eta_min + 0.5 * (base - self.eta_min) * (1 + math.cos(math.pi * step / max(span, 1)))

    def state_dict(self) -> dict[str, Any]:
        """Only where the run stands: the lengths come from the options, so that a resumed run may be made longer."""
        return {key: self.__dict__[key] for key in ("last_epoch", "_step_count", "base_lrs", "_last_lr")}
