"""What a resumed run takes from the option file, and what from its state.

The file decides, and each difference is logged: BasicSR loads the complete states of optimisers and schedulers, including old
learning rates, betas and milestones, so that changed options are silently ignored. The state supplies the weights, the
optimisers' moments and the schedules' positions. A state that does not fit (another type of network or optimiser, other sizes)
is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger

from lightbsr_arch import __version__
from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge.checkpoint_saving import META_KEY
from lightbsr_model.option_files.document import KeyPath, parse_document
from lightbsr_model.option_files.whole_options import with_defaults
from lightbsr_model.runtime.plain_values import plain

_MISSING = "not given"
_OUTSIDE = ("name", "path", "logger", "val", "num_gpu", "dist_params")
_OUTSIDE_OF_DATA = ("name", "num_worker_per_gpu", "prefetch_mode", "num_prefetch_queue", "pin_memory", "io_backend")
_STANDING = ("last_epoch", "_step_count", "_last_lr", "_is_initial", "_get_lr_called_within_step")
"""Entries that hold a schedule's position; the others are its settings."""
_MARKS = ("betas", "momentum", "alpha", "rho", "lambd", "etas", "lr_decay", "beta2_decay")
"""Options that distinguish types of optimisers."""
_SHAPED = ("exp_avg", "exp_avg_sq", "momentum_buffer", "sum", "square_avg")
"""Entries of an optimiser's state that have the shape of their weight."""


def refuse_other_types(path: Path, about: Mapping[str, Any], opt: Mapping[str, Any]) -> None:
    """Check that a state's networks and optimisers have the types of the option file.

    Args:
        path: The state.
        about: Its description of itself; empty for a state of stock BasicSR.
        opt: The run's options.

    Raises:
        OptionError: A type differs; the message names the key.
    """
    ignored = opt["path"].get("ignore_resume_networks") or ()
    for key, old, new in _differences(_given_before(about), _given_now(opt)):
        is_network = len(key) == 2 and key[0].startswith("network_") and key[0] not in ignored
        is_optimiser = len(key) == 3 and key[0] == "train" and key[1].startswith("optim_")
        if key[-1] == "type" and (is_network or is_optimiser) and _MISSING not in (old, new):
            raise OptionError(
                f"{path} was saved with {'.'.join(key)}: {old}, and the option file says {new}: this cannot be changed when "
                "resuming. Change it back, or start a new run from the network (path.pretrain_network_*)."
            )


def changed_networks(state: Mapping[str, Any], opt: Mapping[str, Any]) -> list[str]:
    """The differences between the networks of a state and of the option file."""
    differences = _changes(_given_before(state.get(META_KEY) or {}), _given_now(opt))
    return [f"{'.'.join(key)} {old} -> {new}" for key, old, new in differences if key[0].startswith("network_")]


