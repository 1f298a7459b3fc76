"""The averaged copy of a network, its buffers included."""

from __future__ import annotations

from typing import Any

import torch


@torch.no_grad()
def model_ema(model: Any, decay: float = 0.999) -> None:
    """Stand in for ``BaseModel.model_ema``: average the parameters, and copy the buffers.

    base_model.py:75 forgets the buffers: after 12 steps the copy's BatchNorm still had mean 0 and variance 1, and the
    copy is what validates.
    """
    net, ema = model.get_bare_model(model.net_g), model.net_g_ema
    torch._foreach_lerp_(list(ema.parameters()), [value.detach() for value in net.parameters()], 1 - decay)
    for copied, buffer in zip(ema.buffers(), net.buffers(), strict=True):
        copied.copy_(buffer)
