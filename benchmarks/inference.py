"""Inference of the student: folded, in channels-last layout, against the plain formulation.

Peak memory is read from Linux's ``/proc``.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

from benchmarks import plain
from benchmarks.machine import Machine, flops, synchronise
from benchmarks.report import Section
from benchmarks.side_by_side import in_turns, ratio
from benchmarks.study.methods import NETWORK_SIZES
from lightbsr_arch import LightBSR
from lightbsr_arch.inference import InferenceLightBSR

_PEAK = """
import torch
from pathlib import Path
from lightbsr_arch import LightBSR
from lightbsr_arch.inference import InferenceLightBSR
from benchmarks import plain

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

torch.set_num_threads({threads})
torch.manual_seed(0)
net = LightBSR(scale=4).eval()
run = {way}
lq = torch.rand(1, 3, {height}, {width})
with torch.inference_mode():
    run(torch.rand(1, 3, 16, 16))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = status("VmRSS")
    run(lq)
print(status("VmHWM") - before)
"""

_WAYS = {
    "plain fp32": "lambda lq, w=net.state_dict(): plain.super_resolve(lq, w, 4)",
    "LightBSR fp32": "net",
    "folded fp32": "InferenceLightBSR(net)",
    "folded bf16": "InferenceLightBSR(net).to(torch.bfloat16)",
}


def _trained(device: torch.device) -> LightBSR:
    """Weights with which every block contributes to the output."""
    torch.manual_seed(0)
    return LightBSR(scale=4, layer_scale_init=0.3).eval().to(device)


def _peak_megabytes(way: str, height: int, width: int) -> float:
    program = _PEAK.format(way=_WAYS[way], height=height, width=width, threads=torch.get_num_threads())
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(ended.stdout.split()[-1]) / 1024


def _peak_on_cuda(way: Callable[[], object]) -> float:
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    way()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


@torch.inference_mode()
def measure(device: torch.device, machine: Machine, turns: int, height: int, width: int, compiled: bool) -> Section:
    """One LR image.

    Raises:
        RuntimeError: The ways do not give the same.
    """
    net = _trained(device)
    weights = net.state_dict()
    lq = torch.rand(1, 3, height, width, device=device)
    folded = InferenceLightBSR(net)
    half = InferenceLightBSR(net).to(torch.bfloat16)
    ways = {
        "plain fp32": lambda: plain.super_resolve(lq, weights, 4),
        "LightBSR fp32": lambda: net(lq),
        "folded fp32": lambda: folded(lq),
        "folded bf16": lambda: half(lq),
    }
    if compiled:
        whole, whole_half = torch.compile(folded, dynamic=False), torch.compile(half, dynamic=False)
        ways |= {"folded fp32, compiled": lambda: whole(lq), "folded bf16, compiled": lambda: whole_half(lq)}
    expected = ways["plain fp32"]()
    errors = {name: float((way().float() - expected).abs().max() / expected.std()) for name, way in ways.items()}
    wrong = {name: error for name, error in errors.items() if error > (1e-4 if "fp32" in name else 0.3)}
    if wrong:
        raise RuntimeError(f"not the same as the plain way: {wrong}")
    operations = flops(lambda: net(lq))
    times = in_turns(ways, turns, wait=synchronise(device))
    section = Section(
        f"Inference, {width}x{height} to {4 * width}x{4 * height}",
        "`plain / this`: how many times as fast as the plain way. `error`: largest difference from it, by its standard "
        f"deviation. `of matmul`: the {operations / 1e9:.0f} GFLOP that the plain way counts, by its time, as a share of the "
        "measured rate of a large matrix product in that dtype; folding needs fewer, so it may exceed 1. `peak`: growth of "
        "resident memory, on CUDA of allocated memory, in MiB.",
        ("way", "ms", "spread", "plain / this", "error", "of matmul", "peak, MiB"),
    )
    for name, timing in times.items():
        rate = machine.matmul["bfloat16" if "bf16" in name else "float32"]
        peak = None
        if device.type == "cuda":
            peak = _peak_on_cuda(ways[name])
        elif name in _WAYS:
            peak = _peak_megabytes(name, height, width)
        section.rows.append(
            [
                name,
                timing.median * 1e3,
                timing.spread,
                ratio(times["plain fp32"], timing),
                f"{errors[name]:.1e}",
                operations / timing.median / 1e12 / rate,
                "" if peak is None else peak,
            ]
        )
    return section


_STARTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "image_skip": {"image_skip": True},
    "image_skip, tail_activation: lr": {"image_skip": True, "tail_activation": "lr"},
    "image_skip, tail_activation: hr": {"image_skip": True, "tail_activation": "hr"},
}


@torch.inference_mode()
def measure_starts(device: torch.device, turns: int, height: int, width: int) -> Section:
    """What the arguments for short trainings cost when an image is restored, by the folded network in fp32."""
    section = Section(
        f"Inference of networks that start freely, {width}x{height}",
        "`this / published`: how many times the published network's time.",
        ("size", "network", "ms", "spread", "this / published"),
    )
    lq = torch.rand(1, 3, height, width, device=device)
    for size, sizes in NETWORK_SIZES.items():
        ways: dict[str, Callable[[], object]] = {}
        for name, start in _STARTS.items():
            torch.manual_seed(0)
            folded = InferenceLightBSR(LightBSR(scale=4, **sizes["LightBSR"], **start).eval().to(device))
            ways[name] = functools.partial(folded, lq)
        times = in_turns(ways, turns, wait=synchronise(device))
        for name, timing in times.items():
            factor = ratio(timing, times["as published"])
            section.rows.append([size, name, timing.median * 1e3, timing.spread, factor])
    return section
