"""Where a network runs: a device by name, checked to be there."""

from __future__ import annotations

import torch

from lightbsr_arch.errors import OptionError


def find_device(device: str | torch.device) -> torch.device:
    """The device of a name; ``auto`` is CUDA or Apple's GPU where there is one, else the CPU.

    Raises:
        OptionError: It is no device, or is not there.
    """
    has_mps = torch.backends.mps.is_available()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise OptionError(f"device: expected auto, cpu, cuda, cuda:N or mps, got {device!r}.") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": has_mps}.get(chosen.type)
    if there is None:
        raise OptionError(f"device: expected auto, cpu, cuda, cuda:N or mps, got {device!r}.")
    if not there or (chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()):
        raise OptionError(f"device: there is no {device} here; `auto` or `cpu` work.")
    return chosen
