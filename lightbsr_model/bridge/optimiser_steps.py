"""What happens between a backward pass and an optimiser's step: accumulation, clipping, and no step on garbage.

BasicSR's models call ``zero_grad`` and ``step`` themselves; these are what is replaced, on the optimisers of one model.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import torch
from torch.optim import Optimizer


class StepControl:
    """Controls the steps of a model's optimisers.

    Args:
        optimizers: All of a model's.
        grad_clip: Largest norm of an optimiser's gradients, or None.
    """

    def __init__(self, optimizers: list[Optimizer], grad_clip: float | None = None) -> None:
        self.grad_clip = float("inf") if grad_clip is None else grad_clip
        self.skipped = False
        """Whether a step of this iteration was left out, since a gradient was not finite."""
        self._part, self._parts = 0, 1
        for optimizer in optimizers:
            self._take_over(optimizer)

    def begin(self) -> None:
        """Start an iteration."""
        self.skipped = False

    def begin_part(self, part: int, parts: int) -> None:
        """Start one of the parts of a batch that make one step together."""
        self._part, self._parts = part, parts

    def _take_over(self, optimizer: Any) -> None:
        zero_grad, step = optimizer.zero_grad, optimizer.step

        @functools.wraps(zero_grad)
        def first_zero_grad(*args: Any, **kwargs: Any) -> None:
            if self._part == 0:
                zero_grad(*args, **kwargs)

        # functools.wraps keeps the mark by which the schedulers know the optimiser's own step.
        @functools.wraps(step)
        def last_step(*args: Any, **kwargs: Any) -> Any:
            if self._part < self._parts - 1:
                return None
            params = [value for group in optimizer.param_groups for value in group["params"] if value.grad is not None]
            if self._parts > 1:
                torch._foreach_div_([value.grad for value in params], float(self._parts))
            norm = torch.nn.utils.clip_grad_norm_(params, self.grad_clip)
            if not bool(torch.isfinite(norm)):
                self.skipped = True
                return None
            return step(*args, **kwargs)

        optimizer.zero_grad, optimizer.step = first_zero_grad, last_step


def get_optimizer(_model: Any, optim_type: str, params: Any, lr: float, **kwargs: Any) -> Optimizer:
    """Stand in for ``BaseModel.get_optimizer``, which knows Adam alone (base_model.py:107): any class of torch.optim.

    Raises:
        NotImplementedError: torch has no such optimiser.
    """
    optimizer = getattr(torch.optim, optim_type, None)
    if not (isinstance(optimizer, type) and issubclass(optimizer, Optimizer)):
        raise NotImplementedError(f"train.optim_*.type: torch.optim has no optimiser named {optim_type!r}.")
    return cast(Any, optimizer)(params, lr=lr, **kwargs)
