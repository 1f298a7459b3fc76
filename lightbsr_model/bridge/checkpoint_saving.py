"""Checkpoints and states that are either complete or absent.

``models/base_model.py:227`` and ``:324`` write in place, try three times and then continue: with the disk full every file
was truncated and the run exited with 0. Here a file is written under a temporary name, flushed and renamed; a failure ends
the run. The files also describe themselves.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.dist_util import master_only

from lightbsr_arch import __version__
from lightbsr_arch.errors import CommandFailed
from lightbsr_arch.saving import WriteFailed, new_file
from lightbsr_arch.weights.checkpoints import read_checkpoint
from lightbsr_model.bridge import run_lock
from lightbsr_model.runtime.plain_values import plain
from lightbsr_model.training.training_pool import pool_states

META_KEY = "lightbsr"
"""Entry of a checkpoint or state that describes it."""


class SaveFailed(CommandFailed):
    """A file could not be written. All older files are intact."""


def save_atomically(content: Any, path: Path) -> None:
    """Write a file with ``torch.save`` so that a kill or a full disk leaves either the complete new file or the old one.

    Raises:
        SaveFailed: It could not be written.
    """
    try:
        with new_file(path) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        # The system's message: the message around it names the file already.
        reason = os.strerror(error.errno) if isinstance(error, WriteFailed) and error.errno else error
        raise SaveFailed(
            f"{path} cannot be saved ({reason}). The run stops here; older checkpoints are intact. "
            "Free some space, then resume with --auto_resume."
        ) from error


def remove_unfinished(folder: Path) -> None:
    """Remove the incomplete files of a killed process."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def describe(model: Any, iteration: int) -> dict[str, Any]:
    """A file's description of itself: version, networks, iteration, run, option file, seed. Plain values only."""
    opt = model.opt
    given = opt.get("given_options")
    return {
        "version": __version__,
        "iteration": iteration,
        "networks": {key: plain(value) for key, value in opt.items() if key.startswith("network_")},
        "name": opt.get("name"),
        "run": opt.get("run_id"),
        "option_file": given.text if given else "",
        "options": plain(given.options) if given else {},
        "manual_seed": opt.get("manual_seed"),
        "world_size": opt.get("world_size", 1),
    }


@master_only  # type: ignore[untyped-decorator]
def save_network(model: Any, net: Any, net_label: str, current_iter: int, param_key: Any = "params") -> None:
    """Replaces ``BaseModel.save_network``: the same file with an entry that describes it."""
    _confirm_lock(model)
    nets = net if isinstance(net, list) else [net]
    keys = param_key if isinstance(param_key, list) else [param_key]
    content: dict[str, Any] = {}
    for one, key in zip(nets, keys, strict=True):
        # Names are kept: BasicSR's stripping of "module." breaks a network that has a submodule of that name.
        content[key] = {name: value.cpu() for name, value in model.get_bare_model(one).state_dict().items()}
    content[META_KEY] = describe(model, getattr(model, "completed_iter", current_iter))
    name = f"{net_label}_{'latest' if current_iter == -1 else current_iter}.pth"
    save_atomically(content, Path(model.opt["path"]["models"]) / name)
    files: dict[int, list[str]] = vars(model).setdefault("saved_networks", {})
    if current_iter not in files:
        files.clear()
    files.setdefault(current_iter, []).append(name)


def save_training_state(model: Any, epoch: int, current_iter: int) -> None:
    """Replaces ``BaseModel.save_training_state``: also saves the best metrics, then prunes old checkpoints."""
    if current_iter != -1:
        # Every process has a pool of its own.
        _save_training_state(model, epoch, current_iter, pool_states(model))


@master_only  # type: ignore[untyped-decorator]
def _save_training_state(model: Any, epoch: int, current_iter: int, pools: list[dict[str, Any]] | None) -> None:
    _confirm_lock(model)
    state = {
        "epoch": epoch,
        "iter": current_iter,
        "optimizers": [optimizer.state_dict() for optimizer in model.optimizers],
        "schedulers": [scheduler.state_dict() for scheduler in model.schedulers],
        "best_metric_results": plain(getattr(model, "best_metric_results", {})),
        META_KEY: {
            **describe(model, current_iter),
            "files": getattr(model, "saved_networks", {}).get(current_iter, []),
        },
    }
    if getattr(model, "grad_scaler", None) is not None:
        state["grad_scaler"] = model.grad_scaler.state_dict()
    if getattr(model, "readout", None) is not None:
        state["readout"] = model.readout.state()
    for diffusion in getattr(model, "diffusions", ()):
        state[diffusion.label] = diffusion.state_dict()
    if pools is not None:
        state["pools"] = pools
    if hasattr(model, "own_state") and (own_state := model.own_state()):
        state["model"] = own_state
    save_atomically(state, Path(model.opt["path"]["training_states"]) / f"{current_iter}.state")
    keep = model.opt["train"].get("keep_checkpoints")
    if keep:
        prune_checkpoints(model, int(keep))


def _confirm_lock(model: Any) -> None:
    root = model.opt["path"].get("experiments_root")
    if root is not None:
        run_lock.confirm(Path(root))


def prune_checkpoints(model: Any, keep: int) -> None:
    """Remove all numbered checkpoints and states except the newest ones and those with the best metrics."""
    models, states = (Path(model.opt["path"][key]) for key in ("models", "training_states"))
    iterations = sorted(int(path.stem) for path in states.glob("*.state") if path.stem.isdigit())
    kept = set(iterations[-keep:]) | best_iterations(getattr(model, "best_metric_results", {}))
    saved = [name for names in getattr(model, "saved_networks", {}).values() for name in names]
    labels = {name.rpartition("_")[0] for name in saved} or {"net_*"}
    for iteration in iterations:
        if iteration not in kept:
            networks = [path for label in labels for path in models.glob(f"{label}_{iteration}.pth")]
            # The state last: after a kill in between, the next pruning finds it and removes the rest.
            for path in (*networks, states / f"{iteration}.state"):
                path.unlink(missing_ok=True)
    if not getattr(model, "orphans_removed", False):
        model.orphans_removed = True
        _remove_orphans(models, {*iterations, *kept}, model.opt.get("run_id"))


def _remove_orphans(models: Path, iterations: set[int], run: str | None) -> None:
    """Remove networks of this run whose state was never written because of a kill: each file describes its run."""
    for path in models.glob("*_*.pth"):
        number = path.stem.rpartition("_")[2]
        if run is None or not number.isdigit() or int(number) in iterations:
            continue
        try:
            about = read_checkpoint(path).get(META_KEY) or {}
        except ValueError:
            continue
        if (about.get("run"), about.get("iteration")) == (run, int(number)):
            path.unlink(missing_ok=True)


def best_iterations(best_metric_results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> set[int]:
    """The iterations at which any metric of any set was best."""
    return {
        record["iter"]
        for metrics in best_metric_results.values()
        for record in metrics.values()
        if isinstance(record["iter"], int)
    }
