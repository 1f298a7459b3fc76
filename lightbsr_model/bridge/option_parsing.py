"""The first step of every run: read the options, check all of them, prepare processes, seeds and devices.

Replaces ``basicsr/utils/options.py:parse_options``, with the same result for a file without mistakes.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import set_random_seed
from basicsr.utils.dist_util import get_dist_info, init_dist
from basicsr.utils.registry import MODEL_REGISTRY

from lightbsr_arch.errors import CommandFailed, MissingFileError
from lightbsr_model.bridge import run_lock
from lightbsr_model.option_files.class_lookup import look_up
from lightbsr_model.option_files.document import OptionDocument, Problem
from lightbsr_model.option_files.dotted_names import ALLOW_LOCAL_CODE, LOCAL_CODE_HELP, allow_local_code
from lightbsr_model.option_files.option_check import check_options
from lightbsr_model.option_files.whole_options import read_options, whole_text
from lightbsr_model.runtime.processes import of_rank_0, start_workers_by_fork
from lightbsr_model.training.phased_model import PhasedModel


@dataclass(frozen=True)
class GivenOptions:
    """The user's options, kept for the checkpoints: BasicSR's pipeline changes the options while it runs."""

    text: str
    """The text of the option file; with a ``base`` the whole of it, as ``lightbsr check --show`` prints it."""
    options: dict[str, Any]
    """Its content with the forced values of the command line."""
    has_base: bool = False
    """Whether the option file is laid over others."""

    def __str__(self) -> str:
        """A short text, since BasicSR logs every entry of the options."""
        return f"{len(self.text)} characters"


def command_line(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    """Parse BasicSR's flags and ours."""
    return option_parser(prog).parse_args(arguments)


def option_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of BasicSR's flags and ours."""
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("-opt", type=str, required=True, help="option file (YAML)")
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm"], default="none", help="what started the processes"
    )
    parser.add_argument("--auto_resume", action="store_true", help="resume from the newest state, if there is one")
    parser.add_argument("--debug", action="store_true", help="a short run that logs, saves and validates often")
    # torch.distributed.launch writes --local-rank.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--force_yml", nargs="+", default=None, metavar="KEY:KEY=VALUE", help="override options")
    parser.add_argument("--strict", action="store_true", help="treat a missing GPU as an error")
    parser.add_argument(ALLOW_LOCAL_CODE, action="store_true", help=LOCAL_CODE_HELP)
    return parser


def read_and_check(args: argparse.Namespace, is_train: bool | None = None) -> tuple[OptionDocument, list[Problem]]:
    """Read an option file, apply forced values, and check all of it.

    Args:
        args: The command line.
        is_train: Whether it is for training; None: if the file has a ``train`` section.

    Returns:
        The document and warnings.

    Raises:
        OptionProblems: With all problems.
        MissingFileError: There is no such file.
    """
    allow_local_code(args.allow_local_code)
    path = Path(args.opt)
    if not path.is_file():
        raise MissingFileError(f"-opt: there is no file {args.opt}.")
    document = read_options(path, args.force_yml or [])
    if is_train is None:
        is_train = "train" in document.options
    return document, check_options(document, args.opt, is_train, args.strict)


