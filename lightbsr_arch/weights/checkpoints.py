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

from lightbsr_arch.display import printable
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.weights.containers import (
    check_safetensors,
    check_torch_file,
    is_regular_file,
    is_safetensors,
    unpacked_size,
)
from lightbsr_arch.weights.foreign_weights import check_names, judge_state_dict
from lightbsr_arch.weights.published import convert_published_state_dict, is_published_state_dict

_WEIGHTS = ("params_ema", "params", "state_dict", "model", "model_state_dict")
"""Entries of a checkpoint under which its weights may lie, the preferred ones first."""

_ANCHORS = ("sr.head.weight", "G.head.0.weight")
"""A weight that every network of ours, or of a published code, has: what stands before it is a wrapper's."""

_MOST_NETWORKS = 50
"""Number of networks, copies included, that one checkpoint may hold."""

_UNREADABLE = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, OverflowError, struct.error),
    *(LookupError, TypeError, AttributeError, AssertionError, MemoryError, RecursionError),
)
"""What ``torch.load`` raises for bytes that nobody's ``torch.save`` wrote."""


def read_checkpoint(path: str | Path) -> Mapping[Any, Any]:
    """Read a ``.safetensors``, or a file that ``torch.save`` wrote, tensors and plain values alone.

    Raises:
        MissingFileError: No such file.
        OptionError: It is no such file, cut short, holds code or more than its size warrants; the message names it.
    """
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[Mapping[Any, Any], int]:
    """A file's content, and the bytes that it holds when unpacked."""
    if not is_regular_file(path):
        raise MissingFileError(f"no such checkpoint: {path}")
    try:
        with path.open("rb") as file:
            start = file.read(10)
        if is_safetensors(start) or path.suffix.lower() == ".safetensors":
            return _read_safetensors(path)
        room = check_torch_file(path)
    except (ValueError, OSError) as error:
        if isinstance(error, OptionError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise OptionError(f"{path}: not a checkpoint that can be read safely, or cut short ({reason}).") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        # Not torch's words: they advise to load the file with the code in it.
        raise OptionError(f"{path}: not a checkpoint that can be read safely, or cut short (it is damaged).") from error
    if not isinstance(content, Mapping):
        raise OptionError(f"{path}: expected a dictionary, got {type(content).__name__}.")
    return content, room


def _read_safetensors(path: Path) -> tuple[Mapping[Any, Any], int]:
    try:
        room = check_safetensors(path)
        return load_file(path), room
    except (SafetensorError, *_UNREADABLE) as error:
        reason = printable(error, 150)
        raise OptionError(f"{path}: not a safetensors file, or cut short ({reason}).") from error


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
        MissingFileError: No such file.
        OptionError: The file is no checkpoint, has no such entry, or what it holds are no plain weights; the message
            names the file and the key.
    """
    content, room = _read(Path(path))
    entries = [key for key in _WEIGHTS if isinstance(content.get(key), Mapping)]
    if param_key is not None and entries and param_key not in content:
        raise OptionError(f"{path}: has no {param_key!r}; it has {', '.join(entries)}.")
    if entries:
        content = content[entries[0] if param_key is None else param_key]
    try:
        return _in_our_layout(_without_wrapper(content), room)
    except ValueError as error:
        raise OptionError(f"{path}: {error}".removesuffix(".") + ".") from error


def plain_weights(path: str | Path, content: Any, room: int | None = None) -> dict[str, Tensor]:
    """Check that what a file held are plain weights, as :func:`load_state_dict` does, and take them as they are.

    Args:
        path: Of the file.
        content: What :func:`read_checkpoint` gave for it, or an entry of that.
        room: Bytes that the file holds; None looks.

    Raises:
        OptionError: They are not; the message names the file and the key.
    """
    if not isinstance(content, Mapping):
        raise OptionError(f"{path}: expected weights by name, got {type(content).__name__}.")
    path = Path(path)
    try:
        return judge_state_dict(content, unpacked_size(path) if room is None else room)
    except ValueError as error:
        raise OptionError(f"{path}: {error}.") from error


def _in_our_layout(content: Mapping[str, Any], room: int) -> dict[str, Tensor]:
    state_dict = judge_state_dict(content, room)
    if not is_published_state_dict(state_dict):
        return state_dict
    try:
        return convert_published_state_dict(state_dict)
    except (IndexError, RuntimeError) as error:
        raise ValueError("a published checkpoint whose weights have shapes that no network has") from error


def _without_wrapper(content: Any) -> dict[str, Any]:
    """Only what lies under a wrapper's name, with that name taken off."""
    if not isinstance(content, Mapping):
        raise ValueError(f"expected weights by name, got {type(content).__name__}")
    check_names(content)
    prefixes = {
        key.removesuffix(anchor)
        for key in content
        for anchor in _ANCHORS
        if key == anchor or key.endswith(f".{anchor}")
    }
    if not prefixes:
        return {key.removeprefix("module."): value for key, value in content.items()}
    if len(prefixes) > _MOST_NETWORKS:
        raise ValueError(f"holds {len(prefixes)} networks, more than {_MOST_NETWORKS}")
    # Of several copies of one network, the averaged one.
    prefix = min(prefixes, key=lambda name: ("ema" not in name, len(name)))
    others = [name for name in prefixes if name.startswith(prefix) and name != prefix]
    return {
        key.removeprefix(prefix): value
        for key, value in content.items()
        if key.startswith(prefix) and not any(key.startswith(other) for other in others)
    }
