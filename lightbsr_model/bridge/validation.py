"""Validation once, at the correct iteration, and split over the processes.

``basicsr/train.py:211`` validates again after the last iteration, under a number that is one too high;
``models/sr_model.py:137`` runs all of it on rank 0, while the other ranks wait and may time out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import basicsr.models.sr_model as sr_model
import torch
from basicsr.models.sr_model import SRModel
from torch.utils.data import DataLoader, Subset

from lightbsr_model.bridge.stopping import ValidationInterrupted
from lightbsr_model.runtime.processes import take_rank_0s_values


class _NamedSubset(Subset[Any]):
    """A subset that keeps its data set's options."""

    @property
    def opt(self) -> Any:
        return self.dataset.opt  # type: ignore[attr-defined]


def dist_validation(model: Any, loader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
    """Replaces ``SRModel.dist_validation``: every rank validates a share, with the same figures as one process.

    A model that overrides the validation runs its own on rank 0, as in BasicSR.

    Raises:
        ValidationInterrupted: On all ranks, if any of them was asked to stop.
    """
    # Rank 0's BatchNorm statistics are the saved ones; the others' come from their own last batch.
    take_rank_0s_values(model)
    if type(model).nondist_validation is not SRModel.nondist_validation:
        validate = partial(model.nondist_validation, loader, current_iter, tb_logger, save_img)
        _gather_unless_interrupted(validate if model.opt["rank"] == 0 else list)
        return
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    dataset = loader.dataset
    share = _NamedSubset(dataset, range(rank, len(dataset), world_size))
    metrics = model.opt["val"].get("metrics")

    def validate_share() -> list[list[float]]:
        with _recorded_metrics(model) as recorded:
            if len(share):
                share_loader: DataLoader[Any] = DataLoader(share, batch_size=1, shuffle=False, num_workers=0)
                model.nondist_validation(share_loader, current_iter, None, save_img)
        return [recorded[i : i + len(metrics)] for i in range(0, len(recorded), len(metrics))] if metrics else []

    gathered = _gather_unless_interrupted(validate_share)
    if metrics is None:
        return
    # In the order of the images, so that the sum is rounded as with one process.
    in_order = [gathered[index % world_size][index // world_size] for index in range(len(dataset))]
    name = dataset.opt["name"]
    model._initialize_best_metric_results(name)
    model.metric_results = {}
    for column, metric in enumerate(metrics):
        total: float = 0
        for row in in_order:
            total += row[column]
        model.metric_results[metric] = total / len(dataset)
        model._update_best_metric_result(name, metric, model.metric_results[metric], current_iter)
    if rank == 0:
        model._log_validation_metric_values(current_iter, name, tb_logger)


def _gather_unless_interrupted(validate: Callable[[], Any]) -> list[Any]:
    """Validate on every rank, and return the results of each."""
    found: Any
    try:
        found = (validate(),)
    except ValidationInterrupted:
        found = None
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, found)
    if None in gathered:
        raise ValidationInterrupted
    return [value for (value,) in gathered]


@contextmanager
def _recorded_metrics(model: Any) -> Iterator[list[float]]:
    """Keep each image's figures, and keep the means of a share out of the log and the records."""
    recorded: list[float] = []
    calculate = sr_model.calculate_metric

    def record(data: Any, opt: Any) -> Any:
        value = calculate(data, opt)
        recorded.append(float(value))
        return value

    sr_model.calculate_metric = record
    model._log_validation_metric_values = lambda *_: None
    model._update_best_metric_result = lambda *_: None
    try:
        yield recorded
    finally:
        sr_model.calculate_metric = calculate
        del model._log_validation_metric_values, model._update_best_metric_result
