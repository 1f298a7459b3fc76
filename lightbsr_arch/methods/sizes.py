"""Infer a network's sizes from its state dict, so that a file can be checked before it is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor


class Sizes:
    """The shapes in a state dict, from which a method infers its network's sizes."""

    def __init__(self, state_dict: Mapping[str, Tensor]) -> None:
        self.state_dict = state_dict

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a weight.

        Raises:
            ValueError: There is no such weight.
        """
        if key not in self.state_dict:
            raise ValueError(f"not a state dict of a known method: it has no {key!r}.")
        return tuple(self.state_dict[key].shape)

    def count(self, pattern: str) -> int:
        """Number of different values that the pattern's group matches in the keys."""
        return len({match.group(1) for match in (re.match(pattern, key) for key in self.state_dict) if match})

    def has(self, prefix: str) -> bool:
        """Whether any key starts with a prefix."""
        return any(key.startswith(prefix) for key in self.state_dict)

    def network(self) -> dict[str, Any]:
        """``scale`` and ``num_feat``, which every network with the residual body has.

        Raises:
            ValueError: The upsampler is not one of x2, x3 and x4.
        """
        num_feat = self.shape("sr.head.weight")[0]
        return {"scale": self.scale(num_feat), "num_feat": num_feat}

    def scale(self, num_feat: int, prefix: str = "sr.") -> int:
        """The scale that an upsampler of pixel shuffles has.

        Args:
            num_feat: Number of channels of its input.
            prefix: What its weights' names have before ``upsampler``.

        Raises:
            ValueError: It is not one of x2, x3 and x4.
        """
        growth = self.shape(f"{prefix}upsampler.0.weight")[0] // max(num_feat, 1)
        number = self.count(rf"{re.escape(prefix)}upsampler\.(\d+)\.weight")
        scale = {(4, 1): 2, (9, 1): 3, (4, 2): 4}.get((growth, number))
        if scale is None:
            raise ValueError("not a state dict of a known method: its upsampler is not x2, x3 or x4.")
        return scale

    def start(self) -> dict[str, Any]:
        """``image_skip`` and ``tail_activation`` of a network that can be built with them."""
        tail = "lr" if "sr.tail.1.weight" in self.state_dict else None
        return {
            "image_skip": "sr.image_skip" in self.state_dict,
            "tail_activation": "hr" if "sr.upsampler.1.slope" in self.state_dict else tail,
        }

    def groups(self) -> dict[str, int]:
        """``num_group`` and ``num_block`` of a body with groups.

        Raises:
            ValueError: There would be more blocks than the state dict has weights.
        """
        groups, blocks = self.count(r"sr\.groups\.(\d+)\."), self.count(r"sr\.groups\.0\.blocks\.(\d+)\.")
        if groups * blocks > len(self.state_dict):
            raise ValueError(f"not a complete state dict: {groups} groups of {blocks} blocks would have more weights.")
        return {"num_group": groups, "num_block": blocks}

    def queue(self) -> dict[str, int]:
        """``queue_size`` of a momentum contrast; empty if the checkpoint has no queue."""
        key = "momentum_contrast.queue"
        return {"queue_size": self.shape(key)[1]} if key in self.state_dict else {}
