"""Train the methods of the study: ``lightbsr train`` in separate processes, resumed where they stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from benchmarks.study.methods import Budget, Method, training_options


def train_all(methods: Iterable[Method], seeds: Iterable[int], budget: Budget, out: Path) -> None:
    """Train every method with every seed; finished trainings are skipped."""
    trainings = [(seed, method) for seed in seeds for method in methods]
    for seed, method in tqdm(trainings, unit="training"):
        train(training_options(method, budget, seed), out / f"seed{seed}")


def train(options: Mapping[str, Any], folder: Path) -> Path:
    """Train in a folder by options, unless that is finished; return the log, of all starts.

    Raises:
        RuntimeError: The training failed or was stopped; the message names its log.
    """
    name = options["name"]
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(options, sort_keys=False)
    file, finished, log = folder / f"{name}.yml", folder / "finished" / f"{name}.yml", folder / f"{name}.log"
    if finished.is_file() and finished.read_text() == text:
        return log
    file.write_text(text)
    command = [sys.executable, "-m", "lightbsr", "train", "-opt", file.name, "--auto_resume", "--allow-local-code"]
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }
    if not (folder / "experiments" / name).is_dir():
        log.unlink(missing_ok=True)
    with log.open("a") as output:
        code = subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    # A training that is asked to stop saves and exits with 0.
    if code or "End of training" not in log.read_text():
        raise RuntimeError(f"{name} in {folder}: `{' '.join(command)}` exited with {code}; see {log}.")
    finished.parent.mkdir(exist_ok=True)
    finished.write_text(text)
    return log
