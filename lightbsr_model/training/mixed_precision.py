"""Mixed precision of a training: what runs in 16 bits, and the scaling that fp16 needs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_model.training.compilation import compiler_errors_explained

AMP_CHOICES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Values of ``train.amp``, and what they compute in."""


class MixedPrecision:
    """What ``train.amp`` asks for.

    Args:
        choice: ``off``: all in fp32. ``bf16``: convolutions and products in bfloat16, which has fp32's range. ``fp16``: in
            float16, whose range is small: the loss is scaled, by a factor that finds itself.
        device: Of the training.

    Raises:
        OptionError: Another choice.
    """

    def __init__(self, choice: Any, device: torch.device) -> None:
        # YAML takes a bare `off` for false.
        choice = "off" if choice in (None, False) else choice
        if choice not in AMP_CHOICES:
            raise OptionError("train.amp", f"expected {', '.join(AMP_CHOICES)}, got {choice!r}.")
        self._device = device
        self._dtype = AMP_CHOICES[choice]
        self.scaler = torch.amp.GradScaler(device.type) if choice == "fp16" else None
        """Of the loss, for fp16 alone. A part of the training state."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Where the networks run."""
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss, scaled where there is a scaler."""
        scaled: Tensor = loss if self.scaler is None else self.scaler.scale(loss)
        with compiler_errors_explained():  # a compiled pass loads its backward pass here
            scaled.backward()
