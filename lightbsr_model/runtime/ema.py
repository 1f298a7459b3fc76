"""The averaged copy of a network, including its buffers."""

from __future__ import annotations

from typing import Any

import torch


@torch.no_grad()
def model_ema(model: Any, decay: float | torch.Tensor = 0.999) -> None:
    """Replaces ``BaseModel.model_ema``: average the parameters, and copy the buffers.

    Args:
        model: Its ``net_g_ema`` follows its ``net_g``.
        decay: Weight of the copy's old value. A tensor on the device is not read by the host; if it is 1, the copy keeps
            every bit.

    base_model.py:75 omits the buffers: after 12 steps the copy's BatchNorm still had mean 0 and variance 1, and the copy is
    used for validation.
    """
    net, ema = model.get_bare_model(model.net_g), model.net_g_ema
    averages, values = list(ema.parameters()), [value.detach() for value in net.parameters()]
    if isinstance(decay, torch.Tensor):
        steps = torch._foreach_sub(values, averages)
        torch._foreach_mul_(steps, (1 - decay).float())
        torch._foreach_add_(averages, steps)
    else:
        torch._foreach_lerp_(averages, values, 1 - decay)
    for copied, buffer in zip(ema.buffers(), net.buffers(), strict=True):
        copied.copy_(buffer)
