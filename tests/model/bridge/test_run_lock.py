"""Two runs never write into one folder: the second is refused, whoever comes first, and a dead run's lock is no hindrance."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lightbsr_arch.errors import CommandFailed
from lightbsr_model.bridge import launcher, run_lock
from lightbsr_model.bridge.checkpoint_saving import save_training_state
from lightbsr_model.bridge.run_lock import RunInUse

from support.training_files import BICUBIC, as_test, training_options, write_options

FORK = multiprocessing.get_context("fork")


@contextmanager
def _process_that_holds(folder: Path) -> Iterator[Any]:
    """Another process, which holds the lock of a folder until it is told to end, or killed."""
    ours, theirs = FORK.Pipe()

    def hold() -> None:
        run_lock._held.clear()
        run_lock.take(folder)
        theirs.send("held")
        theirs.recv()
        run_lock.release_all()

    process = FORK.Process(target=hold)
    process.start()
    assert ours.recv() == "held"
    process.end = lambda: ours.send("end")
    try:
        yield process
    finally:
        process.kill()
        process.join()


@pytest.fixture(autouse=True)
def _nothing_held():
    yield
    run_lock.release_all()


def test_second_training_of_a_name_is_refused_and_moves_nothing(tmp_path, image_folder, fork_server):
    write_options(tmp_path, training_options(image_folder))
    state = tmp_path / "experiments/run/training_states/9.state"
    state.parent.mkdir(parents=True)
    state.touch()
    with _process_that_holds(tmp_path / "experiments/run") as other:
        for flags in ((), ("--auto_resume",)):
            log = fork_server.train(tmp_path, *flags, code=1)
            assert f"experiments/run is in use by process {other.pid} on {os.uname().nodename}, since " in log
            assert "give this run another `name`" in log
            assert "Traceback" not in log
        assert state.exists()
        assert sorted(path.name for path in (tmp_path / "experiments").iterdir()) == [".run.lock", "run"]
        other.end()
        other.join()
    assert [path.name for path in (tmp_path / "experiments").iterdir()] == ["run"]


def test_killed_training_leaves_a_lock_that_is_named_and_taken_over(tmp_path, image_folder, fork_server):
    write_options(tmp_path, training_options(image_folder, train={"total_iter": 1000}))
    kill = {"signal": signal.SIGKILL, "once": "iter:       2", "after": 0}
    fork_server.train(tmp_path, **kill, code=-signal.SIGKILL)
    lock = tmp_path / "experiments/.run.lock"
    killed = json.loads(lock.read_text())
    assert killed["command"].startswith("lightbsr train")
    short = ("--force_yml", "train:total_iter=4")
    log = fork_server.train(tmp_path, "--auto_resume", *short)
    assert f"experiments/run was left locked by process {killed['pid']} on {os.uname().nodename}" in log
    assert "which has ended: taken over" in log
    assert not lock.exists()


def test_test_run_is_locked_too(run, tmp_path, image_folder):
    test = as_test(training_options(image_folder), **BICUBIC)
    with _process_that_holds(tmp_path / "results/bicubic"), pytest.raises(RunInUse, match="results/bicubic is in use"):
        run(launcher.test, test)
    assert not (tmp_path / "results/bicubic").exists()


def test_failed_run_releases_its_lock(run, tmp_path, image_folder):
    opt = training_options(image_folder)
    opt["datasets"]["train"]["batch_size_per_gpu"] = 7
    for _ in range(2):
        with pytest.raises(ValueError, match="fewer than a batch"):
            run(launcher.train, opt)
        assert not (tmp_path / "experiments/.run.lock").exists()


def test_of_many_at_once_exactly_one_wins(tmp_path):
    """Where no lock is, and where all find that of a dead process."""
    contenders, rounds = 6, 5
    barrier, results = FORK.Barrier(contenders), FORK.Queue()

    def contend() -> None:
        for number in range(rounds):
            run_lock._held.clear()
            barrier.wait(10)
            try:
                results.put((number, run_lock.take(tmp_path / f"run{number % 2}") or "new"))
            except RunInUse as error:
                results.put((number, error))
            barrier.wait(10)
            if run_lock._held:  # the winner's lock becomes that of a dead process, for the next round but one
                _rewrite(run_lock.lock_path(tmp_path / f"run{number % 2}"), process_started="long ago")

    processes = [FORK.Process(target=contend) for _ in range(contenders)]
    for process in processes:
        process.start()
    told = [results.get(timeout=30) for _ in range(contenders * rounds)]
    for process in processes:
        process.join(60)
    for number in range(rounds):
        won = [what for place, what in told if place == number and not isinstance(what, RunInUse)]
        assert len(won) == 1, told
        assert ("taken over" in won[0]) == (number >= 2)
    assert not list(tmp_path.glob(".run*.lock.*"))


def _rewrite(lock: Path, **changes: Any) -> None:
    lock.write_text(json.dumps({**json.loads(lock.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process_started": "12"}, None),  # another process of that pid
        ({"boot": "earlier"}, None),  # before this machine was restarted
        ({"host": "node07"}, r"on node07, since .* cannot be seen from here .* delete .*\.run\.lock"),
        ({"namespace": "pid:[1]"}, r"cannot be seen from here .* delete .*\.run\.lock"),  # another container
    ],
)
def test_owner_is_judged_by_what_can_be_seen(tmp_path, changes, message):
    lock = tmp_path / ".run.lock"
    with _process_that_holds(tmp_path / "run"):
        _rewrite(lock, **changes)
        if message is None:
            assert "taken over" in run_lock.take(tmp_path / "run")
            assert json.loads(lock.read_text())["pid"] == os.getpid()
        else:
            with pytest.raises(RunInUse, match=message):
                run_lock.take(tmp_path / "run")


def test_killed_process_that_nobody_has_waited_for_is_dead(tmp_path):
    with _process_that_holds(tmp_path / "run") as other:
        os.kill(other.pid, signal.SIGKILL)
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{other.pid}").exists()
        assert "taken over" in run_lock.take(tmp_path / "run")


def test_workers_of_a_run_do_not_release_its_lock(tmp_path):
    run_lock.take(tmp_path / "run")
    worker = FORK.Process(target=run_lock.release_all)
    worker.start()
    worker.join()
    assert (tmp_path / ".run.lock").exists()
    run_lock.release_all()
    assert not (tmp_path / ".run.lock").exists()


def test_unreadable_lock_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "_writing_seconds", 0.0)
    (tmp_path / ".run.lock").write_text("")
    with pytest.raises(RunInUse, match=r"\.run\.lock is not a lock that can be read.*delete it"):
        run_lock.take(tmp_path / "run")


@pytest.mark.parametrize("fault", ["no hard links", "not a folder"])
def test_file_systems(tmp_path, monkeypatch, fault):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if fault == "no hard links":
        monkeypatch.setattr(os, "link", refuse)
        run_lock.take(tmp_path / "run")
        assert json.loads((tmp_path / ".run.lock").read_text())["pid"] == os.getpid()
        return
    (tmp_path / "experiments").write_text("")
    with pytest.raises(CommandFailed, match=r"experiments/\.run\.lock cannot be written"):
        run_lock.take(tmp_path / "experiments/run")


def test_run_whose_lock_was_deleted_stops_before_it_writes_into_another_runs_folder(tmp_path):
    folder = tmp_path / "run"
    run_lock.take(folder)
    (tmp_path / ".run.lock").unlink()
    run_lock.confirm(folder)
    assert (tmp_path / ".run.lock").exists()  # nobody else wanted it
    (tmp_path / ".run.lock").unlink()
    model = _Model(folder)
    message = "run has been taken over by process .*deleted: this run stops"
    with _process_that_holds(folder), pytest.raises(RunInUse, match=message):
        save_training_state(model, 0, 4)
    assert not folder.exists()


class _Model:
    optimizers: tuple[Any, ...] = ()
    schedulers: tuple[Any, ...] = ()

    def __init__(self, folder: Path) -> None:
        path = {"experiments_root": str(folder), "training_states": str(folder), "models": str(folder)}
        self.opt: dict[str, Any] = {"path": path, "train": {}}


def _ranks(number: int, work: Callable[[int], object], port_file: Path) -> list[Any]:
    """Run something on several ranks that talk by gloo, and return what each one made of it."""
    results = FORK.Queue()

    def start(rank: int) -> None:
        store = torch.distributed.FileStore(str(port_file), number)
        torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=number)
        try:
            results.put((rank, work(rank)))
        except CommandFailed as error:
            results.put((rank, str(error)))
        torch.distributed.destroy_process_group()

    processes = [FORK.Process(target=start, args=(rank,)) for rank in range(number)]
    for process in processes:
        process.start()
    told = dict(results.get(timeout=30) for _ in processes)
    for process in processes:
        process.join(60)
    return [told[rank] for rank in range(number)]


def test_all_ranks_of_a_second_run_are_refused_and_those_of_one_run_are_not(tmp_path):
    from lightbsr_model.bridge.option_parsing import _lock_folder
    from lightbsr_model.runtime.processes import of_rank_0

    def lock(rank: int) -> str:
        run_lock._held.clear()
        _lock_folder({"rank": rank, "is_train": True, "path": {"experiments_root": str(tmp_path / "run")}})
        return of_rank_0(f"rank {rank} leads")

    assert _ranks(2, lock, tmp_path / "first") == ["rank 0 leads"] * 2
    (tmp_path / ".run.lock").unlink(missing_ok=True)
    with _process_that_holds(tmp_path / "run") as other:
        refused = _ranks(2, lock, tmp_path / "second")
    assert refused[0] == refused[1]
    assert f"in use by process {other.pid}" in refused[0]
