"""Read network weights from a file, whatever wrapped them, without running code in it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightbsr_arch.published import convert_published_state_dict, is_published_state_dict


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Read a file that ``torch.save`` wrote, tensors and plain values alone.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is no such file, cut short, or holds code; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: not a checkpoint that can be read safely, or cut short ({reason}).") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected a dictionary, got {type(content).__name__}.")
    return content


def load_state_dict(path: str | Path, param_key: str | None = None) -> dict[str, Tensor]:
    """Read a state dict of ours from a BasicSR checkpoint, a bare state dict, or a published checkpoint.

    Args:
        path: A ``.pth`` file.
        param_key: Entry of a BasicSR checkpoint, ``params`` or ``params_ema``. None takes ``params_ema`` where there
            is one, else ``params``.

    Returns:
        The state dict, on the CPU, in this package's layout.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is no checkpoint, or has no such entry; the message names the file.
    """
    content = read_checkpoint(path)
    entries = [key for key in ("params_ema", "params") if key in content]
    if entries:
        chosen = entries[0] if param_key is None else param_key
        if chosen not in content:
            raise ValueError(f"{path}: has no {chosen!r}; it has {', '.join(entries)}.")
        content = content[chosen]
    state_dict = {key.removeprefix("module."): value for key, value in content.items()}
    if is_published_state_dict(state_dict):
        try:
            return convert_published_state_dict(state_dict)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return state_dict
