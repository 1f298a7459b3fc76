"""Finding and reading the state that a run goes on from.

A state and the networks that were saved with it are one thing: if any of these files is missing or damaged, the state before
is taken. A file that is whole and says that it is of something else (another run, another iteration) is an error.
"""

from __future__ import annotations

import re
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils import check_resume, set_random_seed

from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.weights.checkpoints import read_checkpoint
from lightbsr_model.bridge.checkpoint_saving import META_KEY, remove_unfinished
from lightbsr_model.bridge.resumed_options import refuse_other_types


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Stand in for ``load_resume_state`` of ``basicsr/train.py`` and of the stock script.

    Crosses: train.py:85 asks CUDA for a device even on a CPU machine; :71 looks for the run in the working directory,
    where it is not if the script lies elsewhere; :75 stumbles over a state whose name is no number; options.py:188
    writes into a folder that does not exist when the state is of a run with another name, and misc.py:117 looks for
    that run's networks in this run's folder. A state that a kill cut short is named, and the one before is taken.

    Raises:
        OptionError: ``path.resume_state`` does not exist or cannot be used, or no state of the run can; or a state or
            network says that it is of another run, another iteration or another network.
    """
    path, state = None, None
    if opt.get("auto_resume"):
        path, state = _newest_whole_state(opt)
    by_name = state is None and bool(opt["path"].get("resume_state"))
    if by_name:
        path = Path(opt["path"]["resume_state"])
        if not path.is_file():
            raise MissingFileError(f"path.resume_state: there is no file {path}.")
        state, fault = _read_with_networks(path, opt)
        if fault is not None:
            raise OptionError(f"path.resume_state: {fault}.")
    opt["run_id"] = uuid.uuid4().hex
    if state is None or path is None:
        return None
    _refuse_foreign(path, state, opt, by_name)
    about = state.get(META_KEY) or {}
    if about.get("name") == opt["name"]:
        opt["run_id"] = about.get("run") or opt["run_id"]
    _keep_seed(opt, about)
    opt["path"]["resume_state"] = str(path)
    check_resume(opt, state["iter"])
    for key in ("experiments_root", "models", "training_states", "log", "visualization"):
        Path(opt["path"][key]).mkdir(parents=True, exist_ok=True)
    if opt["rank"] == 0:
        for key in ("models", "training_states"):
            remove_unfinished(Path(opt["path"][key]))
    _take_networks_beside_the_state(opt, path, state)
    return state


def _newest_whole_state(opt: dict[str, Any]) -> tuple[Path | None, dict[str, Any] | None]:
    folder = Path(opt["path"]["training_states"])
    states = [path for path in folder.glob("*.state") if re.fullmatch(r"\d+", path.stem)]
    faults = []
    for path in sorted(states, key=lambda path: int(path.stem), reverse=True):
        state, fault = _read_with_networks(path, opt)
        if fault is None:
            return path, state
        faults.append(fault)
        if opt["rank"] == 0:
            before = "the one before" if fault.startswith(str(path)) else f"the state before {path.name}"
            print(f"{fault}: {before} is taken.", flush=True)
    if faults:
        raise OptionError(
            f"--auto_resume: none of the states in {folder} can be taken: {'; '.join(faults)}. Name another by "
            "path.resume_state, or leave --auto_resume out: the folder is then renamed, and the run starts anew."
        )
    return None, None


# ---- whole or not


def _read_with_networks(path: Path, opt: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """Read a state, and look at the networks that belong to it.

    Returns:
        The state, or None; and what is wrong with the first file that is missing or damaged, or None.
    """
    try:
        content = read_checkpoint(path) if not _is_damaged(path) else {}
    except ValueError:
        content = {}
    if "iter" not in content:
        return None, f"{path} is no training state, or cut short"
    state = dict(content)
    for network in _networks_of(path, state, opt):
        if not network.is_file():
            return None, f"{network} is missing"
        if _is_damaged(network):
            return None, f"{network} is damaged or cut short"
    return state, None


def _networks_of(path: Path, state: Mapping[str, Any], opt: Mapping[str, Any]) -> list[Path]:
    """The checkpoints that were saved with a state, without those that the user wants ignored."""
    folder = path.parent.parent / "models"
    names = (state.get(META_KEY) or {}).get("files")
    if names is None:  # a state of stock BasicSR, or of an older version
        names = [network.name for network in folder.glob(f"*_{state['iter']}.pth")]
    ignored = {f"net_{key.removeprefix('network_')}" for key in opt["path"].get("ignore_resume_networks") or ()}
    return sorted(folder / name for name in names if name.rpartition("_")[0] not in ignored)


def _is_damaged(path: Path) -> bool:
    """Whether a checkpoint is cut short, or some of its bytes are not those that were written.

    torch.load looks at no checksum: a flipped byte would be a weight.
    """
    if not zipfile.is_zipfile(path):
        try:
            read_checkpoint(path)  # torch's format of before 1.6
        except ValueError:
            return True
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is not None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError):
        return True


# ---- of this run or not


def _refuse_foreign(path: Path, state: Mapping[str, Any], opt: dict[str, Any], by_name: bool) -> None:
    """Refuse a state or network that says that it is of something else. Those of stock BasicSR say nothing.

    Args:
        path: The state.
        state: Its content.
        opt: The run's options.
        by_name: Whether the user named the state: then it may be of another run.
    """
    about = state.get(META_KEY) or {}
    iteration = state["iter"]
    told = {iteration, about.get("iteration", iteration)} | (set() if by_name else {int(path.stem)})
    if len(told) > 1:
        raise OptionError(f"{path} is the state of iteration {iteration}: give it back its name, or move it away.")
    if not by_name and about.get("name", opt["name"]) != opt["name"]:
        raise OptionError(
            f"{path} is a state of the run {about['name']!r}, not of {opt['name']!r}: move it away. To go on from it under "
            f"this name, give `path: {{resume_state: {path}}}` without --auto_resume, and keep its models/ beside it."
        )
    refuse_other_types(path, about, opt)
    for network in _networks_of(path, state, opt):
        said = read_checkpoint(network).get(META_KEY) or {}
        if said.get("iteration", iteration) != iteration:
            raise OptionError(
                f"{network} is of iteration {said['iteration']}, and {path.name} of {iteration}: put the network of that "
                "iteration there, or move both away, and the state before is taken."
            )
        if said.get("run") and about.get("run") and said["run"] != about["run"]:
            raise OptionError(
                f"{network} is of another run (name {said.get('name')!r}) than {path}: put the network of that run "
                "there, or move both away, and the state before is taken."
            )


def _keep_seed(opt: dict[str, Any], about: Mapping[str, Any]) -> None:
    """Without ``manual_seed`` a run draws one: what goes on keeps it."""
    given, seed = opt.get("given_options"), about.get("manual_seed")
    if given is not None and given.options.get("manual_seed") is None and seed is not None:
        opt["manual_seed"] = seed
        set_random_seed(seed + opt["rank"])


def _take_networks_beside_the_state(opt: dict[str, Any], path: Path, state: Mapping[str, Any]) -> None:
    """Load what was saved with the state, whole: not this run's files of that iteration, and no part of them."""
    ignored = opt["path"].get("ignore_resume_networks") or ()
    for key in [key for key in opt if key.startswith("network_") and key not in ignored]:
        beside = path.parent.parent / "models" / f"net_{key.removeprefix('network_')}_{state['iter']}.pth"
        if beside.exists():
            opt["path"][f"pretrain_{key}"] = str(beside)
        opt["path"][f"strict_load_{key.removeprefix('network_')}"] = True
