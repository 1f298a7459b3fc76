"""How large a tile may be."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

from lightbsr_arch.inference.tiles import ALIGNMENT, SMALLEST_TILE

_UNKNOWN = 4 << 30
"""Memory assumed to be free if the system does not report it, in bytes."""

_LIMITS = {"cpu": 768 << 20, "cuda": 8 << 30}
"""Largest memory for a tile, in bytes: larger tiles are not faster."""

_SHARE = 0.25
"""Of the memory that is free."""


_OUT_OF_MEMORY = (
    "can't allocate memory",  # torch's allocator for CPUs, on Unix
    "not enough memory",  # and on Windows
    "out of memory",  # Apple's GPUs
    "could not create a memory object",  # oneDNN, which has no class for it either
    "could not create a primitive",
    "bad_alloc",  # C++, on Unix
    "bad allocation",  # and on Windows
)
"""What a RuntimeError says, in lower case, where memory did not suffice."""


def free_memory(device: torch.device) -> int:
    """Free memory of a device in bytes, as reported by the system."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    free = _UNKNOWN
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:  # the kernel gives file caches back when memory is asked for
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) << 10
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        if limit != "max":
            free = min(free, int(limit) - used)
    except (OSError, ValueError):  # not Linux, or not in a container
        pass
    return max(free, 0)


def fitting_tile(bytes_per_pixel: int, scale: int, width: int, device: torch.device) -> int:
    """Side of the largest tile, in LR pixels, that is computed in a fair share of the free memory.

    Args:
        bytes_per_pixel: What the network takes for each LR pixel.
        scale: Of the network.
        width: Of the image in LR pixels: a row of tiles is joined in the computer's memory.
        device: Where it is computed.
    """
    budget = min(_SHARE * free_memory(device), _LIMITS.get(device.type, _LIMITS["cpu"]))
    tile = math.isqrt(int(budget) // bytes_per_pixel)
    joined = _SHARE * free_memory(torch.device("cpu"))
    row = min(joined, _LIMITS["cpu"]) / (width * scale**2 * 12)
    return max(min(tile, int(row)) // ALIGNMENT * ALIGNMENT, SMALLEST_TILE)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory did not suffice, on whichever device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)
