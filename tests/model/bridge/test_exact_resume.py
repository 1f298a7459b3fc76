"""A run that is stopped and started again is the run that was never stopped, bit for bit."""

from __future__ import annotations

import random
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from lightbsr_model.bridge.training_data import ResumableSampler

from support.helpers import TINY
from support.lmdb_files import lmdb_of
from support.method_cases import CASES
from support.model_options import with_discriminator
from support.training_cases import TRAININGS
from support.training_files import plain_training, training_options, write_options


def _losses(log: str) -> dict[int, str]:
    """Iteration to rate and losses, as printed."""
    return {
        int(number): rest
        for number, rate, terms in re.findall(r"iter:\s+(\d+), lr:\((.*?)\).*?\] (l_.*)", log)
        if (rest := f"{rate} {terms.strip()}")
    }


def _equal(first: Any, second: Any) -> bool:
    if torch.is_tensor(first):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(_equal, first, second))
    return bool(first == second)


def _assert_same_run(one: Path, other: Path, last: int) -> None:
    names = sorted(path.name for path in (one / "models").glob("*_latest.pth"))
    assert names
    for name in names:
        first, second = (torch.load(folder / "models" / name) for folder in (one, other))
        for key in ("params", "params_ema"):
            assert _equal(first.get(key), second.get(key)), (name, key)
    first, second = (torch.load(folder / "training_states" / f"{last}.state") for folder in (one, other))
    for key in ("iter", "optimizers", "schedulers", "best_metric_results", "readout"):
        assert _equal(first.get(key), second.get(key)), key
    assert first["best_metric_results"]


def _long_training(images: Path) -> dict[str, Any]:
    opt = training_options(images, train={"total_iter": 120, "encoder_iter": 50, "ema_decay": 0.9})
    opt["train"]["scheduler"] = {"type": "TwoPhaseCosineLR", "warmup_iter": 10, "eta_min": 1e-6}
    opt["logger"].update(save_checkpoint_freq=3)
    opt["val"]["val_freq"] = 30
    return opt


@pytest.mark.slow
def test_killed_at_twenty_random_moments(tmp_path, image_folder, fork_server):
    opt = _long_training(image_folder)
    whole = write_options(tmp_path / "whole", opt)
    log = fork_server.train(whole)
    expected = _losses(log)
    assert list(expected) == list(range(1, 121))

    killed = write_options(tmp_path / "killed", opt)
    moments = random.Random(0)
    kills, seen = 0, {}
    while kills < 20:
        moment = moments.uniform(0.05, 0.6)
        # Every fourth while it starts, the others in the loop, however long this machine takes to start.
        kill = {"signal": signal.SIGKILL, "after": moment, "once": "" if kills % 4 == 3 else "Start training"}
        code, log = fork_server.run(killed, "train", "-opt", "run.yml", "--auto_resume", **kill)
        seen.update(_losses(log))
        if code == 0:
            # Faster than the dice: from the start once more.
            for path in (killed / "experiments/run/training_states").glob("*.state"):
                path.unlink()
            continue
        assert code == -signal.SIGKILL, log[-2000:]
        kills += 1
    log = fork_server.train(killed, "--auto_resume")
    seen.update(_losses(log))
    # A run that was killed before its first state is not gone on with: its folder is kept under another name, as it is.
    assert not list((killed / "experiments/run").rglob("*.tmp"))
    _assert_same_run(whole / "experiments/run", killed / "experiments/run", 120)
    assert {number: line for number, line in expected.items() if number in seen} == seen


