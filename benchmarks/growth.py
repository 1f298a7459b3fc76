"""How the cost grows with the image size, the batch size and the number of processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from benchmarks.machine import synchronise
from benchmarks.report import Section
from benchmarks.side_by_side import in_turns
from lightbsr_arch import LightBSR
from lightbsr_arch.inference import InferenceLightBSR


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of log y over log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


@torch.inference_mode()
def with_the_image(device: torch.device, turns: int, sides: Sequence[int]) -> Section:
    """Time of square LR images, folded fp32 and bf16."""
    torch.manual_seed(0)
    net = LightBSR(scale=4).eval().to(device)
    section = Section(
        "Growth with the image",
        "Folded network, square LR images. The exponent is of the time over the pixels, by least squares on logarithms.",
        ("precision", *(f"{side}x{side}, ms" for side in sides), "exponent"),
        axes=("LR pixels", "seconds"),
    )
    pixels = [float(side**2) for side in sides]
    precisions = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if device.type == "cuda":
        precisions["fp16"] = torch.float16
    for name, dtype in precisions.items():
        folded = InferenceLightBSR(net).to(dtype)
        seconds = []
        for side in sides:
            lq = torch.rand(1, 3, side, side, device=device)
            seconds.append(
                in_turns({"": lambda folded=folded, lq=lq: folded(lq)}, turns, wait=synchronise(device))[""].median
            )
        section.rows.append([name, *(value * 1e3 for value in seconds), exponent(pixels, seconds)])
        section.curves[name] = (pixels, seconds)
    return section


def with_the_batch(device: torch.device, turns: int, counts: Sequence[int], patch: int) -> Section:
    """Time of forward and backward passes of the student."""
    torch.manual_seed(0)
    net = LightBSR(scale=4).to(device, memory_format=torch.channels_last).train()
    section = Section(
        "Growth with the batch",
        f"Forward and backward of a student on {patch}x{patch} LR patches.",
        ("pass", *(f"batch {count}, ms" for count in counts), "exponent"),
        axes=("batch", "seconds"),
    )

    def learn(lq: torch.Tensor) -> None:
        net(lq).abs().mean().backward()

    seconds = []
    for count in counts:
        lq = torch.rand(count, 3, patch, patch, device=device)
        seconds.append(in_turns({"": lambda lq=lq: learn(lq)}, turns, wait=synchronise(device))[""].median)
    section.rows.append(["forward, backward", *(value * 1e3 for value in seconds), exponent(counts, seconds)])
    section.curves["forward, backward"] = ([float(count) for count in counts], seconds)
    return section


def with_the_processes(device: torch.device, turns: int, count: int, patch: int) -> Section:
    """Samples per second of one and two processes, each with its own batch."""
    section = Section(
        "Growth with the processes",
        f"Forward and backward in DistributedDataParallel, {count} samples of {patch}x{patch} per process, one thread each on "
        "a CPU; two processes on one GPU are not measured.",
        ("processes", "ms", "samples per second"),
        axes=("processes", "samples per second"),
    )
    numbers = (1, 2) if device.type == "cpu" or torch.cuda.device_count() > 1 else (1,)
    for number in numbers:
        launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={number}", "--master_port=29517"]
        words = [device.type, str(turns), str(count), str(patch)]
        ended = subprocess.run(
            [*launcher, "-m", "benchmarks.growth", *words], capture_output=True, text=True, check=True
        )
        seconds = json.loads(ended.stdout.splitlines()[-1])
        section.rows.append([number, seconds * 1e3, number * count / seconds])
    rates = [row[2] for row in section.rows]
    section.curves["samples per second"] = ([float(number) for number in numbers], rates)
    if len(numbers) > 1:
        section.note += f" The rate grows with the power {exponent(numbers, rates):.2f} of their number."
    return section


def _process(device_type: str, turns: int, count: int, patch: int) -> None:
    distributed.init_process_group("nccl" if device_type == "cuda" else "gloo")
    rank = distributed.get_rank()
    device = torch.device(device_type, rank) if device_type == "cuda" else torch.device("cpu")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = DistributedDataParallel(LightBSR(scale=4).to(device, memory_format=torch.channels_last))
    lq = torch.rand(count, 3, patch, patch, device=device)
    seconds = []
    for turn in range(turns + 1):
        distributed.barrier()
        started = time.perf_counter()
        net(lq).abs().mean().backward()
        synchronise(device)()
        if turn:
            seconds.append(time.perf_counter() - started)
    if rank == 0:
        print(json.dumps(sorted(seconds)[len(seconds) // 2]))
    distributed.destroy_process_group()


if __name__ == "__main__":
    _process(sys.argv[1], *map(int, sys.argv[2:]))
