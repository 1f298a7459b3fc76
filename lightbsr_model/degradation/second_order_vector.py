"""The parameters of one real-world degradation as a vector, for a teacher (``prior: parameters``)."""

from __future__ import annotations

import torch
from torch import Tensor

from lightbsr_model.degradation.mixed_kernels import KERNELS
from lightbsr_model.degradation.second_order_params import MODES, OF_AN_ORDER, OPERATIONS, SUFFIXES, by_name


def vector_names() -> tuple[str, ...]:
    """The entries of :func:`as_vector`, in their order."""
    names: list[str] = []
    for suffix in SUFFIXES:
        own = [f"kernel is {kind}" for kind in ("none", *KERNELS)]
        own += ["kernel size / 21", "mean sigma / 3", "stretch x / 3", "stretch y / 3", "log2 beta / 2", "cutoff / pi"]
        own += ["log2 resize factor / 3", *(f"resize is {mode}" for mode in MODES)]
        own += [
            "noise is none",
            "noise is gaussian",
            "noise is poisson",
            "noise level / 30",
            "noise scale / 3",
            "noise is grey",
        ]
        own += ["1 - JPEG quality / 100"]
        names += [f"{name}, order {suffix or 1}" for name in own]
    names += ["there is a second order", "there is a final sinc", "final size / 21", "final cutoff / pi"]
    names += [*(f"final resize is {mode}" for mode in MODES), "last JPEG is first"]
    return (*names, *(f"place of {operation} / 6" for operation in OPERATIONS))


def as_vector(values: Tensor) -> Tensor:
    """All parameters in numbers of about -1 to 1, kinds one-hot, by divisors that are the same for every preset.

    What a sample does not have is 0: a sigma where there is no blur, all of the second order where there is one. A kernel's
    stretch is the difference of its sigmas times cosine and sine of twice its angle, which is the same for the same kernel; no
    JPEG counts as quality 100.

    Args:
        values: (N, len(COLUMNS)).

    Returns:
        (N, len(vector_names())), float32.
    """
    row = by_name(values.float())
    parts: list[Tensor] = []
    for number, suffix in enumerate(SUFFIXES, 1):
        own = {name: row[f"{name}{suffix}"] for name in OF_AN_ORDER}
        present = (row["orders"] >= number).float()
        parts += [*_one_hot(own["kernel"], len(KERNELS) + 1, present)]
        stretch = (own["sigma_x"] - own["sigma_y"]) / 3
        parts += [own["kernel_size"] / 21, (own["sigma_x"] + own["sigma_y"]) / 6]
        parts += [stretch * torch.cos(2 * own["rotation"]), stretch * torch.sin(2 * own["rotation"])]
        parts += [_log2(own["beta"]) / 2, own["cutoff"], _log2(own["resize"]) / 3]
        parts += [*_one_hot(own["resize_mode"], len(MODES), present), *_one_hot(own["noise"], 3, present)]
        parts += [torch.where(own["noise"] == 1, own["noise_level"] / 30, 0.0)]
        parts += [torch.where(own["noise"] == 2, own["noise_level"] / 3, 0.0), own["grey"]]
        parts += [torch.where(own["jpeg_quality"] > 0, 1 - own["jpeg_quality"] / 100, 0.0)]
    parts += [row["orders"] - 1, (row["final_size"] > 0).float(), row["final_size"] / 21, row["final_cutoff"]]
    parts += [*_one_hot(row["final_mode"], len(MODES), torch.ones_like(row["orders"])), row["jpeg_first"]]
    parts += [row[f"at_{operation}"] / (len(OPERATIONS) - 1) for operation in OPERATIONS]
    return torch.stack(parts, dim=1)


def _one_hot(value: Tensor, count: int, present: Tensor) -> list[Tensor]:
    return [(value == number).float() * present for number in range(count)]


def _log2(value: Tensor) -> Tensor:
    """The logarithm, of what is not there 0."""
    return torch.where(value > 0, value, 1.0).log2()
