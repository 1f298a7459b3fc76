"""What several test modules share."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.logger import initialized_logger

import lightbsr
from lightbsr_arch import LightBSR

ROOT = Path(__file__).parents[2]

TINY = {
    "num_feat": 8,
    "num_group": 1,
    "num_block": 2,
    "num_spatial_feat": 2,
    "num_channel_code": 6,
    "num_encoder_feat": 4,
}
"""Sizes of a network that trains in milliseconds."""


def assert_close_to_reference(actual: torch.Tensor, reference: torch.Tensor) -> None:
    """The golden tolerance for network outputs."""
    assert actual.shape == reference.shape
    assert (actual - reference).abs().max() <= 2e-4 * reference.std()


def tiny_student(scale: int = 4, **sizes: Any) -> LightBSR:
    """A student whose every weight counts, with outputs about as bright as its inputs."""
    torch.manual_seed(0)
    net = LightBSR(scale=scale, layer_scale_init=0.3, **{**TINY, **sizes}).eval()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point() and value.dim() == 1:
                value.add_(0.1 * torch.randn_like(value))
        net.sr.last.weight.mul_(0.2)
    return net


def run_command(capfd: Any, *arguments: object) -> tuple[int, str]:
    """Run a ``lightbsr`` command in this process; the exit status, and all that was said."""
    status = lightbsr.main([str(argument) for argument in arguments])
    told = capfd.readouterr()
    assert "Traceback" not in told.err
    return status, told.out + told.err


def forget_logs() -> None:
    """Let BasicSR open its log anew, as in a new process: it does so once, on the stderr and the file of that moment."""
    initialized_logger.clear()
    logging.getLogger("basicsr").handlers.clear()


class Bomb:
    """Pickled, it makes whoever loads it with code touch a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)
