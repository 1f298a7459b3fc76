"""Adapting a network to the images that it is about to restore."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightbsr_arch.methods.base import Adaptation


def adapt(adaptation: Adaptation, net: nn.Module, lq: Tensor) -> nn.Module:
    """Adapt a network; gradients are available to the adaptation, whatever the caller has switched off.

    Args:
        adaptation: What adapts it.
        net: The network, which stays as it is.
        lq: The images, (N, 3, H, W) in [0, 1].

    Returns:
        The adapted network, in evaluation mode.
    """
    with torch.inference_mode(False), torch.enable_grad():
        return adaptation(net, lq.clone() if lq.is_inference() else lq).eval()
