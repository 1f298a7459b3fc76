"""Train the methods of the study: ``lightbsr train`` in separate processes, resumed where they stopped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml
from tqdm import tqdm

from benchmarks.study.methods import Budget, Method, training_options


def train_all(methods: Iterable[Method], seeds: Iterable[int], budget: Budget, out: Path) -> None:
    """Train every method with every seed; finished trainings are skipped.

    Raises:
        RuntimeError: A training failed; the message names its log.
    """
    trainings = [(seed, method) for seed in seeds for method in methods]
    for seed, method in tqdm(trainings, unit="training"):
        folder = out / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        options = training_options(method, budget, seed)
        text = yaml.safe_dump(options, sort_keys=False)
        file = folder / f"{method.name}.yml"
        finished = folder / "finished" / f"{method.name}.yml"
        if finished.is_file() and finished.read_text() == text:
            continue
        file.write_text(text)
        command = [sys.executable, "-m", "lightbsr", "train", "-opt", file.name, "--auto_resume"]
        log = folder / f"{method.name}.log"
        with log.open("w") as output:
            code = subprocess.run(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
        if code:
            raise RuntimeError(f"{method.name}, seed {seed}: `{' '.join(command)}` exited with {code}; see {log}.")
        finished.parent.mkdir(exist_ok=True)
        finished.write_text(text)
