"""Small networks that restore images by themselves, with outputs about as bright as their inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from support.method_cases import ALL, CASES

STUDENTS = [case.network for case in ALL if case.is_student]
"""Their names."""
REPRESENTING = [name for name in STUDENTS if CASES[name].represents]
"""Those that estimate the degradation."""


def tiny(name: str, scale: int = 4, **arguments: Any) -> nn.Module:
    """A network in evaluation mode whose every weight counts."""
    blocks = {"layer_scale_init": 0.3} if name in ("LightBSR", "CdCL") else {}
    net: nn.Module = CASES[name].build(scale, **blocks, **arguments).eval()
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if value.is_floating_point() and value.dim() > 1 and "queue" not in key:
                value.normal_(std=value[0].numel() ** -0.5)
            elif value.is_floating_point() and "running" not in key and key != "schedule":
                value.add_(0.1 * torch.randn_like(value))
        body = {"ResidualShiftUNet": "unet"}.get(name, "sr")
        net.get_submodule(body).last.weight.mul_(0.2)
        if name == "MRDA":  # at this size its code would hardly matter
            net.get_submodule("extractor.mlp.2").weight.mul_(10)
    return net
