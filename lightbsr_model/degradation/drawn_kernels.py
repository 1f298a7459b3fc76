"""The blur kernels of drawn parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lightbsr_model.degradation.mixed_kernels import KERNELS, mixed_kernels
from lightbsr_model.degradation.second_order_params import SUFFIXES, by_name

FINAL = "final"
"""Stands for the final sinc filter, where the suffix of an order stands for its blur."""


def drawn_kernels(columns: Mapping[str, Tensor], suffix: str) -> tuple[Tensor, Tensor]:
    """The kernels of one blur of a batch.

    Args:
        columns: The parameters by column, (N,) each, on the host.
        suffix: Of the order, or :data:`FINAL`.

    Returns:
        Which samples have this blur, (N,) bool; and their kernels, (n, k, k) float64.
    """
    if suffix == FINAL:
        size, cutoff = columns["final_size"], columns["final_cutoff"]
        kind, unit = torch.where(size > 0, KERNELS.index("sinc"), -1), torch.ones_like(size)
        widths = (unit, unit, unit, unit)
    else:
        kind, size, cutoff = (columns[f"{name}{suffix}"] for name in ("kernel", "kernel_size", "cutoff"))
        kind = kind - 1
        x, y, rotation, beta = (columns[f"{name}{suffix}"] for name in ("sigma_x", "sigma_y", "rotation", "beta"))
        # A sinc has no widths: they must not make the formulas of the others undefined.
        widths = (x.clamp_min(1e-3), y.clamp_min(1e-3), rotation, beta)
    chosen = kind >= 0
    omega = torch.where(cutoff > 0, cutoff, 1.0) * math.pi
    sigma_x, sigma_y, rotation, beta = (value[chosen] for value in widths)
    return chosen, mixed_kernels(kind[chosen].long(), size[chosen], sigma_x, sigma_y, rotation, beta, omega[chosen])


def kernels_of(values: Tensor) -> dict[str, Tensor]:
    """One sample's kernels, (k, k) each, by what they are."""
    columns = by_name(values[None].double().cpu())
    found = {}
    for name, suffix in (*((f"blur{suffix}", suffix) for suffix in SUFFIXES), ("final sinc", FINAL)):
        chosen, kernels = drawn_kernels(columns, suffix)
        if chosen.any():
            found[name] = kernels[0]
    return found
