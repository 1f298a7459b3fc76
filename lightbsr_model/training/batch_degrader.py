"""Degrading training batches on the device, for any model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from basicsr.models.sr_model import SRModel
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_model.data.lq_images import degradation_of_batches
from lightbsr_model.degradation.base import ON_HOST, Params, SharesSizes, params_of, shared_by_batch, without_margin
from lightbsr_model.degradation.gaussian import ANY_GAUSSIAN
from lightbsr_model.runtime.processes import tensors_of_rank_0
from lightbsr_model.runtime.random_streams import derive_seed
from lightbsr_model.training.batch import Batch
from lightbsr_model.training.training_pool import TrainingPool

Arrange = Callable[[Tensor], Tensor]
"""What becomes of (N, V, 3, H, W) GT views before they are degraded."""


class BatchDegrader:
    """Makes LR images of a training set's GT images, a whole batch at a time.

    All that it draws comes from generators that are seeded by the seed, the rank, the iteration and the part of the
    iteration's batch, so that a resumed run draws the same.

    Args:
        opt: A run's options; of ``datasets.train`` it reads what draws the degradations (``preset``, ``degradation``,
            ``border``, ``mix``), ``scale``, ``degradation_per`` and ``pool``.
        device: Of the training.

    Raises:
        OptionError: An unknown preset, or values that do not fit it.
    """

    def __init__(self, opt: Mapping[str, Any], device: torch.device) -> None:
        self._seed, self._rank, self._world_size = opt["manual_seed"], opt["rank"], opt.get("world_size", 1)
        train_set = opt["datasets"].get("train", {})
        degradation = degradation_of_batches(train_set)
        self.degradation = degradation or replace(ANY_GAUSSIAN, border=train_set.get("border", "clamp"))
        self.scale = train_set.get("scale")
        self.per = train_set.get("degradation_per") or "sample"
        self._noise, self._device = torch.Generator(device), device
        size = int(train_set.get("pool") or 0)
        self.pool = TrainingPool(size) if size else None
        """Mixes the samples of many batches; None without ``pool``."""
        self.is_shared = False
        """Whether all processes take rank 0's parameters, for a model that learns something of one degradation from all."""
        self.iteration = self._part = 0

    def begin(self, iteration: int) -> None:
        """Start an iteration."""
        self.iteration, self._part = iteration, 0

    def seeded(self, purpose: str, generator: torch.Generator) -> torch.Generator:
        """Seed a generator for a purpose within the current part of a batch."""
        return generator.manual_seed(derive_seed(self._seed, purpose, self._rank, self.iteration, self._part))

    def begin_part(self) -> None:
        """Start a part of the iteration's batch."""
        self._part += 1

    def seeds_of_samples(self, purpose: str, count: int) -> Sequence[int]:
        """A seed for each sample of the current part, by its place in the batch of all processes.

        BasicSR's sampler gives process r of n the samples r, r + n, ...: what one process draws for a sample, any number of
        processes draw for it.
        """
        places = range(self._rank, self._rank + count * self._world_size, self._world_size)
        return [derive_seed(self._seed, purpose, "sample", self.iteration, self._part, place) for place in places]

    def __call__(self, tensors: Mapping[str, Tensor], arrange: Arrange | None = None) -> Batch:
        """Degrade the next part of the iteration's batch.

        Args:
            tensors: ``gt_views`` (N, V, 3, H, W) uint8, with the degradation's margin, and the parameters of the degradation,
                as :func:`to_device` gives them.
            arrange: Changes the views before they are degraded.
        """
        params = params_of(self.degradation, tensors)
        if not params:
            raise OptionError(
                f"a batch has {', '.join(tensors)}: expected {', '.join(self.degradation.names)} beside `gt_views`."
            )
        self.begin_part()
        if self.per == "batch":
            params = shared_by_batch(params)
        elif self.per == "sizes":
            params = {**params, **cast(SharesSizes, self.degradation).sharing_sizes(params)}
        if self.is_shared:
            params = tensors_of_rank_0(params)
        gt_views = tensors["gt_views"] if arrange is None else arrange(tensors["gt_views"])
        views = self.degradation.apply(gt_views, params, self.scale, self.seeded("noise", self._noise))
        known = {
            name: value for name, value in {**tensors, **params}.items() if name in ("kernel", "noise_level", "prior")
        }
        gt = without_margin(gt_views[:, 0], self.degradation, self.scale)
        if self.pool is not None:
            views, gt, params, known = self._pooled(self.pool, views, gt, params, known)
        is_whole = all(name in params for name in self.degradation.names)
        vector = self.degradation.vector(params).to(gt.device, non_blocking=True) if is_whole else None
        return Batch(views[:, 0], gt.float() / 255, views, params=params, parameters=vector, **known)

    def _pooled(
        self, pool: TrainingPool, views: Tensor, gt: Tensor, params: Params, known: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Params, dict[str, Tensor]]:
        """Exchange the samples of a batch for some of the pool."""
        # LR images are multiples of 1/255: nothing is lost.
        samples = {"views": (views * 255).round().to(torch.uint8), "gt": gt, **known, **params}
        samples = pool.exchange(samples, self.seeded("pool", torch.Generator()))
        chosen = {name: samples[name] for name in params}
        return samples["views"].to(views) / 255, samples["gt"], chosen, {name: samples[name] for name in known}

    def resume(self, pool_state: Mapping[str, Any] | None) -> None:
        """Take over what a training state holds of the pool, see :mod:`lightbsr_model.training.training_pool`."""
        if self.pool is not None and pool_state is not None:
            self.pool.load(pool_state, self._device, ON_HOST)


def to_device(data: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
    """The tensors of a batch, on a device, but for parameters that stay on the host (:data:`base.ON_HOST`)."""
    return {
        key: value if key in ON_HOST else value.to(device, non_blocking=True)
        for key, value in data.items()
        if torch.is_tensor(value)
    }


_FEED_DATA = SRModel.feed_data


def feed_data(model: Any, data: Mapping[str, Any]) -> None:
    """Stand in for ``SRModel.feed_data``: BasicSR's models train on data that are degraded on the device too.

    Raises:
        OptionError: Several views, of which these models would see one.
    """
    if "lq" in data or "gt_views" not in data:
        _FEED_DATA(model, data)
        return
    if data["gt_views"].shape[1] != 1:
        raise OptionError(
            "datasets.train.views",
            f"{type(model).__name__} sees one view of a sample: expected 1, got {data['gt_views'].shape[1]}.",
        )
    if not hasattr(model, "degrader"):
        model.degrader = BatchDegrader(model.opt, model.device)
        model.degrader.resume(getattr(model, "saved_pool", None))
    iteration = getattr(model, "completed_iter", 0) + 1
    if model.degrader.iteration != iteration:
        model.degrader.begin(iteration)
    batch = model.degrader(to_device(data, model.device))
    model.lq, model.gt = batch.lq, batch.gt