def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], argparse.Namespace]:
    """Parse the command line and prepare the options of a run.

    Args:
        root_path: Folder of ``experiments/`` or ``results/``.
        is_train: Whether it is for training.

    Returns:
        The options as BasicSR's pipelines expect them, and the command line.

    Raises:
        OptionProblems: With all problems of the file.
        RunInUse: Another process writes into this run's folder.
    """
    args = command_line(sys.argv[1:])
    document, warnings = read_and_check(args, is_train)
    opt = document.options
    text = whole_text(opt) if document.bases else document.text
    opt["given_options"] = GivenOptions(text, copy.deepcopy(opt), bool(document.bases))
    _start_processes(opt, args)
    seed = opt.get("manual_seed")
    if seed is None:
        # The order of the samples is a function of it, and each rank takes its share of that order.
        opt["manual_seed"] = seed = of_rank_0(random.randint(1, 10000))
    set_random_seed(seed + opt["rank"])
    if opt.get("deterministic"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    opt["auto_resume"], opt["is_train"] = args.auto_resume, is_train
    if args.debug and not opt["name"].startswith("debug"):
        opt["name"] = f"debug_{opt['name']}"
    _choose_devices(opt)
    opt["path"] = opt.get("path") or {}
    for key, dataset in opt["datasets"].items():
        dataset["phase"] = key.split("_")[0]
        if "scale" in opt:
            dataset["scale"] = opt["scale"]
        for name in ("dataroot_gt", "dataroot_lq"):
            if dataset.get(name) is not None:
                dataset[name] = str(Path(dataset[name]).expanduser())
    for key, value in opt["path"].items():
        if value is not None and ("resume_state" in key or "pretrain_network" in key):
            opt["path"][key] = str(Path(value).expanduser())
    _lay_out_folders(opt, Path(root_path), is_train)
    _lock_folder(opt)
    for warning in warnings:
        _warn(opt, f"{args.opt}: {warning}")
    return opt, args


def copy_whole_file(copy: Callable[[str, str], Any], given: GivenOptions | None, option_file: str, folder: str) -> None:
    """Copy an option file into the folder of its run as BasicSR does; one with a ``base`` with all that it stands for.

    Args:
        copy: BasicSR's ``copy_opt_file``.
        given: What the user gave.
        option_file: The file.
        folder: Of the run.
    """
    if given is None or not given.has_base:
        copy(option_file, folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / Path(option_file).name
        whole.write_text(given.text, encoding="utf-8")
        copy(str(whole), folder)


def _lock_folder(opt: dict[str, Any]) -> None:
    """Lock the run's folder, on rank 0, before BasicSR renames it; if it fails, every rank ends with its message."""
    refusal: CommandFailed | None = None
    if opt["rank"] == 0:
        try:
            note = run_lock.take(Path(opt["path"]["experiments_root" if opt["is_train"] else "results_root"]))
            if note is not None:
                _warn(opt, note)
        except CommandFailed as error:
            refusal = error
    refusal = of_rank_0(refusal)
    if refusal is not None:
        raise refusal


def _warn(opt: dict[str, Any], message: str) -> None:
    """Print a warning before BasicSR's logger has its file: creating it now would leave the run without a log file."""
    if opt["rank"] == 0:
        print(f"Warning: {message}", file=sys.stderr, flush=True)


def _start_processes(opt: dict[str, Any], args: argparse.Namespace) -> None:
    start_workers_by_fork()
    opt["dist"] = args.launcher != "none"
    if opt["dist"]:
        dist_params = dict(opt.get("dist_params") or {})
        if opt["num_gpu"] == 0:
            dist_params["backend"] = "gloo"  # nccl has no CPU tensors, also where there are GPUs to spare
        init_dist(args.launcher, **dist_params)
    opt["rank"], opt["world_size"] = get_dist_info()


def _choose_devices(opt: dict[str, Any]) -> None:
    """Set ``num_gpu`` to the number of available GPUs; our models use one per process."""
    found = torch.cuda.device_count()
    if opt["num_gpu"] == "auto":
        opt["num_gpu"] = found
    opt["num_gpu"] = min(opt["num_gpu"], found)
    model = look_up(MODEL_REGISTRY, opt["model_type"])
    # BasicSR's own models spread the batch over the GPUs (DataParallel); ours would take all of it on the first.
    if opt["num_gpu"] > 1 and not opt["dist"] and isinstance(model, type) and issubclass(model, PhasedModel):
        _warn(
            opt,
            f"One of {opt['num_gpu']} GPUs is used. For all of them: torchrun --nproc_per_node={opt['num_gpu']} -m lightbsr "
            "train -opt FILE --launcher pytorch",
        )
        opt["num_gpu"] = 1


def _lay_out_folders(opt: dict[str, Any], root: Path, is_train: bool) -> None:
    path = opt["path"]
    if not is_train:
        results = root / "results" / opt["name"]
        path.update(results_root=str(results), log=str(results), visualization=str(results / "visualization"))
        return
    experiment = root / "experiments" / opt["name"]
    path.update(experiments_root=str(experiment), log=str(experiment))
    path.update({name: str(experiment / name) for name in ("models", "training_states", "visualization")})
    if "debug" in opt["name"]:
        if "val" in opt:
            opt["val"]["val_freq"] = 8
        opt["logger"]["print_freq"] = 1
        opt["logger"]["save_checkpoint_freq"] = 8
