"""Named degradations for training (ranges) and for tests (points), with overrides (LightBSR, section 2; real-world ones)."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import replace
from types import NoneType
from typing import Any

from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation.gaussian import RANGES, GaussianDegradation, Range
from lightbsr_model.degradation.second_order import SecondOrderDegradation

Preset = GaussianDegradation | SecondOrderDegradation


def _fixed(value: float) -> Range:
    return (value, value)


def _isotropic(sigma: float) -> GaussianDegradation:
    return GaussianDegradation("isotropic", sigma=_fixed(sigma))


def _anisotropic(lambda_1: float, lambda_2: float, theta: float, noise_level: float) -> GaussianDegradation:
    return GaussianDegradation(
        "anisotropic",
        lambda_1=_fixed(lambda_1),
        lambda_2=_fixed(lambda_2),
        theta=_fixed(theta),
        noise_level=_fixed(noise_level),
    )


MAX_SIGMA = {2: 2.0, 3: 3.0, 4: 4.0}
"""The strongest training blur at each scale."""

GAUSSIAN8 = (1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 3.2)
"""Sigmas of the Gaussian8 test set, x4."""

TEST_SIGMAS = {2: (0.6, 1.2, 1.8), 3: (0.8, 1.6, 2.4), 4: (1.2, 2.4, 3.6)}
"""Sigmas of setting 1's tests at each scale."""

TEST_KERNELS = (
    (2, 0.5, 0), (2, 1, 10), (3.5, 1.5, 30), (3.5, 2, 45), (3.5, 2, 90), (4, 1.5, 120), (4, 2, 135), (4, 3, 165), (4, 4, 180),
)  # fmt: skip
"""lambda_1, lambda_2 and theta (degrees) of setting 2's nine test kernels."""

TEST_NOISE_LEVELS = (0, 5, 10)
"""Noise levels of setting 2's tests."""

TEST_QUALITIES = (60, 75, 90)
"""JPEG qualities of the tests with JPEG alone."""

PHOTO_SIGMA = {2: 1.2, 4: 2.4}
"""The strongest blur of a mild photograph at each scale: 0.6 LR pixels."""


def _photo(scale: int) -> SecondOrderDegradation:
    """A photograph of a phone or from the web: sharp lens, little noise, one JPEG compression, shrunk without aliasing."""
    return SecondOrderDegradation(
        {
            "second_prob": 0.0,
            "antialias": True,
            "blur_prob": 0.8,
            "kernel_list": ["iso", "aniso"],
            "kernel_prob": [0.7, 0.3],
            "sinc_prob": 0.0,
            "blur_sigma": [0.2, PHOTO_SIGMA[scale]],
            "resize_prob": [0.0, 0.0, 1.0],
            "noise_prob": 0.8,
            "noise_range": [0.0, 10.0],
            "poisson_scale_range": [0.0, 1.0],
            "jpeg_prob": 0.9,
            "jpeg_range": [60, 95],
            "final_sinc_prob": 0.0,
            "jpeg_first_prob": 0.0,
        }
    )


def _all_presets() -> dict[str, Preset]:
    presets: dict[str, Preset] = {}
    for scale, most in MAX_SIGMA.items():
        presets[f"setting1_x{scale}"] = GaussianDegradation("isotropic", sigma=(0.2, most))
        presets[f"setting2_x{scale}"] = GaussianDegradation(
            "anisotropic", lambda_1=(0.2, most), lambda_2=(0.2, most), theta=(0, 180), noise_level=(0, 25)
        )
    presets["bicubic"] = _isotropic(0)
    for sigma in sorted({*GAUSSIAN8, *(sigma for sigmas in TEST_SIGMAS.values() for sigma in sigmas)}):
        presets[f"iso_{sigma}"] = _isotropic(sigma)
    for number, (lambda_1, lambda_2, theta) in enumerate(TEST_KERNELS, 1):
        for noise in TEST_NOISE_LEVELS:
            presets[f"aniso_k{number}_n{noise}"] = _anisotropic(lambda_1, lambda_2, theta, noise)
    for noise in TEST_NOISE_LEVELS:
        # The earlier papers' tables have 0.2 where later ones have 0.5.
        presets[f"aniso_k1old_n{noise}"] = _anisotropic(2, 0.2, 0, noise)
    for quality in TEST_QUALITIES:
        presets[f"jpeg_{quality}"] = GaussianDegradation(jpeg=_fixed(quality))
    for scale in PHOTO_SIGMA:
        presets[f"realworld_x{scale}"] = SecondOrderDegradation({})
        presets[f"photo_x{scale}"] = _photo(scale)
    return presets


