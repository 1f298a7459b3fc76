"""Learning rates of the two phases: LightBSR's, and those of the methods beside it."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightbsr_arch.errors import OptionError


class TwoPhaseLR(LRScheduler):
    """A rate for the encoder phase, constant or falling in steps, and a subclass's for the joint phase.

    Args:
        optimizer: Whose rates are set; its own rate is the joint phase's.
        encoder_iter: Length of the encoder phase in iterations.
        total_iter: Length of both phases together.
        encoder_lr: Rate of the encoder phase, if it is another.
        encoder_step: Iterations after which the encoder phase's rate falls, again and again; none keeps it.
        encoder_gamma: What it is multiplied by then.
        last_epoch: Iterations done, less one; -1 starts anew.

    Raises:
        OptionError: Values that do not fit, by name.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        encoder_iter: int,
        total_iter: int,
        encoder_lr: float | None = None,
        encoder_step: int | None = None,
        encoder_gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        if encoder_step is not None and encoder_step < 1:
            raise OptionError("scheduler.encoder_step", f"expected 1 or more, got {encoder_step}.")
        self.encoder_iter = encoder_iter
        self.total_iter = total_iter
        self.encoder_lr = encoder_lr
        self.encoder_step = encoder_step
        self.encoder_gamma = encoder_gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the iteration that comes next, a closed form of its number."""
        return [self._rate(float(base)) for base in self.base_lrs]

    def _rate(self, base: float) -> float:
        if self.last_epoch >= self.encoder_iter:
            return self.joint_rate(base, self.last_epoch - self.encoder_iter)
        start = base if self.encoder_lr is None else self.encoder_lr
        return start * self.encoder_gamma ** (self.last_epoch // self.encoder_step if self.encoder_step else 0)

    def joint_rate(self, base: float, iteration: int) -> float:
        """The rate of an iteration of the joint phase, counted from 0."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Only where the run stands: the lengths come from the options, so that a resumed run may be made longer."""
        return {key: self.__dict__[key] for key in ("last_epoch", "_step_count", "base_lrs", "_last_lr")}


class TwoPhaseCosineLR(TwoPhaseLR):
    """In the joint phase a linear warm-up, then a cosine down to ``eta_min`` (LightBSR, section 6; arXiv 2408.05440).

    The rate changes every ``step_iter`` iterations: 970 is an epoch of the published recipe, 1 a smooth curve. The first
    warm-up step already has a share of the full rate (4e-5 of 2e-4 with five steps), the last iterations have ``eta_min``.

    Args:
        optimizer, encoder_iter, total_iter, encoder_lr, encoder_step, encoder_gamma, last_epoch: As in
            :class:`TwoPhaseLR`.
        warmup_iter: Length of the warm-up in iterations.
        step_iter: Iterations between two changes of the rate.
        eta_min: The last rate.

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
        encoder_lr: float | None = None,
        encoder_step: int | None = None,
        encoder_gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        if step_iter < 1:
            raise OptionError("scheduler.step_iter", f"expected 1 or more, got {step_iter}.")
        if not 0 <= warmup_iter <= max(total_iter - encoder_iter, 0):
            raise OptionError(
                "scheduler.warmup_iter",
                f"expected 0 to the joint phase's length, total_iter - encoder_iter = "
                f"{total_iter - encoder_iter}, got {warmup_iter}.",
            )
        self.warmup_iter = warmup_iter
        self.step_iter = step_iter
        self.eta_min = eta_min
        super().__init__(optimizer, encoder_iter, total_iter, encoder_lr, encoder_step, encoder_gamma, last_epoch)

    def joint_rate(self, base: float, iteration: int) -> float:
        """Warm-up, then cosine."""
        if iteration < self.warmup_iter:
            reached = (iteration // self.step_iter + 1) * self.step_iter
            return base * min(reached / self.warmup_iter, 1.0)
        span = math.ceil((self.total_iter - self.encoder_iter - self.warmup_iter) / self.step_iter)
        step = min((iteration - self.warmup_iter) // self.step_iter + 1, span)
        return self.eta_min + 0.5 * (base - self.eta_min) * (1 + math.cos(math.pi * step / max(span, 1)))


class TwoPhaseStepLR(TwoPhaseLR):
    """In the joint phase too the rate falls in steps (arXiv 2104.00416, 2211.16928).

    Args:
        optimizer, encoder_iter, total_iter, encoder_lr, encoder_step, encoder_gamma, last_epoch: As in
            :class:`TwoPhaseLR`.
        joint_step: Iterations of the joint phase after which its rate falls, again and again; none keeps it.
        joint_gamma: What it is multiplied by then.

    Raises:
        OptionError: Values that do not fit, by name.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        encoder_iter: int,
        total_iter: int,
        joint_step: int | None = None,
        joint_gamma: float = 0.5,
        encoder_lr: float | None = None,
        encoder_step: int | None = None,
        encoder_gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        if joint_step is not None and joint_step < 1:
            raise OptionError("scheduler.joint_step", f"expected 1 or more, got {joint_step}.")
        self.joint_step = joint_step
        self.joint_gamma = joint_gamma
        super().__init__(optimizer, encoder_iter, total_iter, encoder_lr, encoder_step, encoder_gamma, last_epoch)

    def joint_rate(self, base: float, iteration: int) -> float:
        """The base rate, less with each step."""
        return base * self.joint_gamma ** (iteration // self.joint_step if self.joint_step else 0)


TWO_PHASE_SCHEDULES = {"TwoPhaseCosineLR": TwoPhaseCosineLR, "TwoPhaseStepLR": TwoPhaseStepLR}
"""By the names that option files use."""
