"""The measured rates of this machine, and the operations of a computation."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.side_by_side import in_turns


@dataclass(frozen=True)
class Machine:
    """A device and its measured rates."""

    description: str
    """Device, threads, versions."""
    matmul: dict[str, float]
    """TFLOP/s of a large matrix product, by dtype."""
    copy: float
    """GB/s of copying a large tensor, read and written bytes."""


def synchronise(device: torch.device) -> Callable[[], None]:
    """Wait for a device's work; does nothing on a CPU."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def look_at(device: torch.device, turns: int) -> Machine:
    """Measure a device's rates."""
    wait = synchronise(device)
    side = 8192 if device.type == "cuda" else 2048
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        times = in_turns({"matmul": lambda a=a, b=b: a @ b}, turns, wait=wait)
        rates[str(dtype).removeprefix("torch.")] = 2 * side**3 / times["matmul"].median / 1e12
    data = torch.empty(2**28 if device.type == "cuda" else 2**26, dtype=torch.uint8, device=device)
    copied = in_turns({"copy": lambda: data.clone()}, turns, wait=wait)["copy"]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    threads = f"{torch.get_num_threads()} threads of {len(os.sched_getaffinity(0))} cores"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return Machine(f"{device.type}: {name}, {threads}; {versions}", rates, 2 * data.numel() / copied.median / 1e9)


def flops(compute: Callable[[], object]) -> int:
    """Floating-point operations of convolutions and matrix products; a multiply-accumulate counts as two."""
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def run_here(device: torch.device) -> dict[str, Any]:
    """The options of a training x4 that belong to the process: this one alone, on a device."""
    return {
        **{"scale": 4, "num_gpu": int(device.type == "cuda"), "is_train": True, "manual_seed": 0, "path": {}},
        **{"dist": False, "rank": 0, "world_size": 1},
    }
