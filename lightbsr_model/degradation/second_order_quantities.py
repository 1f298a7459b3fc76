"""What of a real-world degradation can be read off an image, in plain units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightbsr_model.degradation.drawn_kernels import FINAL, drawn_kernels
from lightbsr_model.degradation.mixed_kernels import NO_BLUR, equivalent_sigma
from lightbsr_model.degradation.second_order_params import SUFFIXES, by_name

_SHOT_NOISE = math.sqrt(255 / 2)
"""Standard deviation of Poisson noise at middle grey in 0..255 units, for a factor of 1 and 256 levels."""


def ranges_of(options: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """The quantities that vary under some options, with their ranges.

    For each order (the second's end with a 2): ``sigma``, the equivalent width of its blur, see
    :func:`~lightbsr_model.degradation.mixed_kernels.equivalent_sigma`, at the size that the blur works on; ``resize``, the
    factor; ``noise_level``, the noise at middle grey in 0..255 units; ``jpeg_quality``, where no JPEG counts as 100. And
    ``sigma_final`` of the final sinc filter.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for suffix in SUFFIXES if options["second_prob"] > 0 else SUFFIXES[:1]:
        own = {name.removesuffix(suffix): value for name, value in options.items() if name.endswith(suffix)}
        # A second order that may be missing is one of no effect.
        may_miss = suffix == "2" and options["second_prob"] < 1
        ranges[f"sigma{suffix}"] = _sigma(own, may_miss)
        ranges[f"resize{suffix}"] = _resize(own, may_miss)
        ranges[f"noise_level{suffix}"] = _noise(own, may_miss)
        ranges[f"jpeg_quality{suffix}"] = _quality(own, may_miss)
    if options["final_sinc_prob"] > 0:
        low, high = options["final_sinc_range"]
        widest = min(1 / (math.pi * low), options["final_kernel_range"][1] * NO_BLUR)
        narrowest = NO_BLUR if options["final_sinc_prob"] < 1 else max(NO_BLUR, 1 / (math.pi * high))
        ranges["sigma_final"] = (narrowest, widest)
    return {name: ends for name, ends in ranges.items() if ends[0] < ends[1]}


def _sigma(own: Mapping[str, Any], may_miss: bool) -> tuple[float, float]:
    if own["blur_prob"] == 0:
        return (NO_BLUR, NO_BLUR)
    kinds = [kind for kind, weight in zip(own["kernel_list"], own["kernel_prob"], strict=True) if weight > 0]
    has_others = own["sinc_prob"] < 1
    # A kernel whose values are all equal is as wide as its size allows.
    flat, widest = own["kernel_range"][1] * NO_BLUR, [NO_BLUR]
    if has_others:
        is_gaussian = all(kind in ("iso", "aniso") for kind in kinds)
        widest.append(max(NO_BLUR, own["blur_sigma"][1]) if is_gaussian else flat)
    if own["sinc_prob"] > 0:
        lows = (own["sinc_range"][0], own["sinc_range_small"][0])
        widest.append(1 / (math.pi * min(lows)))
    is_fixed = own["blur_prob"] == 1 and own["sinc_prob"] == 0 and set(kinds) <= {"iso"} and not may_miss
    return (max(NO_BLUR, own["blur_sigma"][0]) if is_fixed else NO_BLUR, min(flat, max(widest)))


def _resize(own: Mapping[str, Any], may_miss: bool) -> tuple[float, float]:
    up, down, keep = own["resize_prob"]
    ends = [*([1.0] if keep or may_miss else [])]
    ends += [1.0, own["resize_range"][1]] if up else []
    ends += [own["resize_range"][0], 1.0] if down else []
    return (float(min(ends)), float(max(ends)))


def _noise(own: Mapping[str, Any], may_miss: bool) -> tuple[float, float]:
    if own["noise_prob"] == 0:
        return (0.0, 0.0)
    ends = [0.0] if own["noise_prob"] < 1 or may_miss else []
    ends += own["noise_range"] if own["gaussian_noise_prob"] > 0 else []
    ends += [scale * _SHOT_NOISE for scale in own["poisson_scale_range"]] if own["gaussian_noise_prob"] < 1 else []
    return (float(min(ends)), float(max(ends)))


def _quality(own: Mapping[str, Any], may_miss: bool) -> tuple[float, float]:
    if own["jpeg_prob"] == 0:
        return (100.0, 100.0)
    low, high = own["jpeg_range"]
    return (float(low), 100.0 if own["jpeg_prob"] < 1 or may_miss else float(high))


def measured(values: Tensor) -> dict[str, Tensor]:
    """All quantities of (N, len(COLUMNS)) values on the host, (N,) each, by name."""
    row = by_name(values.double())
    found: dict[str, Tensor] = {}
    for suffix in SUFFIXES:
        own = {name.removesuffix(suffix): value for name, value in row.items() if name.endswith(suffix)}
        found[f"sigma{suffix}"] = _width(row, suffix)
        found[f"resize{suffix}"] = torch.where(own["resize"] > 0, own["resize"], 1.0)
        shot = own["noise"] == 2
        found[f"noise_level{suffix}"] = torch.where(shot, own["noise_level"] * _SHOT_NOISE, own["noise_level"])
        found[f"jpeg_quality{suffix}"] = torch.where(own["jpeg_quality"] > 0, own["jpeg_quality"], 100.0)
    found["sigma_final"] = _width(row, FINAL)
    return found


def _width(columns: Mapping[str, Tensor], suffix: str) -> Tensor:
    chosen, kernels = drawn_kernels(columns, suffix)
    width = torch.full_like(columns["orders"], NO_BLUR)
    width[chosen] = equivalent_sigma(kernels)
    return width
