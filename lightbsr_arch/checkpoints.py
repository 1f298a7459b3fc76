"""Read network weights from a file, whatever wrapped them, without running code in it."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lightbsr_arch.published import convert_published_state_dict, is_published_state_dict

_WEIGHTS = ("params_ema", "params", "state_dict", "model", "model_state_dict")
"""Entries of a checkpoint under which its weights may lie, the preferred ones first."""

_ANCHORS = ("sr.head.weight", "G.head.0.weight")
"""A weight that every network of ours, or of a published code, has: what stands before it is a wrapper's."""

_UNREADABLE = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, OverflowError, struct.error),
    *(LookupError, TypeError, AttributeError, AssertionError),
)
"""What ``torch.load`` raises for bytes that nobody's ``torch.save`` wrote."""


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Read a ``.safetensors``, or a file that ``torch.save`` wrote, tensors and plain values alone.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is no such file, cut short, or holds code; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a safetensors file, or cut short ({error}).") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: not a checkpoint that can be read safely, or cut short ({reason}).") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected a dictionary, got {type(content).__name__}.")
    return content


def load_state_dict(path: str | Path, param_key: str | None = None) -> dict[str, Tensor]:
    """Read a state dict of ours from any file that holds one, whatever wrapped it.

    Args:
        path: A ``.safetensors``, a BasicSR checkpoint, a bare state dict or a published checkpoint.
        param_key: Entry of the checkpoint. None takes the first of ``params_ema``, ``params``, ``state_dict``, ``model``
            and ``model_state_dict`` that is there, else the file itself.

    Returns:
        The state dict, on the CPU, in this package's layout, without what DistributedDataParallel, ``torch.compile`` or a
        trainer put before the names. An averaged copy is preferred.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is no checkpoint, or has no such entry; the message names the file.
    """
    content = read_checkpoint(path)
    entries = [key for key in _WEIGHTS if isinstance(content.get(key), Mapping)]
    if param_key is not None and entries and param_key not in content:
        raise ValueError(f"{path}: has no {param_key!r}; it has {', '.join(entries)}.")
    if entries:
        content = content[entries[0] if param_key is None else param_key]
    state_dict = _without_wrapper(content)
    not_tensors = [key for key, value in state_dict.items() if not isinstance(value, Tensor)]
    if not_tensors:
        raise ValueError(
            f"{path}: expected weights only, but {not_tensors[0]!r} is a {type(state_dict[not_tensors[0]]).__name__}."
        )
    if is_published_state_dict(state_dict):
        try:
            return convert_published_state_dict(state_dict)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return state_dict


def _without_wrapper(content: Mapping[str, Any]) -> dict[str, Any]:
    """Only what lies under a wrapper's name, with that name taken off."""
    prefixes = {
        key.removesuffix(anchor)
        for key in content
        for anchor in _ANCHORS
        if key == anchor or key.endswith(f".{anchor}")
    }
    if not prefixes:
        return {key.removeprefix("module."): value for key, value in content.items()}
    # Of several copies of one network, the averaged one.
    prefix = min(prefixes, key=lambda name: ("ema" not in name, len(name)))
    others = [name for name in prefixes if name.startswith(prefix) and name != prefix]
    return {
        key.removeprefix(prefix): value
        for key, value in content.items()
        if key.startswith(prefix) and not any(key.startswith(other) for other in others)
    }
