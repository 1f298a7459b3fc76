"""Judge weights that came from a file, before a network is built for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightbsr_arch.display import printable

_INTEGERS = frozenset(
    (
        torch.bool,
        torch.uint8,
        torch.uint16,
        torch.uint32,
        torch.uint64,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
    )
)

_NAMES_OF_ONE_WEIGHT = 8
"""A network may hold one weight under several names, which a file stores once."""


def check_names(content: Mapping[Any, Any]) -> None:
    """Check that all names are strings.

    Raises:
        ValueError: One is not.
    """
    for key in content:
        if not isinstance(key, str):
            raise ValueError(f"expected names of weights, but one of its keys is of type {type(key).__name__}")


def judge_state_dict(content: Mapping[Any, Any], room: int) -> dict[str, Tensor]:
    """Check that a mapping holds weights as a network has them: plain tensors, by name, no larger than their file.

    Nothing is copied or computed: a tensor whose strides are zero has as many values as it claims, wherever they lie.

    Args:
        content: What a file held.
        room: Bytes that the file holds.

    Returns:
        The same, as a dictionary.

    Raises:
        ValueError: It does not; the message names the key.
    """
    check_names(content)
    total = 0
    for key, value in content.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"expected weights only, but '{printable(key, 80)}' is a {type(value).__name__}")
        fault = _fault(value, room)
        if fault is not None:
            raise ValueError(f"'{printable(key, 80)}' is {fault}; expected a plain tensor")
        total += value.numel() * value.element_size()
    if total > _NAMES_OF_ONE_WEIGHT * room:
        raise ValueError(f"its tensors claim {total} bytes, and the file holds {room}")
    return dict(content)


def _fault(value: Tensor, room: int) -> str | None:
    """Why a tensor is no weight; None if it is one."""
    if value.is_nested:
        return "a nested tensor"
    if value.layout is not torch.strided:
        return "a sparse tensor"
    if value.device.type != "cpu":
        return f"a tensor of the device {value.device.type}, without values"
    if value.is_quantized:
        return "a quantised tensor"
    if not value.dtype.is_floating_point and value.dtype not in _INTEGERS:
        return f"of type {value.dtype}, neither floating nor integer"
    if max(value.shape, default=0) > room:
        return f"of shape {printable(tuple(value.shape), 80)}, more than the file holds"
    # Dense: sorted by stride, each dimension steps over all that the smaller ones reach.
    reach = 1
    for stride, size in sorted(zip(value.stride(), value.shape, strict=True)):
        if size > 1 and value.numel() > 0:
            if stride < reach:
                return f"a tensor of {value.numel()} values that share their places (strides {value.stride()})"
            reach = stride * (size - 1) + reach
    return None
