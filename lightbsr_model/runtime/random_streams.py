"""Randomness as a function of where a run stands, so that a resumed run draws what an undisturbed one would.

BasicSR saves no generator's state, seeds each epoch's workers alike (``data/__init__.py:97``) and lets a resumed run
replay its epoch from the start. Here nothing needs saving: every sample and every iteration has a seed of its own, made
of ``manual_seed`` and its place in the run.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*parts: int | str) -> int:
    """Mix integers and words into a seed of 63 bits."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators, CUDA's too."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - what BasicSR's data sets draw from
    torch.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's global generators for a while, and leave them as they were."""
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
