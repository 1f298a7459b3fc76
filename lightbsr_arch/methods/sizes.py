"""Read a network's sizes off its state dict, so that a file can be checked before it is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor


class Sizes:
    """The shapes in one state dict, from which a method reads its network's sizes."""

    def __init__(self, state_dict: Mapping[str, Tensor]) -> None:
        self.state_dict = state_dict

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a weight.

        Raises:
            ValueError: There is no such weight.
        """
        if key not in self.state_dict:
            raise ValueError(f"not a state dict of a method that is here: it has no {key!r}.")
        return tuple(self.state_dict[key].shape)

    def count(self, pattern: str) -> int:
        """How many different numbers the pattern's group matches in the names of the weights."""
        return len({match.group(1) for match in (re.match(pattern, key) for key in self.state_dict) if match})

    def has(self, prefix: str) -> bool:
        """Whether any weight's name starts with a prefix."""
        return any(key.startswith(prefix) for key in self.state_dict)

    def network(self) -> dict[str, Any]:
        """What every network around the residual body has: ``scale`` and ``num_feat``.

        Raises:
            ValueError: The upsampler is of no scale that there is.
        """
        num_feat = self.shape("sr.head.weight")[0]
        growth = self.shape("sr.upsampler.0.weight")[0] // max(num_feat, 1)
        scale = {(4, 1): 2, (9, 1): 3, (4, 2): 4}.get((growth, self.count(r"sr\.upsampler\.(\d+)\.weight")))
        if scale is None:
            raise ValueError("not a state dict of a method that is here: its upsampler is none of x2, x3, x4.")
        return {"scale": scale, "num_feat": num_feat}

    def groups(self) -> dict[str, int]:
        """``num_group`` and ``num_block`` of a body with groups.

        Raises:
            ValueError: More blocks than the state dict has weights.
        """
        groups, blocks = self.count(r"sr\.groups\.(\d+)\."), self.count(r"sr\.groups\.0\.blocks\.(\d+)\.")
        if groups * blocks > len(self.state_dict):
            raise ValueError(f"not a complete state dict: {groups} groups of {blocks} blocks have more weights.")
        return {"num_group": groups, "num_block": blocks}

    def queue(self) -> dict[str, int]:
        """``queue_size`` of a momentum contrast; nothing where a trainer left the queue out of its checkpoint."""
        key = "momentum_contrast.queue"
        return {"queue_size": self.shape(key)[1]} if key in self.state_dict else {}
