"""``lightbsr train`` and ``lightbsr test``, in this process and under torchrun."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import lightbsr
from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge import launcher

from support.training_files import BICUBIC, as_test, log_of, plain_training, training_options


def test_basicsr_own_network_trains_on_our_data(run, tmp_path, image_folder):
    opt = plain_training(image_folder)
    run(launcher.train, opt)
    assert (tmp_path / "experiments/run/models/net_g_latest.pth").is_file()
    path = {"pretrain_network_g": str(tmp_path / "experiments/run/models/net_g_latest.pth")}
    run(launcher.test, as_test(opt, path=path))
    assert "# psnr" in log_of(tmp_path / "results/tested")


def test_bicubic_through_basicsr_own_test(run, tmp_path, image_folder):
    run(launcher.test, as_test(training_options(image_folder), **BICUBIC))
    assert "# psnr" in log_of(tmp_path / "results/bicubic")


def test_all_iterations_run_although_the_last_batch_is_dropped(run, tmp_path, image_folder):
    # 6 images in batches of 4: one whole batch an epoch. BasicSR counts two, and would stop at 4 of 7.
    opt = training_options(image_folder, train={"total_iter": 7}, logger={"save_checkpoint_freq": 7})
    opt["datasets"]["train"]["batch_size_per_gpu"] = 4
    run(launcher.train, opt)
    assert (tmp_path / "experiments/run/training_states/7.state").is_file()


def test_fewer_images_than_a_batch_are_an_error(run, image_folder):
    opt = training_options(image_folder)
    opt["datasets"]["train"]["batch_size_per_gpu"] = 7
    with pytest.raises(OptionError, match=r"7, but 6 images.*fewer than a batch.*dataset_enlarge_ratio"):
        run(launcher.train, opt)


def test_resume_from_another_run(run, tmp_path, image_folder):
    run(launcher.train, training_options(image_folder))
    state = tmp_path / "experiments/run/training_states/4.state"
    opt = training_options(image_folder, name="other", path={"resume_state": str(state)})
    run(launcher.train, opt)
    other = torch.load(tmp_path / "experiments/other/models/net_g_latest.pth")["params"]
    assert other.keys() == torch.load(tmp_path / "experiments/run/models/net_g_4.pth")["params"].keys()
    with pytest.raises(OptionError, match=r"none\.state"):
        run(launcher.train, training_options(image_folder, path={"resume_state": "none.state"}))
    (tmp_path / "text.state").write_text("no state")
    with pytest.raises(OptionError, match=r"text\.state"):
        run(launcher.train, training_options(image_folder, path={"resume_state": str(tmp_path / "text.state")}))


@pytest.mark.slow
def test_two_processes_train_resume_and_test(tmp_path, image_folder, fork_server):
    opt = training_options(image_folder, train={"ema_decay": 0.5})
    opt["datasets"]["train"]["num_worker_per_gpu"] = 1
    (tmp_path / "run.yml").write_text(yaml.safe_dump(opt))

    def train():
        log = fork_server.train(tmp_path, "--launcher", "pytorch", "--auto_resume", ranks=2)
        return log

    log = train()
    # 6 images over 2 ranks in batches of 2: one iteration an epoch.
    assert re.findall(r"iter:\s+(\d+),", log) == ["1", "2", "3", "4", "5"]
    assert len(re.findall("# psnr", log)) == 2
    (tmp_path / "experiments/run/training_states/4.state").unlink()
    assert re.findall(r"iter:\s+(\d+),", train()) == ["3", "4", "5"]
    path = {"pretrain_network_g": "experiments/run/models/net_g_latest.pth", "param_key_g": "params_ema"}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(as_test(opt, path=path)))
    # Tested under torchrun itself, which the fork server stands in for.
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = ["-m", "lightbsr", "test", "-opt", "test.yml", "--launcher", "pytorch"]
    done = subprocess.run(
        [sys.executable, *torchrun, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    split = re.findall(r"# psnr: (\S+)", done.stdout + done.stderr)
    code, log = fork_server.run(tmp_path, "test", "-opt", "test.yml")
    assert code == 0, log[-2000:]
    # Split over the processes, and the same figure.
    assert len(split) == 1
    assert split == re.findall(r"# psnr: (\S+)", log)


def test_missing_data_are_told_without_a_traceback(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yml").write_text(yaml.safe_dump(training_options(Path("datasets/DF2K/HR"))))
    assert lightbsr.main(["train", "-opt", "run.yml"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("lightbsr train: run.yml has 2 problems:\n")
    assert "datasets:train:dataroot_gt: there is no folder datasets/DF2K/HR" in message
    assert "lightbsr demo" in message
    assert "Traceback" not in message
