"""Which keys BasicSR and this project know, and of which type, read off the code that reads them."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

import torch
from basicsr.models import lr_scheduler

from lightbsr_model.training.schedule import TWO_PHASE_SCHEDULES


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


TOP = _words(
    "name model_type scale num_gpu manual_seed datasets path train val logger dist_params find_unused_parameters "
    "deterministic"
)
LOADER = _words(
    "name type phase scale io_backend num_worker_per_gpu batch_size_per_gpu dataset_enlarge_ratio prefetch_mode "
    "num_prefetch_queue pin_memory persistent_workers skip_bad_images"
)
TRAIN = _words("total_iter warmup_iter accum_iter grad_clip max_nonfinite keep_checkpoints sync_bn")
VAL = _words("val_freq save_img")
LOGGER = _words("print_freq save_checkpoint_freq use_tb_logger wandb")
DIST = _words("backend port timeout_minutes")
PATH = _words(
    "resume_state ignore_resume_networks experiments_root models training_states log visualization results_root"
)
PATH_PREFIXES = ("pretrain_network_", "param_key_", "strict_load_")
TEACHER = _words("network path param_key start_student")

SCHEDULERS = {
    "MultiStepLR": lr_scheduler.MultiStepRestartLR,
    "MultiStepRestartLR": lr_scheduler.MultiStepRestartLR,
    "CosineAnnealingRestartLR": lr_scheduler.CosineAnnealingRestartLR,
    **TWO_PHASE_SCHEDULES,
}
"""Schedules by the names that option files use."""

OPTIMISERS = {
    name: value
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
}
"""torch's optimisers by name."""

NEVER_READ = {
    "": _words("suffix save_img crop_border"),
    "datasets": _words("use_shuffle"),
    "network": _words("ema_decay"),
}
"""Keys that BasicSR's own option files carry, by section, and that nothing in BasicSR 1.4.2 reads there."""


def is_foreign(cls: type) -> bool:
    """Whether a class is neither BasicSR's nor ours, so that its code may read keys in ways that cannot be seen."""
    return cls.__module__.partition(".")[0] not in ("basicsr", "lightbsr_model", "lightbsr_arch")


def is_basicsr(cls: type) -> bool:
    """Whether a class is one of BasicSR's own."""
    return cls.__module__.partition(".")[0] == "basicsr"


def names_in(registry: Any) -> set[str]:
    """The names that :func:`~lightbsr_model.option_files.class_lookup.look_up` finds."""
    return {name.removesuffix("_basicsr") for name in registry.keys()}  # noqa: SIM118 - a registry yields pairs


def arguments_of(cls: Any, without: Collection[str] = ()) -> tuple[dict[str, inspect.Parameter], bool]:
    """A class's or function's arguments by name, and whether it takes any others (``**kwargs``)."""
    parameters = inspect.signature(cls).parameters
    kinds = {value.kind for value in parameters.values()}
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    named = {name: value for name, value in parameters.items() if name not in without and value.kind not in variable}
    return named, inspect.Parameter.VAR_KEYWORD in kinds
