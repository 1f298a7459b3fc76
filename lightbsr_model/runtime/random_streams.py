"""Randomness as a function of the position in a run, so that a resumed run draws what an uninterrupted one would.

BasicSR saves no generator state, seeds the workers of all epochs alike (``data/__init__.py:97``) and repeats the epoch of a
resumed run from the start. Here nothing needs saving: every sample and every iteration has its own seed, derived from
``manual_seed`` and its position in the run.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*parts: int | str) -> int:
    """Hash integers and strings to a 63-bit seed."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch, including CUDA's."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - what BasicSR's data sets draw from
    torch.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's global generators within the context, and restore their states afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
