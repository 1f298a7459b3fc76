"""What is skipped leaves no trace in the weights, and what is pruned none on the disk."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from resumed_runs import short_options

from lightbsr_model.bridge import launcher
from lightbsr_model.bridge.checkpoint_saving import prune_checkpoints
from lightbsr_model.bridge.optimiser_steps import StepControl

from support.method_cases import CASES


@pytest.mark.parametrize("case", ["teacher", "CdCL"])
def test_skipped_iteration_leaves_no_trace(run, tmp_path, image_folder, nan_loss, monkeypatch, case):
    """Neither in the averaged copy, nor in the key encoder, which follows before a loss is known."""
    averages = {}
    for where in ("host", "device"):
        if where == "device":
            monkeypatch.setattr(StepControl, "_can_wait", lambda *_: True)
        opt = short_options(image_folder, name=where, logger={"save_checkpoint_freq": 1})
        if case == "CdCL":
            opt = CASES[case].apply(opt)
        pixel = {"type": nan_loss, "at": [2, 3]}
        opt["train"].update(encoder_iter=0, pixel_opt=pixel, total_iter=4, ema_decay=0.9)
        opt["train"]["optim_g"]["fused"] = where == "device"
        run(launcher.train, opt)
        saved = {
            number: torch.load(tmp_path / f"experiments/{where}/models/net_g_{number}.pth") for number in (1, 3, 4)
        }
        for entry in ("params", "params_ema"):
            assert all(torch.equal(value, saved[3][entry][name]) for name, value in saved[1][entry].items())
            changed = {name for name, value in saved[4][entry].items() if not torch.equal(value, saved[1][entry][name])}
            assert any(".key." in name for name in changed)
        averages[where] = saved[4]["params_ema"]
    for name, value in averages["host"].items():
        torch.testing.assert_close(averages["device"][name], value, rtol=1e-5, atol=1e-7, msg=name)


def _checkpoints(folder: Path, *numbers: int) -> SimpleNamespace:
    for name in ("models", "training_states"):
        (folder / name).mkdir()
    for number in numbers:
        (folder / f"training_states/{number}.state").touch()
        for label in ("net_g", "net_d"):
            (folder / f"models/{label}_{number}.pth").touch()
    path = {"models": str(folder / "models"), "training_states": str(folder / "training_states")}
    return SimpleNamespace(opt={"path": path})


def test_old_checkpoints_are_pruned_but_the_best(tmp_path):
    model = _checkpoints(tmp_path, 2, 4, 6, 8, 12)
    (tmp_path / "models/net_g_latest.pth").touch()
    model.best_metric_results = {"one": {"psnr": {"iter": 4}, "niqe": {"iter": 12}}, "two": {"psnr": {"iter": -1}}}
    prune_checkpoints(model, keep=2)
    assert {path.stem for path in (tmp_path / "training_states").iterdir()} == {"4", "8", "12"}
    kept = {f"{label}_{number}" for label in ("net_g", "net_d") for number in (4, 8, 12)}
    assert {path.stem for path in (tmp_path / "models").iterdir()} == kept | {"net_g_latest"}


@pytest.mark.parametrize("survived", [1, 2])
def test_kill_while_pruning_leaves_nothing_for_ever(tmp_path, survived):
    model = _checkpoints(tmp_path, 2, 4)

    def die_while_pruning() -> None:
        unlink, removed = Path.unlink, []

        def unlink_or_die(path: Path, missing_ok: bool = False) -> None:
            if len(removed) == survived:
                os.kill(os.getpid(), signal.SIGKILL)
            removed.append(path)
            unlink(path, missing_ok=missing_ok)

        Path.unlink = unlink_or_die
        prune_checkpoints(model, keep=1)

    process = multiprocessing.get_context("fork").Process(target=die_while_pruning)
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert len([path for path in tmp_path.rglob("*_2.pth") if path.is_file()]) == 2 - survived
    prune_checkpoints(model, keep=1)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "4.state",
        "net_d_4.pth",
        "net_g_4.pth",
    ]


def test_networks_whose_state_was_never_written_are_removed_and_no_others(finished):
    """A network is saved before its state: a kill in between leaves it alone."""
    finished.file("2.state").unlink()
    networks = finished.folder / "models"
    foreign = torch.load(finished.file("net_g_2.pth"))
    foreign["lightbsr"].update(run="f" * 32, iteration=3)
    torch.save(foreign, networks / "net_g_3.pth")
    torch.save({"params": {}}, networks / "net_g_1.pth")
    (networks / "net_g_5.pth").write_bytes(b"of the user's")
    shutil.copy(finished.file("net_g_2.pth"), networks / "my_favourite.pth")
    shutil.copy(finished.file("net_g_4.pth"), networks / "mine_4.pth")
    finished.opt["train"].update(total_iter=8, keep_checkpoints=1)
    finished.train("--auto_resume")
    assert sorted(path.name for path in networks.iterdir()) == [
        "mine_4.pth", "my_favourite.pth", "net_g_1.pth", "net_g_3.pth", "net_g_5.pth", "net_g_8.pth", "net_g_latest.pth",
    ]  # fmt: skip
