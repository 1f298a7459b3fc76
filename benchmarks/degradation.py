"""Blur and downsampling of training patches: matrix products against a 21x21 grouped convolution and a bicubic."""

from __future__ import annotations

import math

import torch

from benchmarks import plain
from benchmarks.machine import Machine, synchronise
from benchmarks.report import Section
from benchmarks.side_by_side import in_turns, ratio
from lightbsr_model.degradation import degrade


def measure(device: torch.device, machine: Machine, turns: int, batch: int, size: int = 256, views: int = 4) -> Section:
    """Degrade one batch of uint8 patches.

    Raises:
        RuntimeError: The two ways do not give the same.
    """
    generator = torch.Generator().manual_seed(0)
    u, v, w = torch.rand(3, batch, generator=generator)
    gt = torch.randint(0, 256, (batch, views, 3, size, size), generator=generator, dtype=torch.uint8).to(device)
    section = Section(
        "Degradation",
        f"{batch} samples x {views} views of {size}x{size}, x4, without noise. The plain way is a grouped convolution with "
        "21x21 kernels, then antialiased bicubic. `off by one` is the share of LR values that round to a neighbour; `of copy`: "
        "the bytes that go in and come out, by the time, as a share of the measured rate of copying.",
        ("kernels", "plain, ms", "ours, ms", "plain / ours", "spread of ours", "off by one", "of copy"),
    )
    for name, kernels in (
        ("isotropic", plain.isotropic_kernels(0.2 + 3.8 * u)),
        ("anisotropic", plain.anisotropic_kernels(0.2 + 3.8 * u, 0.2 + 3.8 * v, math.pi * w)),
    ):
        kernels = kernels.to(device)
        ways = {
            "plain": lambda kernels=kernels: plain.degrade(gt, kernels, 4),
            "ours": lambda kernels=kernels, name=name: degrade(gt, kernels, None, 4, separable=name == "isotropic"),
        }
        difference = (ways["plain"]() - ways["ours"]()).abs()
        off = float((difference > 1e-3).float().mean())
        if difference.max() > 1.01 / 255 or off > 1e-3:
            raise RuntimeError(
                f"{name}: the two ways differ by {float(difference.max()):.3g}, in a share of {off:.3g}."
            )
        moved = gt.numel() + 4 * ways["ours"]().numel()
        times = in_turns(ways, turns, wait=synchronise(device))
        section.rows.append(
            [
                name,
                times["plain"].median * 1e3,
                times["ours"].median * 1e3,
                ratio(times["plain"], times["ours"]),
                times["ours"].spread,
                f"{off:.1e}",
                f"{moved / times['ours'].median / 1e9 / machine.copy:.2%}",
            ]
        )
    return section
