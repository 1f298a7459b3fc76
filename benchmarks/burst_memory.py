"""``python -m benchmarks.burst_memory``: memory that ``lightbsr burst`` takes at the published sizes on a CPU.

    python -m benchmarks.burst_memory                       14 frames of 4.2 megapixels, the first tile alone
    python -m benchmarks.burst_memory --flow-net spynet

All tiles have one size, so that the first needs what any does; the rest is left out, since it takes long. What is counted is
the largest memory of the process, frames, flow and the whole result included.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from lightbsr_arch.inference import burst_restoring
from lightbsr_arch.inference.tiles import Canvas, Compute, Span, join_tiles
from lightbsr_arch.layers.camera import Colours
from lightbsr_arch.methods.rbsr import FLOW_NETS, RBSR

_HEIGHT, _WIDTH = 864, 1216
"""Of a packed frame: a fourth of 4.2 megapixels."""


def peak() -> float:
    """The largest memory of this process so far, in GiB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**30 if sys.platform == "darwin" else size / 2**20


def main(arguments: Sequence[str] | None = None) -> None:
    """Restore a burst's first tiles, and print the memory after each part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.burst_memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=14, help="default: %(default)s")
    parser.add_argument("--tile", type=int, default=2 * burst_restoring.DEFAULT_TILE, help="as of `lightbsr burst`")
    parser.add_argument("--tiles", type=int, default=1, help="that are computed (default: %(default)s)")
    parser.add_argument("--flow-net", choices=FLOW_NETS, default="affine", help="default: %(default)s")
    args = parser.parse_args(arguments)
    torch.manual_seed(0)
    net = RBSR(flow_net=args.flow_net).eval()
    scene = F.interpolate(torch.rand(1, 4, _HEIGHT // 8, _WIDTH // 8), size=(_HEIGHT, _WIDTH), mode="bicubic")[0]
    frames = torch.empty(args.frames, *scene.shape)
    for frame in frames:
        frame.copy_(scene + 0.02 * torch.randn_like(scene)).clamp_(0, 1)
    print(f"{args.frames} frames of {2 * _WIDTH}x{2 * _HEIGHT}: {peak():.2f} GiB", flush=True)
    started = time.perf_counter()
    # Random weights of a flow network find no flow: all frames are kept whatever they show then.
    burst = burst_restoring.align(net, frames, list(map(str, range(args.frames))), min_agreement=-1.0)
    print(f"registered: {peak():.2f} GiB, {time.perf_counter() - started:.0f} s", flush=True)
    done = 0

    def first_tiles(canvas: Canvas, rows: list[Span], columns: list[Span], scale: int, compute: Compute) -> None:
        def counted(row: Span, column: Span) -> NDArray[np.float32]:
            nonlocal done
            done += 1
            if done <= args.tiles:
                return compute(row, column)
            return np.zeros((scale * (row.stop - row.start), scale * (column.stop - column.start), 3), np.float32)

        join_tiles(canvas, rows, columns, scale, counted)

    burst_restoring.join_tiles = first_tiles
    started = time.perf_counter()
    result = burst_restoring.restore_burst(net, burst, Colours.of(None, 1), args.tile // 2, deep=True)
    print(
        f"{min(args.tiles, done)} of {done} tiles of {args.tile} pixels, {result.shape[1]}x{result.shape[0]} pixels of 16 bit: "
        f"{peak():.2f} GiB, {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
