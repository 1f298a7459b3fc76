"""Measure everything against the plain formulation.

    python -m benchmarks --quick                    a few minutes on two CPU cores
    python -m benchmarks --full --compile --device cuda

Where two implementations are compared, their results are checked for equality first. Loading from your own images:
python -m benchmarks.loading --images FOLDER
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import (
    alignment,
    burst,
    degradation,
    growth,
    inference,
    inner_steps,
    loading,
    real_world,
    recomputing,
    start_up,
    training,
)
from benchmarks.machine import look_at
from benchmarks.report import Section, write

_PARTS = (
    "start-up",
    "loading",
    "degradation",
    "real-world",
    "inference",
    "starts",
    "training",
    "recomputing",
    "inner-steps",
    "alignment",
    "burst",
    "growth",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small batches, few repetitions (default)")
    size.add_argument("--full", action="store_true", help="the published batch on CUDA; more sizes and repetitions")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    parser.add_argument(
        "--compile", action="store_true", help="also measure torch.compile; takes many minutes on a small CPU"
    )
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_PARTS, help="parts to measure (default: all)")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/out"), help="default: %(default)s")
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: there is no CUDA device")
    device, cuda, full = torch.device(args.device), args.device == "cuda", args.full
    turns = 20 if cuda else 5 if full else 3
    machine = look_at(device, turns)
    rates = ", ".join(f"{name} {rate:.3g} TFLOP/s" for name, rate in machine.matmul.items())
    words = " ".join(["python -m benchmarks", *(arguments if arguments is not None else sys.argv[1:])])
    head = (
        f"{datetime.date.today()}, {machine.description}. Matrix products: {rates}; copying: {machine.copy:.0f} GB/s.\n\n"
        f"    {words}\n"
    )
    print(head, flush=True)
    switches: dict[str, dict[str, Any]] = {
        "defaults": {"channels_last": True},
        "nothing on": {"fused": False},
        "amp bf16": {"channels_last": True, "amp": "bf16"},
    }
    if args.compile:
        switches |= {
            "compiled": {"channels_last": True, "compile": True},
            "compiled, bf16": {"channels_last": True, "compile": True, "amp": "bf16"},
        }
    count, patch = (64, 64) if cuda and full else (4, 32) if full else (2, 32)
    sides = (32, 64, 128, 256, 512, 1024, 2048) if cuda and full else (32, 64, 128, 256, 512) if full else (32, 64, 128)
    counts = (1, 2, 4, 8, 16, 32, 64) if cuda and full else (1, 2, 4, 8) if full else (1, 2, 4)
    measures: dict[str, Callable[[], list[Section]]] = {
        "start-up": lambda: [start_up.measure(turns)],
        "loading": lambda: [loading.measure(turns, 32 if full else 8)],
        "degradation": lambda: [degradation.measure(device, machine, turns, 64 if cuda else 16)],
        "real-world": lambda: [real_world.measure(device, turns)],
        "inference": lambda: [inference.measure(device, machine, turns, 180, 320, compiled=args.compile)],
        "starts": lambda: [inference.measure_starts(device, turns, 180, 320)],
        "training": lambda: training.measure(device, machine, turns, count, patch, switches),
        "recomputing": lambda: [recomputing.measure(device, turns, *((128, 64) if cuda and full else (32, 48)))],
        "inner-steps": lambda: [inner_steps.measure(device, turns, count, patch // 2)],
        "alignment": lambda: [alignment.measure(device, turns, count, patch)],
        "burst": lambda: [burst.measure(device, turns, 14 if full else 8, 48 if full else 24)],
        "growth": lambda: [
            growth.with_the_image(device, turns, sides),
            growth.with_the_batch(device, turns, counts, patch),
            growth.with_the_processes(device, turns, 2, 32),
        ],
    }
    sections = []
    for part in args.only:
        for section in measures[part]():
            print(section.markdown(), flush=True)
            sections.append(section)
    write(sections, head, args.output)
    print(f"{args.output}/table.md, table.json and plots.")


if __name__ == "__main__":
    main()