SCALES = {f"setting{number}_x{scale}": scale for number in (1, 2) for scale in MAX_SIGMA}
SCALES |= {f"{name}_x{scale}": scale for name in ("realworld", "photo") for scale in PHOTO_SIGMA}
"""The scale of each preset that is made for one: the training ranges. All others are points, at any scale."""

PRESETS = _all_presets()
"""Every preset by name.

``setting1_x2|x3|x4`` and ``setting2_x2|x3|x4`` are for training, as are ``realworld_x2|x4``, Real-ESRGAN's published two orders
(at both scales the same), and ``photo_x2|x4``, one mild order; ``bicubic`` (no blur), ``iso_<sigma>``,
``aniso_k<1..9>_n<0|5|10>``, ``aniso_k1old_n<0|5|10>`` and ``jpeg_<60|75|90>`` (JPEG alone, after bicubic downsampling) are for
tests."""


def get_degradation(preset: str, overrides: Mapping[str, Any] | None = None, scale: int | None = None) -> Preset:
    """Look a preset up and override some of its parameters.

    Args:
        preset: A name in :data:`PRESETS`.
        overrides: Fields of :class:`~lightbsr_model.degradation.gaussian.GaussianDegradation` by name: ``kernel``, the number
            ``kernel_disturb``, or a range: a number fixes a parameter, two numbers are a range. Of real-world presets their
            options, see :mod:`~lightbsr_model.degradation.second_order_options`.
        scale: The factor it is for; None leaves that open.

    Raises:
        OptionError: An unknown preset or parameter (with the nearest known name), a value out of range, or a training
            range of another scale.

    Example:
        >>> get_degradation("iso_1.2", {"noise_level": 5}).noise_level
        (5.0, 5.0)
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise OptionError("preset", f"no degradation is named {preset!r}{_nearest(preset, PRESETS)}.")
    if scale is not None and SCALES.get(preset, scale) != scale:
        raise OptionError("preset", f"{_of_another_scale(preset, scale)}")
    if not isinstance(overrides, (Mapping, NoneType)):
        raise OptionError(
            "degradation", f"expected parameters of the preset, such as {{noise_level: 5}}, got {overrides!r}."
        )
    found = PRESETS[preset]
    if isinstance(found, SecondOrderDegradation):
        try:
            return found.with_options(overrides or {})
        except OptionError as error:
            raise error.within("degradation") from error
    known = ["kernel", *RANGES, "kernel_disturb"]
    values: dict[str, Any] = {}
    for name, value in (overrides or {}).items():
        if name not in known:
            raise OptionError(f"degradation.{name}", f"unknown parameter{_nearest(name, known)}.")
        values[name] = _value(name, value)
    try:
        degradation = replace(found, **values)
    except OptionError as error:
        raise error.within("degradation") from error
    idle = ("lambda_1", "lambda_2", "theta") if degradation.kernel == "isotropic" else ("sigma",)
    for name in idle:
        if name in values:
            raise OptionError(
                f"degradation.{name}",
                f"has no effect on {degradation.kernel} kernels (preset {preset}); "
                "add `kernel: isotropic` or `kernel: anisotropic`, or take another preset.",
            )
    return degradation


def _of_another_scale(preset: str, scale: int) -> str:
    own = SCALES[preset]
    matching = preset.replace(f"_x{own}", f"_x{scale}")
    found = PRESETS[preset]
    if isinstance(found, SecondOrderDegradation):
        return (
            f"{preset} is made for x{own}, but scale is {scale}: take {matching if matching in PRESETS else 'another'}."
        )
    names = ("sigma",) if found.kernel == "isotropic" else ("lambda_1", "lambda_2")
    ranges = ", ".join(f"{name}: {list(getattr(found, name))}" for name in names)
    return (
        f"{preset} is the range of x{own}, but scale is {scale}: take {matching if matching in PRESETS else 'another'}. "
        f"If x{own}'s range is meant, override it: preset: {matching if matching in PRESETS else 'bicubic'} with "
        f"degradation: {{{ranges}}}."
    )


def _value(name: str, value: Any) -> Any:
    if name == "kernel":
        return value
    if name == "kernel_disturb":
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise OptionError(f"degradation.{name}", f"expected a number, got {value!r}.")
        return float(value)
    return _range(name, value)


def _range(name: str, value: Any) -> Range:
    ends = value if isinstance(value, (list, tuple)) else (value, value)
    numbers = [end for end in ends if isinstance(end, (int, float)) and not isinstance(end, bool)]
    if len(ends) != 2 or len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        raise OptionError(f"degradation.{name}", f"expected a number or two numbers, got {value!r}.")
    return (float(ends[0]), float(ends[1]))


def _nearest(name: Any, known: Any) -> str:
    matches = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.4)
    return f"; did you mean {', '.join(matches)}" if matches else f"; known: {', '.join(known)}"
