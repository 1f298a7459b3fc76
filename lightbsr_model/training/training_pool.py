"""A pool of degraded samples, which mixes the degradations of many batches: ``datasets.train.pool``.

After Real-ESRGAN (arXiv 2107.10833, section 4.1): samples that are degraded together share sizes; in a pool those of different
batches meet. Images are kept in 8 bits, which they have, and what a pool holds is part of the training state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor

from lightbsr_arch.errors import OptionError


class TrainingPool:
    """Until it is full it keeps a copy of what comes; then samples change places with random ones of the pool.

    Args:
        size: Number of samples, a multiple of the batch.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self._kept: dict[str, Tensor] = {}

    def exchange(self, samples: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Put a batch in, and take one out.

        Args:
            samples: Tensors by name, the samples being their first dimension; always of the same names, shapes and dtypes.
            generator: On the CPU.

        Returns:
            The batch itself while the pool is filled; else as many samples that were in it, each once.

        Raises:
            OptionError: The size is no multiple of the batch, or the samples are of other shapes than before.
        """
        batch = len(next(iter(samples.values())))
        if self.size % batch:
            raise OptionError(
                "datasets.train.pool",
                f"expected a multiple of the {batch} samples of a batch (or of its part, with accum_iter), got {self.size}.",
            )
        if not self._kept:
            self._kept = {name: value.new_empty(self.size, *value.shape[1:]) for name, value in samples.items()}
        layouts = [
            {name: (value.shape[1:], value.dtype) for name, value in each.items()} for each in (self._kept, samples)
        ]
        if layouts[0] != layouts[1]:
            raise OptionError("datasets.train.pool", "the samples have other shapes than those in the pool.")
        if self.count < self.size:
            for name, value in samples.items():
                self._kept[name][self.count : self.count + batch] = value
            self.count += batch
            return dict(samples)
        places = torch.randperm(self.size, generator=generator)[:batch]
        taken = {}
        for name, value in samples.items():
            kept = self._kept[name]
            where = places.to(kept.device, non_blocking=True)
            taken[name] = kept[where]
            kept[where] = value
        return taken

    def state(self) -> dict[str, Any]:
        """For a training state."""
        return {
            "size": self.size,
            "count": self.count,
            "samples": {key: value.cpu() for key, value in self._kept.items()},
        }

    def load(self, state: Mapping[str, Any], device: torch.device, on_host: frozenset[str]) -> None:
        """Take over what a training state holds; of a pool of another size nothing.

        Args:
            state: What :meth:`state` gave.
            device: Where the samples go, but for those of ``on_host``.
            on_host: Names of what stays on the host.
        """
        if state["size"] != self.size:
            get_root_logger().warning(
                f"The training pool starts empty: it had {state['size']} samples, and has {self.size} now (pool)."
            )
            return
        self.count = int(state["count"])
        self._kept = {
            name: value.clone() if name in on_host else value.to(device) for name, value in state["samples"].items()
        }


def pool_states(model: Any) -> list[dict[str, Any]] | None:
    """What the pools of all processes hold, for a training state; None for a model without one.

    All processes call it together.
    """
    pool = getattr(getattr(model, "degrader", None), "pool", None)
    if pool is None:
        return None
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [pool.state()]
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, pool.state())
    return gathered


def pool_of(states: list[dict[str, Any]] | None, rank: int) -> dict[str, Any] | None:
    """One process's share of :func:`pool_states`; None where there is none."""
    return states[rank] if states is not None and rank < len(states) else None