@pytest.mark.parametrize("number", [1, 2, 3, 6])
def test_killed_while_saving(tmp_path, image_folder, fork_server, number):
    """Odd numbers are networks, even ones states."""
    opt = training_options(image_folder, train={"total_iter": 8, "encoder_iter": 3})
    whole = write_options(tmp_path / "whole", opt)
    fork_server.train(whole)
    killed = write_options(tmp_path / "killed", opt)
    fork_server.train(killed, die_in_save=number, code=-signal.SIGKILL)
    fork_server.train(killed, "--auto_resume")
    _assert_same_run(whole / "experiments/run", killed / "experiments/run", 8)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_goes_on(tmp_path, image_folder, fork_server, number):
    opt = _long_training(image_folder)
    opt["logger"]["save_checkpoint_freq"] = 1000
    whole = write_options(tmp_path / "whole", {**opt, "logger": {**opt["logger"], "save_checkpoint_freq": 120}})
    fork_server.train(whole)
    opt["logger"]["save_checkpoint_freq"] = 120
    stopped = write_options(tmp_path / "stopped", opt)
    for moment in (0.3, 0.1):
        # Before the loop there is nothing to save, and the signal ends it as it ends any program.
        begun = {"signal": number, "once": "Start training", "after": moment}
        log = fork_server.train(stopped, "--auto_resume", **begun)
        told = re.search(r"Stopped by (\w+) after iteration (\d+), saved", log)
        assert told is not None, log[-2000:]
        assert told[1] == number.name
        assert int(told[2]) == 0 or (stopped / f"experiments/run/training_states/{told[2]}.state").is_file()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code, log = fork_server.run(elsewhere, "train", "-opt", "../stopped/run.yml", "--auto_resume")
    assert code == 0, log[-2000:]
    assert f"Continuing in {stopped}" in log
    assert [path.name for path in elsewhere.iterdir()] == ["output.txt"]
    _assert_same_run(whole / "experiments/run", stopped / "experiments/run", 120)


def _paired(tmp_path: Path, images: Path, opt: dict[str, Any]) -> dict[str, Any]:
    """BasicSR's own data set, which draws from Python's global generator."""
    lq = tmp_path / "lq"
    lq.mkdir()
    for path in images.glob("*.png"):
        cv2.imwrite(str(lq / path.name), cv2.resize(cv2.imread(str(path)), (24, 20), interpolation=cv2.INTER_AREA))
    train = {key: opt["datasets"]["train"][key] for key in ("name", "dataroot_gt", "gt_size", "num_worker_per_gpu")}
    opt["datasets"]["train"] = {
        **train, "type": "PairedImageDataset", "dataroot_lq": str(lq), "use_hflip": True, "use_rot": True,
        "batch_size_per_gpu": 2, "dataset_enlarge_ratio": 2, "io_backend": {"type": "disk"},
    }  # fmt: skip
    return opt


def _gan(tmp_path: Path, images: Path) -> dict[str, Any]:
    opt = _paired(tmp_path, images, plain_training(images, ema_decay=0.5))
    return with_discriminator(opt, optim_d=opt["train"]["optim_g"])


_WITH_WORKERS = ("SRModel", "LightBSRTeacher", "LightBSR", "RBSR")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "workers"),
    [
        # Workers for one of each kind of data set: BasicSR's own, ours, ours on an LMDB file, and bursts.
        *((case, 2 * (case in _WITH_WORKERS)) for case in ("SRModel", "SRGANModel", *TRAININGS)),
    ],
)
def test_killed_and_resumed(tmp_path, image_folder, fork_server, case, workers):
    if case == "SRModel":
        opt = _paired(tmp_path, image_folder, plain_training(image_folder, {"type": "LightBSR", "scale": 4, **TINY}))
    elif case == "SRGANModel":
        opt = _gan(tmp_path, image_folder)
    else:
        opt = TRAININGS[case].apply(training_options(image_folder), TRAININGS[case].save_teacher(tmp_path))
        if not TRAININGS[case].frames:
            # Anisotropic kernels; noise, where the prior of LightBSR's teacher has a place for it, is the other networks'.
            opt["datasets"]["train"]["preset"] = "setting2_x4"
        if case.startswith("LightBSR"):
            opt["datasets"]["train"]["degradation"] = {"noise_level": 0}
        if case == "DASR":
            opt["train"]["degradation_opt"] = {"type": "DegradationRegressionLoss"}
        if case == "LightBSR":
            opt["datasets"]["train"].update(lmdb_of(image_folder, tmp_path / "gt.lmdb"))
    opt["train"].update(total_iter=16, ema_decay=0.5)
    opt["datasets"]["train"]["num_worker_per_gpu"] = workers
    opt["logger"]["save_checkpoint_freq"] = 2
    whole = write_options(tmp_path / "whole", opt)
    log = fork_server.train(whole)
    expected = _losses(log)
    killed = tmp_path / "killed"
    if case == "LightBSRTeacher":  # the same seed, the same run
        log = fork_server.train(write_options(killed, opt))
        assert _losses(log) == expected
        _assert_same_run(whole / "experiments/run", killed / "experiments/run", 16)
    else:
        shutil.copytree(whole, killed)
    # As if killed right after a state: in the midst of an epoch, and at the end of one.
    for last in (8, 6):
        for path in (killed / "experiments/run/training_states").glob("*.state"):
            if int(path.stem) > last:
                path.unlink()
        log = fork_server.train(killed, "--auto_resume")
        assert _losses(log) == {number: line for number, line in expected.items() if number > last}
        _assert_same_run(whole / "experiments/run", killed / "experiments/run", 16)


