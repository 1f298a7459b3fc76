"""Between a backward pass and an optimiser's step: gradient accumulation, clipping, and skipping non-finite gradients.

BasicSR's models call ``zero_grad`` and ``step`` themselves; these are replaced on the optimisers of one model.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import torch
from basicsr.utils import get_root_logger
from torch.optim import Optimizer

from lightbsr_arch.errors import OptionError
from lightbsr_model.option_files.declared.kinds import KINDS


class StepControl:
    """Controls the steps of a model's optimisers.

    Args:
        optimizers: All optimisers of a model.
        grad_clip: Maximum norm of an optimiser's gradients, or None.
        scaler: Scaler of the loss, for fp16.
        on_device: Skip steps on the device, without a host sync, if the optimiser supports it (``fused: true``). None: on
            CUDA.
    """

    def __init__(
        self,
        optimizers: list[Optimizer],
        grad_clip: float | None = None,
        scaler: torch.amp.GradScaler | None = None,
        on_device: bool | None = None,
    ) -> None:
        self.grad_clip = float("inf") if grad_clip is None else grad_clip
        self.scaler = scaler
        self.on_device = on_device
        self.skipped: bool | torch.Tensor = False
        """Whether a step of this iteration was skipped because a gradient was not finite; a tensor while only the device
        knows."""
        self._part, self._parts = 0, 1
        for optimizer in optimizers:
            self._take_over(optimizer)

    def begin(self) -> None:
        """Start an iteration."""
        self.skipped = False

    def begin_part(self, part: int, parts: int) -> None:
        """Start one of the parts of an accumulated batch."""
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
            if self.scaler is not None:
                self.scaler.unscale_(optimizer)
            norm = torch.nn.utils.clip_grad_norm_(params, self.grad_clip)
            bad = ~torch.isfinite(norm)
            if self.skipped is not False:  # of several optimisers, those after the first bad one are left out too
                bad = bad | torch.as_tensor(self.skipped, device=bad.device)
            try:
                if self._can_wait(optimizer, params):
                    self.skipped = bad
                    optimizer.grad_scale, optimizer.found_inf = None, bad.float()
                    return step(*args, **kwargs)
                if bool(bad):
                    self.skipped = True
                    return None
                return step(*args, **kwargs)
            finally:
                if self.scaler is not None:
                    self.scaler.update()

        optimizer.zero_grad, optimizer.step = first_zero_grad, last_step

    def _can_wait(self, optimizer: Any, params: list[torch.Tensor]) -> bool:
        on_device = self.on_device if self.on_device is not None else bool(params) and params[0].is_cuda
        # A fused step leaves everything as it is where `found_inf` is 1; that is how torch's GradScaler does it too.
        return on_device and all(group.get("fused") for group in optimizer.param_groups)


def get_optimizer(_model: Any, optim_type: str, params: Any, lr: float, **kwargs: Any) -> Optimizer:
    """Replaces ``BaseModel.get_optimizer``, which knows only Adam (base_model.py:107): any class of torch.optim.

    Raises:
        NotImplementedError: torch has no such optimiser.
        OptionError: It cannot train these networks in BasicSR's loop, or an option is invalid.
    """
    optimizer = getattr(torch.optim, optim_type, None)
    if not (isinstance(optimizer, type) and issubclass(optimizer, Optimizer)):
        raise NotImplementedError(f"train.optim_*.type: torch.optim has no optimiser named {optim_type!r}.")
    if optim_type in _NOT_IN_THIS_LOOP:
        raise OptionError(
            f"train.optim_*.type: {optim_type} {_NOT_IN_THIS_LOOP[optim_type]}: take another, such as Adam."
        )
    params = list(params)
    if not kwargs.get("fused"):
        kwargs.pop("fused", None)  # most do not know the word
    else:
        try:
            return _make_fused(optimizer, params, lr, kwargs)
        except (RuntimeError, TypeError) as error:
            # An older torch on a CPU; the step itself is the same.
            get_root_logger().info(f"train.optim_*.fused: not for this device or optimiser ({error}); taken as false.")
            del kwargs["fused"]
    try:
        return cast(Any, optimizer)(params, lr=lr, **kwargs)
    except (TypeError, ValueError) as error:
        raise OptionError(f"train.optim_*: {optim_type} cannot be made with these options: {error}") from error


_NOT_IN_THIS_LOOP = KINDS["optimiser"].refused


def _make_fused(optimizer: type[Optimizer], params: list[Any], lr: float, kwargs: dict[str, Any]) -> Optimizer:
    if optimizer is not torch.optim.SGD or not kwargs.get("momentum"):
        return cast(Any, optimizer)(params, lr=lr, **kwargs)
    if kwargs.get("dampening"):
        raise TypeError("SGD dampens all but a weight's first step, and its fused step cannot know which that is")
    sgd = torch.optim.SGD(params, lr=lr, **kwargs)
    sgd.register_step_pre_hook(_give_momentum_to_all)
    return sgd


def _give_momentum_to_all(optimizer: Any, _args: Any, _kwargs: Any) -> None:
    """Give weights that are trained for the first time a momentum of zero, which results in the same first step.

    torch's fused step handles the first step of all weights or later steps of all, and fails if some are first trained later
    (in the joint phase). If a first step is skipped on the device, its momentum would be uninitialised memory.
    """
    for group in optimizer.param_groups:
        for value in group["params"]:
            if value.grad is not None and optimizer.state[value].get("momentum_buffer") is None:
                optimizer.state[value]["momentum_buffer"] = torch.zeros_like(value)
