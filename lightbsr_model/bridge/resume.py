"""Finding and reading the state that a run goes on from."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from basicsr.utils import check_resume

from lightbsr_arch.checkpoints import read_checkpoint
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_model.bridge.saving import remove_unfinished


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Stand in for ``load_resume_state`` of ``basicsr/train.py`` and of the stock script.

    Crosses: train.py:85 asks CUDA for a device even on a CPU machine; :71 looks for the run in the working directory,
    where it is not if the script lies elsewhere; :75 stumbles over a state whose name is no number; options.py:188
    writes into a folder that does not exist when the state is of a run with another name, and misc.py:117 looks for
    that run's networks in this run's folder. A state that a kill cut short is named, and the one before is taken.

    Raises:
        OptionError: ``path.resume_state`` does not exist or cannot be read.
    """
    path, state = None, None
    if opt.get("auto_resume"):
        path, state = _newest_whole_state(Path(opt["path"]["training_states"]))
    if state is None and opt["path"].get("resume_state"):
        path = Path(opt["path"]["resume_state"])
        if not path.is_file():
            raise MissingFileError(f"path.resume_state: there is no file {path}.")
        state = _read(path)
        if state is None:
            raise OptionError(f"path.resume_state: {path} is no training state, or cut short.")
    if state is None or path is None:
        return None
    opt["path"]["resume_state"] = str(path)
    check_resume(opt, state["iter"])
    for key in ("experiments_root", "models", "training_states", "log", "visualization"):
        Path(opt["path"][key]).mkdir(parents=True, exist_ok=True)
    if opt["rank"] == 0:
        for key in ("models", "training_states"):
            remove_unfinished(Path(opt["path"][key]))
    _take_networks_beside_the_state(opt, path)
    return state


def _newest_whole_state(folder: Path) -> tuple[Path | None, dict[str, Any] | None]:
    states = [path for path in folder.glob("*.state") if re.fullmatch(r"\d+", path.stem)]
    for path in sorted(states, key=lambda path: int(path.stem), reverse=True):
        state = _read(path)
        if state is None:
            print(f"{path} is no training state, or cut short: the one before is taken.", flush=True)
        elif broken := [network for network in _networks_of(path) if not _is_whole(network)]:
            print(f"{broken[0]} is cut short: the state before {path.name} is taken.", flush=True)
        else:
            return path, state
    return None, None


def _networks_of(state: Path) -> list[Path]:
    """The checkpoints that were saved with a state."""
    return sorted((state.parent.parent / "models").glob(f"*_{state.stem}.pth"))


def _is_whole(checkpoint: Path) -> bool:
    """Whether a file has the end of a zip archive, which torch's format is: a look, without reading it all."""
    return zipfile.is_zipfile(checkpoint)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        state = read_checkpoint(path)
    except ValueError:
        return None
    return dict(state) if "iter" in state else None


def _take_networks_beside_the_state(opt: dict[str, Any], state: Path) -> None:
    for key, value in opt["path"].items():
        if key.startswith("pretrain_network_") and value is not None and not Path(value).exists():
            beside = state.parent.parent / "models" / Path(value).name
            if beside.exists():
                opt["path"][key] = str(beside)