def test_a_read_out_cannot_come_or_go(tmp_path, image_folder, fork_server):
    """The optimiser has its weights: a run that was begun without it says so instead of a mismatch of groups."""
    opt = CASES["DASR"].apply(training_options(image_folder), None)
    folder = write_options(tmp_path / "run", opt)
    fork_server.train(folder)
    opt["train"]["degradation_opt"] = {"type": "DegradationRegressionLoss"}
    write_options(folder, opt)
    code, log = fork_server.run(folder, "train", "-opt", "run.yml", "--auto_resume")
    assert code != 0
    assert "train.degradation_opt: the run was begun with no read-out, and now it is a read-out of sigma" in log
    assert "Traceback" not in log
    # Nor may it read something else, or in another range.
    shutil.rmtree(folder / "experiments")
    fork_server.train(folder)
    opt["datasets"]["train"]["degradation"] = {"sigma": [0.2, 8.0]}
    write_options(folder, opt)
    code, log = fork_server.run(folder, "train", "-opt", "run.yml", "--auto_resume")
    assert code != 0
    assert "was begun with a read-out of sigma from 0.2 to 4, and now it is a read-out of sigma from 0.2 to 8" in log


def test_seeds_differ(tmp_path, image_folder, fork_server):
    logs = []
    for seed in (0, 1):
        folder = write_options(tmp_path / str(seed), training_options(image_folder, manual_seed=seed))
        logs.append(_losses(fork_server.train(folder)))
    assert logs[0] != logs[1]


def test_places_in_a_run_have_samples_of_their_own():
    def epoch(number: int, rank: int = 0, world_size: int = 1, seed: int = 0, skip: int = 0) -> list[tuple[int, int]]:
        sampler = ResumableSampler(range(5), world_size, rank, 2, seed)
        sampler.set_epoch(number)
        sampler.start_at(number, skip)
        return [(int(index), index.seed) for index in sampler]

    first, second = epoch(0), epoch(1)
    assert sorted(index for index, _ in first) == sorted([*range(5)] * 2)
    assert len({seed for _, seed in first + second}) == 20
    assert epoch(0, seed=1) != first
    assert epoch(0, skip=3) == first[3:]
    assert sorted(epoch(0, rank=0, world_size=2) + epoch(0, rank=1, world_size=2)) == sorted(first)
    assert epoch(0, rank=1, world_size=2, skip=2) == epoch(0, rank=1, world_size=2)[2:]


def test_best_metrics_and_an_owed_validation_survive(tmp_path, image_folder, fork_server):
    """BasicSR saves at iteration 4 before it validates there: killed in between, a run owes that validation."""
    folder = write_options(tmp_path / "killed", training_options(image_folder))
    fork_server.train(folder)
    path = folder / "experiments/run/training_states/4.state"
    state = torch.load(path)
    assert state["best_metric_results"] == {}
    state["best_metric_results"] = {"val": {"psnr": {"better": "higher", "val": 99.0, "iter": 2}}}
    torch.save(state, path)
    log = fork_server.train(folder, "--auto_resume")
    assert len(re.findall(r"# psnr: \d+\.\d+\tBest: 99\.0000 @ 2 iter", log)) == 2  # at 4 and at 5
