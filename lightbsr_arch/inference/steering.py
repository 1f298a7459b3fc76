"""Restoring an image as something else than it looks: more gently, or as if its degradation were another.

What an image looks like to a network is its representation r, one vector per image. Steering adds a vector to it, before the
codes are made that the SR network restores under. With r0 the representation of the clean image (the restored image, shrunk to
LR size by bicubic interpolation) and a strength s, the image is restored under r0 + s (r - r0): as seen at 1, as an image
that needs no sharpening at 0. ``as_if`` sets r itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from lightbsr_arch.display import printable
from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.resizing import shrink_by_bands
from lightbsr_arch.inference.source import Source
from lightbsr_arch.inference.tiled_network import TiledNetwork
from lightbsr_arch.inference.tiles import Canvas
from lightbsr_arch.weights.degradation_probe import DegradationProbe
from lightbsr_arch.weights.probe_inverse import ProbeInverse

_AT_A_TIME = 512
"""Side of the parts that representations are computed of, in LR pixels."""

_ROUND = {"sigma_1": 1.0, "sigma_2": 1.0, "stretch_x": 0.0, "stretch_y": 0.0}
"""What a blur that is equally wide in all directions is, as multiples of its width."""

_WORDS: Mapping[str, Mapping[str, float]] = {
    "blur": {"sigma": 1.0, **_ROUND},
    "noise": {"noise_level": 1.0},
    "jpeg": {"jpeg_quality": 1.0},
}
"""Words for quantities, each as a multiple of the number behind the word."""


def checked_strength(strength: float) -> float:
    """A strength from 0 to 1.

    Raises:
        OptionError: It is none.
    """
    if isinstance(strength, bool) or not isinstance(strength, Real) or not 0 <= strength <= 1:
        raise OptionError(f"strength: expected a number from 0 to 1, got {strength!r}.")
    return float(strength)


def values_of(as_if: str | Mapping[str, float], probe: DegradationProbe | None) -> dict[str, float]:
    """The quantities that a degradation in words sets.

    Args:
        as_if: Words and numbers, as ``"jpeg 60"`` or ``"blur 2.0, noise 10"``: ``blur`` (sigma in pixels of the sharp image),
            ``noise`` (0..255) and ``jpeg`` (quality), or a probe's own names; or the same as a mapping.
        probe: Of the model.

    Raises:
        OptionError: The model's file has no inverse of its probe, or that knows no such quantity or value.
    """
    inverse = None if probe is None else probe.inverse
    if inverse is None:
        raise OptionError(
            "as_if: this model's file does not say which code belongs to a degradation: give a reference image, or let "
            "`lightbsr export --probe IMAGES` store it."
        )
    values: dict[str, float] = {}
    for word, number in (_pairs(as_if, inverse) if isinstance(as_if, str) else _numbers(as_if)).items():
        meant = _WORDS.get(word, {word: 1.0})
        known = {name: factor * number for name, factor in meant.items() if name in inverse.ranges}
        if not known:
            raise OptionError(f"as_if: this model does not know {printable(word, 40)}; it knows {_known(inverse)}.")
        for name, value in known.items():
            low, high = inverse.ranges[name]
            if not low <= value <= high:
                raise OptionError(
                    f"as_if: {printable(word, 40)}: this model knows values from {low:g} to {high:g}, got {number:g}."
                )
        values.update(known)
    return values


def _numbers(given: Mapping[str, float]) -> Mapping[str, float]:
    for word, number in given.items():
        if isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number):
            raise OptionError(
                f"as_if: {printable(str(word), 40)}: expected a number, got {printable(repr(number), 40)}."
            )
    return given


def _pairs(text: str, inverse: ProbeInverse) -> dict[str, float]:
    pairs: dict[str, float] = {}
    for part in text.split(","):
        word, _, number = part.strip().partition(" ")
        word = word if word in inverse.ranges else word.lower()
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not word or not math.isfinite(value):
            raise OptionError(
                f"as_if: expected an image, or a word and a number of what this model knows: {_known(inverse)}; got "
                f"{printable(text, 80)!r}."
            )
        if word in pairs:
            raise OptionError(f"as_if: {printable(word, 40)} is given twice, in {printable(text, 80)!r}.")
        pairs[word] = value
    return pairs


def _known(inverse: ProbeInverse) -> str:
    words = {
        **{word: next((name for name in meant if name in inverse.ranges), None) for word, meant in _WORDS.items()},
        **{name: name for name in inverse.ranges if not any(name in meant for meant in _WORDS.values())},
    }
    ends = {word: inverse.ranges[name] for word, name in words.items() if name is not None}
    return ", ".join(f"{word} ({low:g} to {high:g})" for word, (low, high) in ends.items())


class Steering:
    """Finds what is added to an image's representation.

    Args:
        net: Computes representations, in float32.
        strength: From 0 to 1.
        target: What images are taken for: quantities, see :func:`values_of`, a representation (1, channels), or None: what
            they look like.
        probe: With an inverse, where the target is quantities.
    """

    def __init__(
        self,
        net: TiledNetwork,
        strength: float,
        target: Mapping[str, float] | Tensor | None,
        probe: DegradationProbe | None,
    ) -> None:
        self.net, self.strength, self.target, self.probe = net, strength, target, probe

    def represent(self, colour: Canvas) -> Tensor:
        """The representation of an image (H, W, 3), (1, channels)."""
        with torch.inference_mode():
            return self.net.represent(Source(colour, self.net.device), _AT_A_TIME)

    def told(self, colour: Canvas) -> Tensor | None:
        """What is added to an image's representation at strength 1, (1, channels); None where no target is set."""
        if self.target is None:
            return None
        seen = self.represent(colour)
        if isinstance(self.target, Tensor):
            return self.target - seen
        return self._of_quantities(self.target, seen) - seen

    def to_clean(self, colour: Canvas, restored: Canvas, told: Tensor | None) -> Tensor:
        """From the representation that an image was restored under to that of the clean image, (1, channels).

        Args:
            colour: The image, (H, W, 3).
            restored: What became of it at strength 1, (scale * H, scale * W, 3).
            told: What :meth:`told` gave for it.
        """
        seen = self.represent(colour)
        clean = self.represent(shrink_by_bands(restored, self.net.scale))
        return clean - (seen if told is None else seen + told)

    def _of_quantities(self, values: Mapping[str, float], seen: Tensor) -> Tensor:
        """The representation of images under a degradation; what is not named of it is as the probe reads it."""
        probe: Any = self.probe
        read = probe.read(seen[0].float().cpu().numpy())
        ranges: Mapping[str, tuple[float, float]] = probe.inverse.ranges
        whole = {name: values.get(name, min(max(read[name], low), high)) for name, (low, high) in ranges.items()}
        return torch.from_numpy(probe.inverse.representation(whole))[None].to(seen)


def at_strength(told: Tensor | None, to_clean: Tensor, strength: float) -> Tensor | None:
    """What is added to a representation at a strength, given :meth:`Steering.told` and :meth:`Steering.to_clean`."""
    if strength == 1:
        return told
    step = (1 - strength) * to_clean
    return step if told is None else told + step
