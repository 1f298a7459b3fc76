"""The options of real-world degradations: every probability and every range, declared (arXiv 2107.10833, section 3)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, make_dataclass
from typing import Any, Literal, get_type_hints

from lightbsr_arch.errors import OptionError
from lightbsr_model.runtime.declared_keys import key, keys_of

Kind = Literal["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
Mode = Literal["area", "bilinear", "bicubic"]

LARGEST_KERNEL = 101
"""Largest side of a kernel, in pixels."""


@dataclass(frozen=True)
class OrderOptions:
    """One order of operations: blur, resize, noise, JPEG. The second order's have a 2 at the end of their names."""

    blur_prob: float = key("Probability of blur.", 1.0, low=0, high=1)
    kernel_range: list[int] = key(
        "Smallest and largest side of the kernels; every odd side in between is equally likely.",
        [7, 21],
        low=3,
        high=LARGEST_KERNEL,
        length=2,
    )
    kernel_list: list[Kind] = key(
        "Kinds of kernels, besides sinc.",
        ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"],
    )
    kernel_prob: list[float] = key(
        "Weight of each kind in kernel_list.", [0.45, 0.25, 0.12, 0.03, 0.12, 0.03], low=0, high=1e6
    )
    sinc_prob: float = key("Probability that a blur is a sinc filter.", 0.1, low=0, high=1)
    sinc_range: list[float] = key(
        "Its cutoff, in multiples of pi radians per pixel.", [0.2, 1.0], low=0.01, high=1, length=2
    )
    sinc_range_small: list[float] = key(
        "The same of kernels with a side below 13, which hold no lower frequencies.",
        [1 / 3, 1.0],
        low=0.01,
        high=1,
        length=2,
    )
    blur_sigma: list[float] = key(
        "Standard deviation along each axis of a kernel, in pixels.", [0.2, 3.0], low=0.05, high=50, length=2
    )
    rotation_range: list[float] = key(
        "Angle of the kernels with two axes, in degrees.", [-180.0, 180.0], low=-180, high=180, length=2
    )
    betag_range: list[float] = key(
        "Shape of generalised Gaussians, 1 for a Gaussian; below and above 1 are equally likely.",
        [0.5, 4.0],
        low=0.1,
        high=20,
        length=2,
    )
    betap_range: list[float] = key(
        "Shape of plateaus; below and above 1 are equally likely.", [1.0, 2.0], low=0.1, high=20, length=2
    )
    resize_prob: list[float] = key(
        "Weights of resizing up, down, and not at all.", [0.2, 0.7, 0.1], low=0, high=1e6, length=3
    )
    resize_range: list[float] = key(
        "Smallest factor down and largest factor up; of the last order relative to the LR size.",
        [0.15, 1.5],
        low=0.02,
        high=8,
        length=2,
    )
    resize_modes: list[Mode] = key("Ways of resizing, all equally likely.", ["area", "bilinear", "bicubic"])
    noise_prob: float = key("Probability of noise.", 1.0, low=0, high=1)
    gaussian_noise_prob: float = key(
        "Probability that noise is Gaussian; else it is Poisson noise.", 0.5, low=0, high=1
    )
    noise_range: list[float] = key(
        "Standard deviation of Gaussian noise in 0..255 units.", [1.0, 30.0], low=0, high=255, length=2
    )
    poisson_scale_range: list[float] = key("Factor of Poisson noise.", [0.05, 3.0], low=0, high=20, length=2)
    gray_noise_prob: float = key("Probability that all channels have the same noise.", 0.4, low=0, high=1)
    jpeg_prob: float = key("Probability of JPEG compression.", 1.0, low=0, high=1)
    jpeg_range: list[int] = key("Its quality.", [30, 95], low=1, high=100, length=2)


_SECOND = {
    **{"blur_prob": 0.8, "blur_sigma": [0.2, 1.5]},
    **{"resize_prob": [0.3, 0.4, 0.3], "resize_range": [0.3, 1.2]},
    **{"noise_range": [1.0, 25.0], "poisson_scale_range": [0.05, 2.5]},
}
"""Defaults of the second order where they differ from the first's, as published."""


def _second() -> type:
    hints = get_type_hints(OrderOptions)
    made = []
    for entry in fields(OrderOptions):
        rule, default = entry.metadata["rule"], entry.metadata["default"]
        again = {name: getattr(rule, name) for name in ("low", "high", "length")}
        sentence = f"As {entry.name}, of the second order."
        made.append((f"{entry.name}2", hints[entry.name], key(sentence, _SECOND.get(entry.name, default), **again)))
    return make_dataclass("SecondOrderKeys", made, frozen=True)


_SECOND_KEYS = _second()