def take_options_from_file(model: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Apply the option file's optimiser and scheduler settings to a state, and log all differences from its run.

    Args:
        model: The new model, whose optimisers and schedulers are built from the option file.
        state: What :func:`~lightbsr_model.bridge.resume.load_resume_state` returned.

    Returns:
        The state, to be loaded by ``resume_training``.

    Raises:
        OptionError: The optimisers are of another type, or for other weights.
    """
    about = state.get(META_KEY) or {}
    optimizers, schedulers = state["optimizers"], state["schedulers"]
    for what, mine, saved in (
        ("optimisers", model.optimizers, optimizers),
        ("schedules", model.schedulers, schedulers),
    ):
        if len(mine) != len(saved):
            raise OptionError(
                f"the state of iteration {state['iter']} has {len(saved)} {what}, this model has {len(mine)}: it belongs to "
                "another model. Start a new run from its networks (path.pretrain_network_*)."
            )
    changes: list[str] = []
    adapted = {
        **state,
        "optimizers": [
            _adapt_optimizer(number, optimizer, saved, changes)
            for number, (optimizer, saved) in enumerate(zip(model.optimizers, optimizers, strict=True))
        ],
        "schedulers": [_adapt_schedule(*pair) for pair in zip(model.schedulers, schedulers, strict=True)],
    }
    if about:
        _log_differences(about, model.opt)
    else:  # of stock BasicSR: only its optimisers' settings are known
        for change in changes:
            get_root_logger().warning(f"Resumed with a change: {change}: taken from the file.")
    return adapted


# ---- optimisers and schedules


def _adapt_optimizer(number: int, optimizer: Any, saved: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """The saved state of an optimiser with the new one's hyperparameters."""
    sizes = [[len(group["params"]) for group in groups] for groups in (optimizer.param_groups, saved["param_groups"])]
    if sizes[0] != sizes[1]:
        raise OptionError(
            f"the state's optimiser {number} has {sizes[1]} weights, this model's has {sizes[0]}: it belongs to another "
            "network. Start a new run from its network (path.pretrain_network_*)."
        )
    groups = []
    for new, old in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        if any((mark in new) != (mark in old) for mark in _MARKS):
            raise OptionError(
                f"the state's optimiser {number} is of another type than {type(optimizer).__name__}: this cannot be changed "
                "when resuming. Change train.optim_*.type back, or start a new run from the network "
                "(path.pretrain_network_*)."
            )
        _check_shapes(number, new, old, saved["state"])
        settings = {key: value for key, value in new.items() if key not in ("params", "lr")}
        start, old_start = (float(group.get("initial_lr", group["lr"])) for group in (new, old))
        # Schedules here compute the rate in each iteration; one that multiplies the last rate finds it scaled alike.
        settings["lr"] = old["lr"] * start / old_start if old_start and start != old_start else old["lr"]
        changes += [
            f"optimiser {number}: {'lr' if key == 'initial_lr' else key} {old[key]} -> {settings[key]}"
            for key in settings
            if key not in ("lr", "fused", "foreach") and key in old and plain(old[key]) != plain(settings[key])
        ]
        groups.append({**settings, "params": old["params"]})
    return {**saved, "param_groups": groups}


def _check_shapes(number: int, group: Mapping[str, Any], old: Mapping[str, Any], state: Mapping[Any, Any]) -> None:
    for parameter, name in zip(group["params"], old["params"], strict=True):
        for entry, value in state.get(name, {}).items():
            if entry in _SHAPED and torch.is_tensor(value) and value.shape != parameter.shape:
                raise OptionError(
                    f"the state's optimiser {number} has {entry} of shape {tuple(value.shape)} for a weight of shape "
                    f"{tuple(parameter.shape)}: it belongs to another network."
                )


def _adapt_schedule(schedule: Any, saved: dict[str, Any]) -> dict[str, Any]:
    """The position of a saved schedule; rates, lengths and steps are the new one's, if its type is known."""
    new = {key: value for key, value in vars(schedule).items() if key != "optimizer"}
    is_known = type(schedule).__module__.startswith(("basicsr.", "lightbsr_model."))
    kept = _STANDING if is_known else [key for key in saved if key != "base_lrs"]
    return {"base_lrs": new["base_lrs"], **{key: saved[key] for key in kept if key in saved}}


# ---- differences


def _given_before(about: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a state was saved with; for an older version, its file without forced values."""
    return dict(about.get("options") or plain(parse_document(about.get("option_file") or "").options))


def _given_now(opt: Mapping[str, Any]) -> dict[str, Any]:
    given = opt.get("given_options")
    return dict(plain(given.options)) if given is not None else {}


def _differences(old: Any, new: Any, key: KeyPath = ()) -> Iterator[tuple[KeyPath, Any, Any]]:
    """All values in which two sets of options differ; missing ones count as null. Empty if one set is unknown."""
    if not key and not (old and new):
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(name, _MISSING), new.get(name, _MISSING), (*key, name))
    elif old != new and not {str(old), str(new)} <= {_MISSING, "None"}:
        yield key, old, new


def _changes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[KeyPath, Any, Any]]:
    """The differences, but for a default that one of the two leaves out: the copy of a file with a base gives them all."""
    differences = list(_differences(old, new))
    bare = deepcopy(new)
    for key, before, _ in differences:
        if before == _MISSING:
            del _value(bare, key[:-1])[key[-1]]
    # Of the new options alone: the old ones are of a file from anywhere, and their classes are not looked for.
    defaults = plain(with_defaults(bare))
    for key, before, now in differences:
        if _MISSING not in (before, now) or _value(defaults, key) not in (before, now):
            yield key, before, now


def _value(options: Any, key: KeyPath) -> Any:
    for name in key:
        options = options[name] if isinstance(options, Mapping) and name in options else None
    return options


def _log_differences(about: Mapping[str, Any], opt: Mapping[str, Any]) -> None:
    logger = get_root_logger()
    if about.get("name") and about["name"] != opt["name"]:
        logger.info(f"{opt['name']} continues from a state of the run {about['name']}.")
    for what, old, new in (
        ("processes", about.get("world_size"), opt.get("world_size")),
        ("lightbsr", about.get("version"), __version__),
    ):
        if old is not None and old != new:
            logger.warning(f"Resumed with a change: {what} {old} -> {new}.")
    without_effect = []
    for key, old, new in _changes(_given_before(about), _given_now(opt)):
        change = f"{'.'.join(key)} {old} -> {new}"
        if _is_outside(key):
            without_effect.append(change)
        else:
            logger.warning(f"Resumed with a change: {change}: taken from the file.")
    if without_effect:
        logger.info(f"Changed without effect on the weights: {', '.join(without_effect)}.")


def _is_outside(key: KeyPath) -> bool:
    """Whether an option has no effect on the weights."""
    if key[0] == "datasets":
        return key[1].startswith("val") or (len(key) > 2 and key[2] in _OUTSIDE_OF_DATA)
    return key[0] in _OUTSIDE
