"""The costs of a method: parameters, passes, and GMACs, time and memory per image on the current device."""

from __future__ import annotations

import gc
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightbsr_model.evaluation.comparison.methods import NetworkRestoration

_TURNS = 3


class Cost(NamedTuple):
    """Costs of restoring one image."""

    parameters: int
    """Number of learnt parameters used to restore an image, without heads and encoders that only training uses."""
    passes: int
    """How often the network runs: more than once for a diffusion network that restores in several steps."""
    gmacs: float
    """Multiply-accumulates of convolutions and matrix products of all passes, in 10^9."""
    milliseconds: float
    """Median of a few runs after a warm-up run."""
    peak_mib: float | None
    """Peak memory above what was in use before, in MiB; None if the system does not report it."""


def measure_cost(method: NetworkRestoration, size: tuple[int, int], scale: int, device: torch.device) -> Cost:
    """Measure a network, run by its model class, on one image.

    Args:
        method: The network.
        size: Height and width of the LR image.
        scale: Scale factor.
        device: Device of the network.
    """
    generator = torch.Generator().manual_seed(0)
    sample = _sample(size, scale, generator, method.net)
    place = {"set": "cost", "preset": "cost", "image": "cost"}
    with FlopCounterMode(display=False) as counter:
        method.restore(sample, place)
    seconds = []
    for _ in range(_TURNS):
        started = time.perf_counter()
        method.restore(sample, place)
        seconds.append(time.perf_counter() - started)
    with _PeakMemory(device) as peak:
        method.restore(sample, place)
    parameters = _parameters(method, _sample((16, 16), scale, generator, method.net))
    passes = getattr(method.net, "sample_steps", 1)
    return Cost(parameters, passes, counter.get_total_flops() / 2e9, 1e3 * statistics.median(seconds), peak.mib)


def _sample(size: tuple[int, int], scale: int, generator: torch.Generator, net: nn.Module) -> dict[str, Tensor]:
    """An image, and what is known of its degradation; a network may be made for a number of parameters."""
    height, width = size
    kernel = torch.zeros(21, 21)
    kernel[10, 10] = 1
    return {
        "lq": torch.rand(3, height, width, generator=generator),
        "gt": torch.rand(3, scale * height, scale * width, generator=generator),
        "kernel": kernel,
        "noise_level": torch.zeros(()),
        "parameters": torch.zeros(getattr(net, "options", {}).get("prior_channels", 0)),
    }


def _parameters(method: NetworkRestoration, sample: dict[str, Tensor]) -> int:
    """Count the parameters that receive a gradient."""
    learnt = [value for value in method.net.parameters() if value.requires_grad]
    if not learnt:
        return 0
    output = method.restore_with_gradient(sample)
    gradients = torch.autograd.grad(output.float().sum(), learnt, allow_unused=True)
    return sum(value.numel() for value, gradient in zip(learnt, gradients, strict=True) if gradient is not None)


class _PeakMemory:
    """Peak memory of a piece of code above what was in use before."""

    mib: float | None = None

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __enter__(self) -> _PeakMemory:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        else:
            self._can = _reset_peak()
            self._before = _resident("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            self.mib = (torch.cuda.max_memory_allocated(self._device) - self._before) / 2**20
        elif self._can:
            self.mib = (_resident("VmHWM") - self._before) / 2**20


def _reset_peak() -> bool:
    try:
        # Linux: 5 resets the peak of the resident memory.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _resident(name: str) -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith(name)), 0)