@dataclass(frozen=True)
class WholeOptions:
    """What is not of one order alone."""

    second_prob: float = key(
        "Probability of a second order; without it the first leads to the LR size.", 1.0, low=0, high=1
    )
    shuffle_prob: float = key(
        "Probability that a sample's blurs, resizings, noises and first JPEG come in a random order, as in BSRGAN.",
        0.0,
        low=0,
        high=1,
    )
    antialias: bool = key("Widen the window of bilinear and bicubic resizing when shrinking.", False)
    final_sinc_prob: float = key("Probability of a sinc filter at the end.", 0.8, low=0, high=1)
    final_sinc_range: list[float] = key(
        "Its cutoff, in multiples of pi radians per pixel.", [1 / 3, 1.0], low=0.01, high=1, length=2
    )
    final_kernel_range: list[int] = key(
        "Smallest and largest side of its kernel, odd.", [7, 21], low=3, high=LARGEST_KERNEL, length=2
    )
    final_modes: list[Mode] = key(
        "Ways of resizing to the LR size, all equally likely.", ["area", "bilinear", "bicubic"]
    )
    jpeg_first_prob: float = key(
        "Probability that the last JPEG comes before that resizing and the final sinc filter.", 0.5, low=0, high=1
    )


SECTIONS: tuple[type, ...] = (WholeOptions, OrderOptions, _SECOND_KEYS)
"""All that is declared, in the order of the reference."""

KEYS = {name: key for section in SECTIONS for name, key in keys_of(section).items()}
DEFAULTS: dict[str, Any] = {name: key.default for name, key in KEYS.items()}


def checked(given: Mapping[str, Any], base: Mapping[str, Any] = DEFAULTS) -> dict[str, Any]:
    """All options, with some of them given.

    Args:
        given: By name; a number stands for a range of this number alone.
        base: The others.

    Raises:
        OptionError: An unknown name (with the nearest known one), or a value that does not fit; by key.
    """
    options = dict(base)
    for name, value in given.items():
        if name not in KEYS:
            near = difflib.get_close_matches(str(name), KEYS, n=3, cutoff=0.4)
            hint = f"did you mean {', '.join(near)}" if near else "see docs/options.md"
            raise OptionError(str(name), f"unknown parameter; {hint}.")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        value = [value, value] if is_number and KEYS[name].rule.length == 2 else value
        value = list(value) if isinstance(value, tuple) else value
        if (fault := KEYS[name].fault(value)) is not None:
            raise OptionError(name, f"{fault}.")
        options[name] = value
    for name in options:
        if (fault := _misfit(name, options)) is not None:
            raise OptionError(name, fault)
    return options


def _misfit(name: str, options: Mapping[str, Any]) -> str | None:
    """What is wrong with a value beyond its type and range."""
    value, plain = options[name], name.removesuffix("2")
    if plain.endswith(("_range", "_range_small", "_sigma")):
        if plain == "resize_range":
            return None if value[0] <= 1 <= value[1] else f"expected first <= 1 <= second, got {value}."
        if value[0] > value[1]:
            return f"expected first <= second, got {value}."
    if plain.endswith("kernel_range") and not (value[0] % 2 and value[1] % 2):
        return f"expected odd sides, got {value}."
    if isinstance(value, list) and not value:
        return "expected one or more, got an empty list."
    if plain in ("kernel_prob", "resize_prob") and sum(value) <= 0:
        return f"expected a weight above 0 among them, got {value}."
    if plain == "kernel_prob":
        kinds = options[name.replace("prob", "list")]
        if len(value) != len(kinds):
            return f"expected {len(kinds)} values, one for each of {name.replace('prob', 'list')}, got {value}."
    return None


def order_of(options: Mapping[str, Any], suffix: str) -> OrderOptions:
    """The options of one order.

    Args:
        options: All of them.
        suffix: Empty for the first, 2 for the second.
    """
    values = {entry.name: options[f"{entry.name}{suffix}"] for entry in fields(OrderOptions)}
    return OrderOptions(**values)


def hull(members: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The narrowest options that allow all that several allow: ranges widened, probabilities neither 0 nor 1 where they differ.

    How likely each is does not matter: they are for what applies and reads draws, not for drawing.
    """
    first, *rest = members
    options = dict(first)
    for member in rest:
        for name in member:
            options[name] = _hull(name, options, member)
    for suffix in ("", "2"):
        kinds = list(dict.fromkeys(kind for member in members for kind in member[f"kernel_list{suffix}"]))
        weights = [dict(zip(m[f"kernel_list{suffix}"], m[f"kernel_prob{suffix}"], strict=True)) for m in members]
        options[f"kernel_list{suffix}"] = kinds
        options[f"kernel_prob{suffix}"] = [max(each.get(kind, 0.0) for each in weights) for kind in kinds]
    return options


def _hull(name: str, options: Mapping[str, Any], member: Mapping[str, Any]) -> Any:
    one, other, plain = options[name], member[name], name.removesuffix("2")
    if one == other or plain in ("kernel_list", "kernel_prob"):
        return one
    if isinstance(one, bool):
        return one or other
    if isinstance(one, (int, float)):
        return (one + other) / 2
    if plain == "resize_prob":
        return [max(pair) for pair in zip(one, other, strict=True)]
    if KEYS[name].rule.length == 2:
        return [min(one[0], other[0]), max(one[1], other[1])]
    return list(dict.fromkeys([*one, *other]))
