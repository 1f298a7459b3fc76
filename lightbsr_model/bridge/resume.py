"""Finding and reading the training state that a run resumes from.

A state and the networks that were saved with it belong together: if any of these files is missing or damaged, the previous
state is used. An intact file that belongs to something else (another run, another iteration) is an error.
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
    """Replaces ``load_resume_state`` of ``basicsr/train.py`` and of the stock script.

    Works around these bugs: train.py:85 requests a CUDA device even on a machine without one; :71 looks for the run in the
    working directory although the script may be elsewhere; :75 fails on a state whose name is not a number; options.py:188
    writes into a folder that does not exist if the state belongs to a run with another name, and misc.py:117 looks for
    that run's networks in this run's folder. A truncated state is reported, and the previous one is used.

    Raises:
        OptionError: ``path.resume_state`` does not exist or cannot be used, or no state of the run can be; or a state or
            network belongs to another run, another iteration or another network.
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
            before = "the previous one" if fault.startswith(str(path)) else f"the state before {path.name}"
            print(f"{fault}: {before} is used.", flush=True)
    if faults:
        raise OptionError(
            f"--auto_resume: none of the states in {folder} can be used: {'; '.join(faults)}. Name another one in "
            "path.resume_state, or leave out --auto_resume: the folder is then renamed, and the run starts from scratch."
        )
    return None, None


# ---- intact or damaged


def _read_with_networks(path: Path, opt: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """Read a state, and check the networks that belong to it.

    Returns:
        The state, or None; and a description of the first missing or damaged file, or None.
    """
    try:
        content = read_checkpoint(path) if not _is_damaged(path) else {}
    except ValueError:
        content = {}
    if "iter" not in content:
        return None, f"{path} is not a training state, or is truncated"
    state = dict(content)
    for network in _networks_of(path, state, opt):
        if not network.is_file():
            return None, f"{network} is missing"
        if _is_damaged(network):
            return None, f"{network} is damaged or truncated"
    return state, None


def _networks_of(path: Path, state: Mapping[str, Any], opt: Mapping[str, Any]) -> list[Path]:
    """The checkpoints that were saved with a state, without those that the user wants to ignore."""
    folder = path.parent.parent / "models"
    names = (state.get(META_KEY) or {}).get("files")
    if names is None:  # a state of stock BasicSR, or of an older version
        names = [network.name for network in folder.glob(f"*_{state['iter']}.pth")]
    ignored = {f"net_{key.removeprefix('network_')}" for key in opt["path"].get("ignore_resume_networks") or ()}
    return sorted(folder / name for name in names if name.rpartition("_")[0] not in ignored)


def _is_damaged(path: Path) -> bool:
    """Whether a checkpoint is truncated, or some of its bytes have changed since it was written.

    torch.load verifies no checksum: a flipped byte would become a weight.
    """
    if not zipfile.is_zipfile(path):
        try:
            read_checkpoint(path)  # torch's format before 1.6
        except ValueError:
            return True
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is not None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError):
        return True


# ---- of this run or another


def _refuse_foreign(path: Path, state: Mapping[str, Any], opt: dict[str, Any], by_name: bool) -> None:
    """Reject a state or network that belongs to something else, as it describes itself; those of stock BasicSR do not.

    Args:
        path: The state.
        state: Its content.
        opt: The run's options.
        by_name: Whether the user named the state: then it may belong to another run.
    """
    about = state.get(META_KEY) or {}
    iteration = state["iter"]
    iterations = {iteration, about.get("iteration", iteration)} | (set() if by_name else {int(path.stem)})
    if len(iterations) > 1:
        raise OptionError(f"{path} is the state of iteration {iteration}: restore its name, or move it away.")
    if not by_name and about.get("name", opt["name"]) != opt["name"]:
        raise OptionError(
            f"{path} is a state of the run {about['name']!r}, not of {opt['name']!r}: move it away. To continue from it under "
            f"this name, set `path: {{resume_state: {path}}}` without --auto_resume, and keep its models/ folder next to it."
        )
    refuse_other_types(path, about, opt)
    for network in _networks_of(path, state, opt):
        said = read_checkpoint(network).get(META_KEY) or {}
        if said.get("iteration", iteration) != iteration:
            raise OptionError(
                f"{network} is of iteration {said['iteration']}, and {path.name} of {iteration}: put the network of that "
                "iteration there, or move both away to use the previous state."
            )
        if said.get("run") and about.get("run") and said["run"] != about["run"]:
            raise OptionError(
                f"{network} is of another run (name {said.get('name')!r}) than {path}: put the network of that run "
                "there, or move both away to use the previous state."
            )


def _keep_seed(opt: dict[str, Any], about: Mapping[str, Any]) -> None:
    """Keep the seed that a run without ``manual_seed`` has drawn."""
    given, seed = opt.get("given_options"), about.get("manual_seed")
    if given is not None and given.options.get("manual_seed") is None and seed is not None:
        opt["manual_seed"] = seed
        set_random_seed(seed + opt["rank"])


def _take_networks_beside_the_state(opt: dict[str, Any], path: Path, state: Mapping[str, Any]) -> None:
    """Load all networks that were saved with the state, not this run's files of that iteration."""
    ignored = opt["path"].get("ignore_resume_networks") or ()
    for key in [key for key in opt if key.startswith("network_") and key not in ignored]:
        beside = path.parent.parent / "models" / f"net_{key.removeprefix('network_')}_{state['iter']}.pth"
        if beside.exists():
            opt["path"][f"pretrain_{key}"] = str(beside)
        opt["path"][f"strict_load_{key.removeprefix('network_')}"] = True
