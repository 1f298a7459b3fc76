"""The fault matrix: each fault really made, and what becomes of the run. docs/reliability.md is its table."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from lightbsr_model.bridge import launcher, option_parsing
from lightbsr_model.bridge.checkpoint_saving import SaveFailed, save_atomically
from lightbsr_model.bridge.skipped_iterations import NotFinite
from lightbsr_model.bridge.training_data import SampleError
from lightbsr_model.degradation import GaussianDegradation

from support.lmdb_files import encoded_images, write_lmdb
from support.training_files import log_of, plain_training, training_options, write_options

# ---- saving


def test_disk_full_stops_the_run_and_leaves_older_files_whole(tmp_path, image_folder, fork_server):
    opt = training_options(image_folder, train={"total_iter": 8}, logger={"save_checkpoint_freq": 2})
    write_options(tmp_path, opt)
    fork_server.train(tmp_path, "--force_yml", "train:total_iter=3")
    models, states = (tmp_path / "experiments/run" / name for name in ("models", "training_states"))
    (models / "net_g_latest.pth").unlink()
    before = {path: path.read_bytes() for path in (*models.iterdir(), *states.iterdir())}
    assert before
    # No file may grow beyond 20 KB from here on: a checkpoint has more.
    log = fork_server.train(tmp_path, "--auto_resume", file_limit=20_000, code=1)
    assert "net_g_4.pth cannot be saved" in log
    assert "older checkpoints are intact" in log
    assert "Traceback" not in log
    assert {path: path.read_bytes() for path in (*models.iterdir(), *states.iterdir())} == before
    log = fork_server.train(tmp_path, "--auto_resume")
    assert "Resuming training from epoch: 0, iter: 2." in log


def test_failed_save_keeps_the_file_of_the_same_name(tmp_path):
    path = tmp_path / "a.pth"
    save_atomically({"value": 1}, path)

    class Unsaveable:
        def __reduce__(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(SaveFailed, match=r"a\.pth cannot be saved.*No space left"):
        save_atomically({"value": Unsaveable()}, path)
    assert torch.load(path) == {"value": 1}
    assert list(tmp_path.iterdir()) == [path]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("file", "damage", "said", "iteration"),
    [
        ("training_states/4.state", _cut, "4.state is not a training state, or is truncated: the previous one is", 2),
        ("training_states/9.state", lambda path: torch.save({"a": "b"}, path), "9.state is not a training state", 4),
        ("models/net_g_4.pth", _cut, "net_g_4.pth", 2),
    ],
)
def test_damaged_newest_state_is_named_and_the_one_before_taken(
    tmp_path, image_folder, fork_server, file, damage, said, iteration
):
    write_options(tmp_path, training_options(image_folder))
    fork_server.train(tmp_path)
    damage(tmp_path / "experiments/run" / file)
    (tmp_path / "experiments/run/training_states/best.state").touch()
    log = fork_server.train(tmp_path, "--auto_resume")
    assert said in log
    assert f"iter: {iteration}." in log


# ---- data


def _with_corrupt_image(tmp_path: Path, images: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for path in images.glob("*.png"):
        content = path.read_bytes()
        (folder / path.name).write_bytes(content[:300] if path.name == "coffee0.png" else content)
    return folder


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("prefetch", [None, "cpu"])
def test_corrupt_image_ends_the_run_and_is_named(tmp_path, image_folder, fork_server, prefetch, workers):
    opt = training_options(_with_corrupt_image(tmp_path, image_folder))
    opt["datasets"]["train"].update(prefetch_mode=prefetch, num_worker_per_gpu=workers)
    write_options(tmp_path, opt)
    started = time.monotonic()
    log = fork_server.train(tmp_path, signal=signal.SIGKILL, after=60, code=2)
    assert "coffee0.png" in log
    assert "cannot be read as an image" in log
    assert "skip_bad_images" in log
    assert time.monotonic() - started < 30


def test_corrupt_image_in_basicsr_own_data_set_is_named(run, tmp_path, image_folder):
    folder = _with_corrupt_image(tmp_path, image_folder)
    opt = plain_training(folder)
    opt["datasets"]["train"] = {
        "name": "train", "type": "PairedImageDataset", "dataroot_gt": str(folder), "dataroot_lq": str(folder),
        "io_backend": {"type": "disk"}, "gt_size": 32, "use_hflip": True, "use_rot": True,
        "num_worker_per_gpu": 0, "batch_size_per_gpu": 2,
    }  # fmt: skip
    with pytest.raises(SampleError, match=r"coffee0\.png|astronaut|chelsea"):
        run(launcher.train, opt)


def test_bad_images_are_skipped_and_counted_where_told(tmp_path, image_folder, fork_server):
    opt = training_options(_with_corrupt_image(tmp_path, image_folder))
    opt["datasets"]["train"].update(skip_bad_images=2, num_worker_per_gpu=2)
    opt["datasets"]["val"]["dataroot_gt"] = str(image_folder)
    write_options(tmp_path, opt)
    log = fork_server.train(tmp_path)
    assert "Skipped (1 of 2): sample" in log
    assert "images skipped so far" in log
    opt["train"]["total_iter"] = 12
    write_options(tmp_path, opt)
    log = fork_server.train(tmp_path, code=2)
    assert "one more than datasets.train.skip_bad_images (2) allows" in log


def test_corrupt_lmdb_record_is_named(tmp_path, image_folder, fork_server):
    records = encoded_images(image_folder)
    records["coffee1"] = records["coffee1"][:200]
    opt = training_options(image_folder)
    opt["datasets"]["train"].update(write_lmdb(tmp_path / "gt.lmdb", records))
    write_options(tmp_path, opt)
    log = fork_server.train(tmp_path, code=2)
    assert "(coffee1) cannot be loaded" in log


# ---- numbers


def test_nan_is_skipped_and_counted(run, tmp_path, image_folder, nan_loss, caplog):
    opt = training_options(image_folder, train={"encoder_iter": 0, "pixel_opt": {"type": nan_loss, "at": [2, 3]}})
    run(launcher.train, opt)
    log = log_of(tmp_path / "experiments/run")
    assert "Skipped iteration 2: a loss or gradient is not finite" in log
    assert "2 iterations skipped so far" in log
    assert "l_pix nan" in log
    assert ".png" in log[log.index("Skipped iteration 2") :].split("\n")[0]
    saved = torch.load(tmp_path / "experiments/run/models/net_g_latest.pth")["params"]
    assert all(bool(value.isfinite().all()) for value in saved.values())
    state = torch.load(tmp_path / "experiments/run/training_states/4.state")
    assert {float(entry["step"]) for entry in state["optimizers"][0]["state"].values()} == {2.0}


def test_nan_in_a_row_stops_the_run(run, image_folder, nan_loss):
    pixel = {"type": nan_loss, "at": [2, 3]}
    opt = training_options(image_folder, train={"encoder_iter": 0, "max_nonfinite": 2, "pixel_opt": pixel})
    with pytest.raises(NotFinite, match=r"iteration 3: .*l_pix nan; learning rate .*\.png.*number 2 in a row"):
        run(launcher.train, opt)


def test_nan_images_leave_no_trace_in_batchnorm_statistics(run, tmp_path, image_folder, monkeypatch):
    apply, calls = GaussianDegradation.apply, []

    def broken(*args, **kwargs):
        calls.append(1)
        return apply(*args, **kwargs) * (float("nan") if len(calls) == 2 else 1)

    monkeypatch.setattr(GaussianDegradation, "apply", broken)
    run(launcher.train, training_options(image_folder))
    assert len(calls) >= 2
    saved = torch.load(tmp_path / "experiments/run/models/net_g_latest.pth")["params"]
    assert all(bool(value.isfinite().all()) for value in saved.values())


# ---- processes


@pytest.mark.slow
def test_killed_rank_takes_the_job_down_at_once(tmp_path, image_folder):
    opt = training_options(image_folder, train={"total_iter": 100_000, "encoder_iter": 10})
    opt["logger"].update(save_checkpoint_freq=100_000, print_freq=5)
    opt["val"]["val_freq"] = 100_000
    write_options(tmp_path, opt)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "lightbsr"]
    log = tmp_path / "output.txt"
    with log.open("w") as file:
        job = subprocess.Popen(
            [sys.executable, *torchrun, "train", "-opt", "run.yml", "--launcher", "pytorch"],
            cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            end = time.monotonic() + 120
            while "iter:      10" not in log.read_text().replace("iter:       10", "iter:      10"):
                assert job.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < end
                time.sleep(0.1)
            ranks = [int(line) for line in subprocess.check_output(["pgrep", "-P", str(job.pid)], text=True).split()]
            os.kill(max(ranks), signal.SIGKILL)
            killed = time.monotonic()
            assert job.wait(timeout=60) != 0
        finally:
            job.kill()
    assert time.monotonic() - killed < 30
    assert "SIGKILL" in log.read_text() or "exitcode" in log.read_text()


@pytest.mark.slow
def test_error_of_one_rank_is_told_and_ends_the_job(tmp_path, image_folder):
    opt = training_options(_with_corrupt_image(tmp_path, image_folder), train={"total_iter": 1000})
    opt["datasets"]["val"]["dataroot_gt"] = str(image_folder)
    write_options(tmp_path, opt)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "lightbsr"]
    done = subprocess.run(
        [sys.executable, *torchrun, "train", "-opt", "run.yml", "--launcher", "pytorch"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
    assert "lightbsr train: datasets.train: sample" in done.stderr
    assert "coffee0.png" in done.stderr


def test_slurm_variables_become_torchruns(monkeypatch, tmp_path):
    from lightbsr_model.runtime import processes

    started = {}
    monkeypatch.setattr(
        processes, "init_process_group", lambda backend, **kwargs: started.update(kwargs, backend=backend)
    )
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho node07\necho node08\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in (("PROCID", "5"), ("NTASKS", "8"), ("LOCALID", "1"), ("NODELIST", "node[07-08]")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    processes.init_slurm_process_group("nccl", port=29511, timeout_minutes=5)
    assert started == {"backend": "nccl", "timeout_minutes": 5}
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    assert [os.environ[name] for name in names] == ["5", "8", "1", "node07", "29511"]


@pytest.mark.parametrize(("num_gpu", "backend"), [(0, "gloo"), ("auto", "nccl")])
def test_processes_on_cpus_talk_by_gloo(monkeypatch, num_gpu, backend):
    started = {}
    monkeypatch.setattr(
        option_parsing, "init_dist", lambda launcher, **kwargs: started.update(kwargs, launcher=launcher)
    )
    opt = {"num_gpu": num_gpu, "dist_params": {"backend": "nccl", "port": 1}}
    option_parsing._start_processes(opt, Namespace(launcher="slurm"))
    assert started == {"launcher": "slurm", "backend": backend, "port": 1}
    assert opt["dist"] is True


def test_sync_bn_on_a_cpu_says_that_torch_has_none(run, image_folder):
    with pytest.raises(ValueError, match="SyncBatchNorm on CUDA only"):
        run(launcher.train, training_options(image_folder, train={"sync_bn": True}))
