"""The weight names of a published code, and the corresponding names here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

Rename = tuple[re.Pattern[str], str]


@dataclass(frozen=True)
class PublishedLayout:
    """The layout of a method's published state dicts."""

    rgb_mean: tuple[float, float, float]
    """The mean colour of its fixed layers, in the value range of the network."""
    renames: Sequence[Rename]
    """Patterns of published prefixes, and ours; the rest of a key is kept."""
    modulation: str | None = None
    """A key that modulated blocks have and the plain block at the end of a group lacks, if there is one."""
    finish: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None
    """Changes the renamed weights where other values are needed."""
    apart: tuple[str, ...] = ()
    """Prefixes of weights of ours that the published code keeps in a file of their own."""
    add_prior_basis: Callable[[dict[str, Tensor], Tensor | None], dict[str, Tensor]] | None = None
    """Adds the basis of a teacher's prior, which published checkpoints do not hold; None for a method without one."""

    def rename(self, key: str) -> str | None:
        """Our name of a published key; None if it is unknown."""
        for pattern, ours in self.renames:
            match = pattern.match(key)
            if match:
                return match.expand(ours) + key[match.end() :]
        return None


def renames(*pairs: tuple[str, str]) -> tuple[Rename, ...]:
    """Compile patterns of published prefixes with our names."""
    return tuple((re.compile(pattern), ours) for pattern, ours in pairs)


_GROUP = r"G\.body\.(\d+)\."
BLOCK = r"G\.body\.(\d+)\.body\.(\d+)\."
"""A block within a group, in codes that have groups."""
OUR_BLOCK = r"sr.groups.\1.blocks.\2."

ENDS = (
    (r"G\.head\.0\.", "sr.head."),
    (r"G\.tail\.0\.", "sr.upsampler."),
    (r"G\.tail\.1\.", "sr.last."),
)
"""First and last layers, whose names all codes share."""
CONVNEXT = ((BLOCK + r"(gamma|dwconv\.|norm\.|pwconv1\.|pwconv2\.)", OUR_BLOCK + r"tail.\3"),)
GROUPS_CONV = (
    (_GROUP + r"body\.\d+\.(weight|bias)", r"sr.groups.\1.conv.\2"),
    (r"G\.body\.\d+\.(weight|bias)", r"sr.conv.\1"),
)
"""The convolutions after a group's blocks and after the groups."""
MOMENTUM_CONTRAST = (
    (r"E\.encoder_q\.E\.", "momentum_contrast.query.encoder.layers."),
    (r"E\.encoder_q\.mlp\.", "momentum_contrast.query.head."),
    (r"E\.encoder_k\.E\.", "momentum_contrast.key.encoder.layers."),
    (r"E\.encoder_k\.mlp\.", "momentum_contrast.key.head."),
    (r"E\.queue_ptr$", "momentum_contrast.queue_pointer"),
    (r"E\.queue$", "momentum_contrast.queue"),
)
"""The parts of MoCo; the pointer needs :func:`scalar_pointer`."""


def scalar_pointer(converted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Make MoCo's queue pointer, which has one dimension in published codes, a scalar."""
    key = "momentum_contrast.queue_pointer"
    return {**converted, key: converted[key].reshape(())} if key in converted else converted
