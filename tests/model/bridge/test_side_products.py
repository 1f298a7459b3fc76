"""A full disk under TensorBoard's file or the validation images: one warning, and the training goes on."""

from __future__ import annotations

import pytest
import torch

from lightbsr_arch.errors import CommandFailed
from lightbsr_model.bridge import launcher
from lightbsr_model.bridge.side_products import GuardedLogger

from support.full_disk import file_size_limit, small_disk
from support.training_files import BICUBIC, as_test, log_of, training_options


def test_full_disk_under_tensorboard(run, tmp_path, image_folder, capsys):
    opt = training_options(image_folder, logger={"use_tb_logger": True})
    with small_disk(tmp_path / "tb_logger", 8):
        run(launcher.train, opt)
    experiment = tmp_path / "experiments/run"
    assert log_of(experiment).count("TensorBoard's file cannot be written ([Errno 28] No space left on device)") == 1
    assert torch.load(experiment / "training_states/4.state")["iter"] == 4
    assert (experiment / "models/net_g_latest.pth").is_file()
    assert "Traceback" not in capsys.readouterr().err


def test_full_disk_under_validation_images(run, tmp_path, image_folder):
    opt = training_options(image_folder, val={"save_img": True})
    run(launcher.train, opt, "--force_yml", "train:total_iter=3", "val:save_img=false")
    experiment = tmp_path / "experiments/run"
    (experiment / "visualization").rmdir()
    with small_disk(experiment / "visualization", 16):
        run(launcher.train, opt, "--auto_resume")
        images = list((experiment / "visualization").rglob("*"))
        assert not [path for path in images if path.is_file() and path.stat().st_size < 1000]
    assert log_of(experiment).count("A validation image cannot be written") == 1
    assert log_of(experiment).count("# psnr") >= 2
    assert torch.load(experiment / "training_states/4.state")["iter"] == 4


def test_in_a_test_the_images_are_the_product(run, tmp_path, image_folder):
    test = as_test(training_options(image_folder, val={"save_img": True}), **BICUBIC)
    with file_size_limit(5_000), pytest.raises(CommandFailed, match=r"\.png cannot be written: File too large"):
        run(launcher.test, test)


def test_a_logger_that_fails_warns_once_and_hands_on_the_rest():
    class Writer:
        log_dir = "here"
        calls = 0

        def add_scalar(self, *_):
            self.calls += 1
            raise OSError(28, "No space left on device")

    writer = Writer()
    logger = GuardedLogger(writer)
    assert logger.log_dir == "here"
    for iteration in range(3):
        assert logger.add_scalar("loss", 0.0, iteration) is None
    assert writer.calls == 1
    with pytest.raises(AttributeError):
        logger.add_scalars_of_another_kind()
