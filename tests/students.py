"""A tiny network of every method that restores images by itself, until each method has a case for tests."""

from __future__ import annotations

import torch
from torch import nn

from lightbsr_arch.methods.registry import network

STUDENTS = {
    "LightBSR": {
        "num_feat": 8,
        "num_group": 1,
        "num_block": 1,
        "num_spatial_feat": 2,
        "num_channel_code": 6,
        "num_encoder_feat": 4,
        "layer_scale_init": 0.3,
    },
    "DASR": {"num_feat": 8, "num_group": 1, "num_block": 1, "num_encoder_feat": 4, "queue_size": 16, "reduction": 4},
    "KDSR": {"num_feat": 8, "num_block": 2, "num_encoder_block": 1},
    "CdCL": {"num_feat": 8, "num_group": 1, "num_block": 1, "num_encoder_feat": 4, "layer_scale_init": 0.3},
}
"""Sizes by the network's name."""


def tiny(name: str, scale: int = 4) -> nn.Module:
    """A network in evaluation mode whose every weight counts, with outputs about as bright as its inputs."""
    torch.manual_seed(0)
    net_class = network(name)
    assert net_class is not None
    net = net_class(scale=scale, **STUDENTS[name]).eval()
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if value.is_floating_point() and value.dim() > 1 and "queue" not in key:
                value.normal_(std=value[0].numel() ** -0.5)
            elif value.is_floating_point() and "running" not in key:
                value.add_(0.1 * torch.randn_like(value))
        net.get_submodule("sr").last.weight.mul_(0.2)
    return net
