"""The parameters of one real-world degradation: how they are drawn.

All of them are numbers in one vector with a column each (:data:`COLUMNS`), so that samples of any such degradation collate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightbsr_model.degradation.mixed_kernels import KERNELS
from lightbsr_model.degradation.second_order_options import OrderOptions, order_of

MODES = ("area", "bilinear", "bicubic")
NOISES = ("gaussian", "poisson")
SUFFIXES = ("", "2")
OPERATIONS = ("blur", "resize", "noise", "jpeg", "blur2", "resize2", "noise2")
"""What BSRGAN puts in a random order; the second resizing never comes before the first. The final steps follow it."""

OF_AN_ORDER = (
    "kernel",  # 0: none; else 1 + the place in KERNELS
    "kernel_size",
    "sigma_x",
    "sigma_y",
    "rotation",  # in radians
    "beta",
    "cutoff",  # in multiples of pi
    "resize",
    "resize_mode",
    "noise",  # 0: none; else 1 + the place in NOISES
    "noise_level",  # in 0..255 units; of Poisson noise the factor
    "grey",
    "jpeg_quality",  # 0: none
)
COLUMNS = (
    *(f"{name}{suffix}" for suffix in SUFFIXES for name in OF_AN_ORDER),
    "orders",
    "antialias",
    "final_size",  # 0: no final sinc filter
    "final_cutoff",
    "final_mode",
    "jpeg_first",
    *(f"at_{operation}" for operation in OPERATIONS),  # its place in the order of operations
)
"""The columns. What an order does not have is 0."""

_PLACE = {name: number for number, name in enumerate(COLUMNS)}


def by_name(values: Tensor) -> dict[str, Tensor]:
    """Values, columns last, by the names of their columns."""
    return dict(zip(COLUMNS, values.unbind(-1), strict=True))


class _Draws:
    """Uniform random numbers, each used once, whatever is made of it: one option leaves all other draws as they are."""

    def __init__(self, generator: torch.Generator | None) -> None:
        # One more than are taken costs nothing; fewer would end the iteration.
        self._numbers: Iterator[float] = iter(torch.rand(64, generator=generator, dtype=torch.float64).tolist())

    def between(self, ends: Sequence[float]) -> float:
        return ends[0] + (ends[1] - ends[0]) * next(self._numbers)

    def chance(self, probability: float) -> bool:
        return next(self._numbers) < probability

    def integer(self, low: int, high: int, step: int = 1) -> int:
        return low + step * int(next(self._numbers) * ((high - low) // step + 1))

    def choice(self, weights: Sequence[float]) -> int:
        left = next(self._numbers) * sum(weights)
        for number, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return number
        return max(number for number, weight in enumerate(weights) if weight > 0)

    def permutation(self, count: int) -> list[int]:
        keys = [next(self._numbers) for _ in range(count)]
        return sorted(range(count), key=keys.__getitem__)


def draw_values(options: Mapping[str, Any], generator: torch.Generator | None) -> Tensor:
    """Draw one sample's parameters.

    Args:
        options: All options, see :mod:`lightbsr_model.degradation.second_order_options`.
        generator: On the CPU; as many numbers are taken from it whatever the options are.

    Returns:
        (len(COLUMNS),), float64, on the CPU.
    """
    draws = _Draws(generator)
    values = dict.fromkeys(COLUMNS, 0.0)
    orders = 2 if draws.chance(options["second_prob"]) else 1
    values["orders"], values["antialias"] = orders, float(options["antialias"])
    for number, suffix in enumerate(SUFFIXES):
        drawn = _draw_order(draws, order_of(options, suffix))
        if number < orders:
            values.update({f"{name}{suffix}": value for name, value in drawn.items()})
    has_sinc = draws.chance(options["final_sinc_prob"])
    size, cutoff = _size(draws, options["final_kernel_range"]), draws.between(options["final_sinc_range"])
    if has_sinc:
        values["final_size"], values["final_cutoff"] = size, cutoff
    values["final_mode"] = _mode(draws, options["final_modes"])
    values["jpeg_first"] = float(draws.chance(options["jpeg_first_prob"]))
    order, is_shuffled = draws.permutation(len(OPERATIONS)), draws.chance(options["shuffle_prob"])
    places = {OPERATIONS[number]: place for place, number in enumerate(order)}
    if not is_shuffled:
        places = {name: place for place, name in enumerate(OPERATIONS)}
    elif places["resize"] > places["resize2"]:
        places["resize"], places["resize2"] = places["resize2"], places["resize"]
    values.update({f"at_{name}": float(place) for name, place in places.items()})
    return torch.tensor([float(values[name]) for name in COLUMNS], dtype=torch.float64)


def _draw_order(draws: _Draws, order: OrderOptions) -> dict[str, float]:
    values = dict.fromkeys(OF_AN_ORDER, 0.0)
    is_blurred, size = (
        draws.chance(order.blur_prob),
        _size(draws, order.kernel_range),
    )
    is_sinc, kind = draws.chance(order.sinc_prob), order.kernel_list[draws.choice(order.kernel_prob)]
    sigmas = draws.between(order.blur_sigma), draws.between(order.blur_sigma)
    rotation = math.radians(draws.between(order.rotation_range))
    beta = _beta(draws, order.betag_range if kind.startswith("generalized") else order.betap_range)
    cutoff = draws.between(order.sinc_range_small if size < 13 else order.sinc_range)
    if is_blurred:
        values["kernel"], values["kernel_size"] = 1 + KERNELS.index("sinc" if is_sinc else kind), size
        if is_sinc:
            values["cutoff"] = cutoff
        else:
            is_round = kind.endswith("iso") and not kind.endswith("aniso")
            values["sigma_x"], values["sigma_y"] = sigmas[0], sigmas[0] if is_round else sigmas[1]
            values["rotation"] = 0.0 if is_round else rotation
            values["beta"] = beta if kind.startswith(("generalized", "plateau")) else 1.0
    direction = draws.choice(order.resize_prob)
    low, high = order.resize_range
    values["resize"] = draws.between(((1, high), (low, 1), (1, 1))[direction])
    values["resize_mode"] = _mode(draws, order.resize_modes)
    is_noisy, is_gaussian = draws.chance(order.noise_prob), draws.chance(order.gaussian_noise_prob)
    level = draws.between(order.noise_range if is_gaussian else order.poisson_scale_range)
    is_grey = draws.chance(order.gray_noise_prob)
    if is_noisy:
        values["noise"], values["noise_level"], values["grey"] = 1 if is_gaussian else 2, level, float(is_grey)
    has_jpeg, quality = draws.chance(order.jpeg_prob), draws.integer(order.jpeg_range[0], order.jpeg_range[1])
    values["jpeg_quality"] = quality if has_jpeg else 0
    return values


def _size(draws: _Draws, ends: Sequence[int]) -> int:
    return draws.integer(ends[0], ends[1], step=2)


def _mode(draws: _Draws, modes: Sequence[str]) -> int:
    return MODES.index(modes[draws.integer(0, len(modes) - 1)])


def _beta(draws: _Draws, ends: Sequence[float]) -> float:
    """As BasicSR: below and above 1 with equal probability, where the range has both."""
    is_below = draws.chance(0.5)
    low, high = ends
    if low <= 1 <= high:
        low, high = (low, 1) if is_below else (1, high)
    return draws.between((low, high))


def order_of_operations(row: Mapping[str, float]) -> list[str]:
    """The operations of one sample before the final ones, in their order; those that it has."""
    two = row["orders"] == 2
    names = OPERATIONS if two else ("blur", "resize", "noise")
    return sorted(names, key=lambda name: row[f"at_{name}"])
