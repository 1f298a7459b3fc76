"""What mimicked alignment costs beside a plain training of the same network."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from basicsr.models import build_model
from torch.nn import functional as F

from benchmarks.machine import run_here, synchronise
from benchmarks.report import Section
from benchmarks.side_by_side import in_turns, ratio
from lightbsr_arch.layers.registration import register_affine

_NETWORKS = {
    "MSRResNet, 64 channels, 16 blocks": ({"num_feat": 64, "num_block": 16}, 64),
    "MSRResNet, 16 channels, 2 blocks": ({"num_feat": 16, "num_block": 2}, 16),
}
"""Arguments of the network, and channels of the auxiliary network."""


def _model(network: dict[str, Any], channels: int, device: torch.device, **train: Any) -> Any:
    torch.manual_seed(0)
    return build_model(
        {
            "model_type": "MimickedAlignmentModel" if train else "SRModel",
            **run_here(device),
            "network_g": {"type": "MSRResNet", "upscale": 4, **network},
            "network_mim": {"type": "MimicNet", "num_feat": channels},
            "datasets": {"train": {"scale": 4}},
            "train": {
                "total_iter": 10**6,
                "optim_g": {"type": "Adam", "lr": 1e-3},
                "scheduler": {"type": "MultiStepLR", "milestones": [10**6]},
                "pixel_opt": {"type": "L1Loss"},
                **train,
            },
        }
    )


def measure(device: torch.device, turns: int, count: int, patch: int) -> Section:
    """Time training iterations of a network alone and with mimicked alignment, in turns.

    Args:
        device: Where.
        turns: How often.
        count: Samples in a batch.
        patch: Side of an LR patch.
    """
    section = Section(
        "Mimicked alignment beside plain training",
        f"A training iteration on a batch of {count} samples ({patch}x{patch} LR patches), already in host memory. "
        "`this / plain`: how many times the plain iteration's time; the parts are timed separately.",
        ("network", "way", "ms", "spread", "this / plain"),
    )
    coarse = torch.rand(count, 3, patch, patch)
    gt = F.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1)
    batch = {"lq": F.avg_pool2d(gt.roll((4, 8), (2, 3)), 4), "gt": gt}
    losses = {
        "align_opt": {"type": "FlowAlignedL1Loss"},
        "low_pass_opt": {"type": "LowPassL1Loss", "loss_weight": 0.01},
    }
    for name, (network, channels) in _NETWORKS.items():
        mimicked = _model(network, channels, device, **losses)
        copying = _model(network, channels, device, **losses, residual={})
        ways: dict[str, Callable[[], object]] = {
            "plain": functools.partial(_step, _model(network, channels, device), batch),
            "mimicked": functools.partial(_step, mimicked, batch),
            "mimicked, with a residual": functools.partial(_step, copying, batch),
            "part: the auxiliary network's image": mimicked.mimic,
            "part: registration": lambda model=mimicked: register_affine(model.lq, model.lq),
        }
        times = in_turns(ways, turns, wait=synchronise(device))
        for way, timing in times.items():
            section.rows.append([name, way, timing.median * 1e3, timing.spread, ratio(timing, times["plain"])])
    return section


def _step(model: Any, batch: dict[str, torch.Tensor]) -> None:
    model.feed_data(batch)
    model.optimize_parameters(1)
