"""What a supervised run does besides surviving."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from basicsr.models.lr_scheduler import MultiStepRestartLR
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightbsr_arch import LightBSR, __version__
from lightbsr_model.bridge import launcher
from lightbsr_model.bridge.checkpoint_saving import save_network
from lightbsr_model.bridge.loading import load_network
from lightbsr_model.bridge.optimiser_steps import StepControl
from lightbsr_model.bridge.patches import apply_patches
from lightbsr_model.runtime.random_streams import derive_seed, seed_everything, seeded

from support.training_files import plain_training, training_options


def _log(tmp_path, name="run"):
    return next((tmp_path / "experiments" / name).glob("*.log")).read_text()


def test_last_validation_runs_once_under_its_true_iteration(run, tmp_path, image_folder):
    opt = training_options(image_folder, train={"total_iter": 6}, val={"val_freq": 3, "save_img": True})
    run(launcher.train, opt)
    assert re.findall(r"Validation val\n.*@ (\d+) iter", _log(tmp_path))[0] == "3"
    assert len(re.findall("Validation val\n", _log(tmp_path))) == 2
    pictures = {path.name for path in (tmp_path / "experiments/run/visualization").rglob("coffee0*.png")}
    assert pictures == {"coffee0_iso_2.4_3.png", "coffee0_iso_2.4_6.png"}
    opt = training_options(image_folder, name="odd", train={"total_iter": 5}, val={"val_freq": 3, "save_img": True})
    run(launcher.train, opt)
    pictures = {path.name for path in (tmp_path / "experiments/odd/visualization").rglob("coffee0*.png")}
    assert pictures == {"coffee0_iso_2.4_3.png", "coffee0_iso_2.4_5.png"}


def test_newest_and_best_checkpoints_are_kept(run, tmp_path, image_folder):
    opt = training_options(image_folder, train={"total_iter": 12, "keep_checkpoints": 2}, val={"val_freq": 2})
    run(launcher.train, opt)
    folder = tmp_path / "experiments/run"
    iterations = sorted(int(path.stem) for path in (folder / "training_states").glob("*.state"))
    best = torch.load(folder / "training_states/12.state")["best_metric_results"]["val"]["psnr"]["iter"]
    assert iterations[-2:] == [10, 12]
    assert set(iterations) <= {10, 12, best}
    assert best in iterations
    assert {path.name for path in (folder / "models").iterdir()} == {
        *(f"net_g_{number}.pth" for number in iterations), "net_g_latest.pth"
    }  # fmt: skip


def test_checkpoint_says_what_it_is(run, tmp_path, image_folder):
    opt = training_options(image_folder)
    run(launcher.train, opt)
    for name, iteration in (("net_g_4.pth", 4), ("net_g_latest.pth", 5)):
        about = torch.load(tmp_path / "experiments/run/models" / name)["lightbsr"]
        assert about["version"] == __version__
        assert about["iteration"] == iteration
        assert about["networks"]["network_g"] == opt["network_g"]
        assert about["manual_seed"] == 0
        assert about["option_file"] == (tmp_path / "run.yml").read_text()


def test_accumulated_parts_equal_the_larger_batch(run, tmp_path, image_folder):
    results = []
    for name, accum_iter in (("whole", 1), ("parts", 2)):
        opt = plain_training(image_folder, accum_iter=accum_iter, ema_decay=0.5)
        opt["name"] = name
        opt["train"]["optim_g"] = {"type": "SGD", "lr": 0.0001}
        run(launcher.train, opt)
        results.append(torch.load(tmp_path / f"experiments/{name}/models/net_g_latest.pth"))
    for key in ("params", "params_ema"):
        for name, value in results[0][key].items():
            torch.testing.assert_close(results[1][key][name], value, rtol=1e-4, atol=1e-6)
    assert (
        re.findall(r"l_pix: (\S+)", _log(tmp_path, "whole"))[0]
        == re.findall(r"l_pix: (\S+)", _log(tmp_path, "parts"))[0]
    )


def test_gradients_are_clipped():
    value = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([value], lr=1.0)
    StepControl([optimizer], grad_clip=0.5)
    value.grad = torch.full((4,), 3.0)
    optimizer.step()
    torch.testing.assert_close(value.detach().norm(), torch.tensor(0.5), rtol=1e-4, atol=0)


def test_step_schedule_reaches_its_rate_after_a_warm_up(run, tmp_path, image_folder):
    opt = plain_training(image_folder, warmup_iter=3, total_iter=8)
    opt["train"]["optim_g"]["lr"] = 1e-3
    opt["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [6], "gamma": 0.5}
    run(launcher.train, opt)
    rates = [float(rate) for rate in re.findall(r"lr:\((\S+),\)", _log(tmp_path))]
    assert rates == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3, 1e-3, 1e-3, 5e-4, 5e-4], rel=1e-3)


def test_step_schedule_equals_basicsrs_without_a_warm_up():
    from lightbsr_model.bridge.schedules import multistep_rates

    def basicsrs(scheduler):
        """The rule of BasicSR 1.4.2, lr_scheduler.py:27, in words of our own."""
        rates = [group["lr"] for group in scheduler.optimizer.param_groups]
        if scheduler.last_epoch in scheduler.restarts:
            weight = scheduler.restart_weights[scheduler.restarts.index(scheduler.last_epoch)]
            return [group["initial_lr"] * weight for group in scheduler.optimizer.param_groups]
        return [rate * scheduler.gamma ** scheduler.milestones.get(scheduler.last_epoch, 0) for rate in rates]

    options = {"milestones": [2, 5, 5, 11], "gamma": 0.5, "restarts": (0, 8), "restart_weights": (1, 0.7)}
    curves = []
    for rule in (basicsrs, multistep_rates):
        original, MultiStepRestartLR.get_lr = MultiStepRestartLR.get_lr, rule
        try:
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
            scheduler = MultiStepRestartLR(optimizer, **options)
            rates = []
            for _ in range(14):
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                scheduler.step()
        finally:
            MultiStepRestartLR.get_lr = original
        curves.append(rates)
    assert curves[0] == pytest.approx(curves[1])


def test_tensorboard_gets_losses_rates_metrics_and_a_picture(run, tmp_path, image_folder):
    opt = training_options(image_folder, logger={"use_tb_logger": True})
    run(launcher.train, opt)
    events = EventAccumulator(str(tmp_path / "tb_logger/run"))
    events.Reload()
    tags = events.Tags()
    assert {"losses/l_contrast", "losses/l_pix", "rates/group_0", "metrics/val/psnr"} <= set(tags["scalars"])
    assert [round(event.value, 8) for event in events.Scalars("rates/group_0")][:2] == pytest.approx([2e-4, 2e-4])
    picture = events.Images("pictures/val: LR, bicubic, SR, GT")[0]
    assert (picture.width, picture.height) == (4 * 96, 80)


def test_first_page_of_the_log(run, tmp_path, image_folder):
    run(launcher.train, training_options(image_folder))
    log = _log(tmp_path)
    assert f"lightbsr {__version__}, BasicSR 1.4.2" in log
    assert "cpu (" in log
    # A default that the file does not name.
    assert "prior_max_variance: 16.0" in log
    assert "Training data: 6 images" in log
    assert "Validation data val: 6 images." in log


def test_bar_on_a_terminal(monkeypatch, capsys):
    from lightbsr_model.bridge import progress

    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    bar = progress.Progress({"rank": 0}, 20)
    bar.start_at(4)
    for iteration in range(5, 9):
        bar.show(iteration, {"l_pix": 1.5})
    bar.close()
    assert "8/20" in capsys.readouterr().err
    quiet = progress.Progress({"rank": 1}, 20)
    quiet.show(1, {})
    assert capsys.readouterr().err == ""


def test_deterministic_is_switched_on(run, tmp_path, image_folder):
    try:
        run(launcher.train, training_options(image_folder, deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)


def test_ema_of_basicsr_own_model_follows_buffers(run, tmp_path, image_folder):
    apply_patches()
    network = {"type": "LightBSR", "scale": 4, "num_feat": 8, "num_group": 1, "num_block": 1, "num_spatial_feat": 2}
    run(launcher.train, plain_training(image_folder, network, ema_decay=0.9))
    saved = torch.load(tmp_path / "experiments/run/models/net_g_latest.pth")
    name = "encoder.layers.1.running_mean"
    assert torch.equal(saved["params"][name], saved["params_ema"][name])
    assert float(saved["params"][name].abs().sum()) > 0
    LightBSR(**{key: value for key, value in network.items() if key != "type"}).load_state_dict(saved["params_ema"])


def test_streams():
    assert derive_seed(1, "a", 2) == derive_seed(1, "a", 2)
    assert len({derive_seed(seed, "a", place) for seed in range(10) for place in range(10)}) == 100
    seed_everything(3)
    expected = torch.rand(2)
    seed_everything(3)
    with seeded(5):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with seeded(5):
        assert torch.equal(torch.rand(2), inside)


def test_pictures_of_several_sets_do_not_overwrite_each_other(run, tmp_path, image_folder):
    opt = training_options(image_folder, val={"save_img": True})
    first = opt["datasets"].pop("val")
    opt["datasets"].update(val_1={**first, "name": "one"}, val_2={**first, "name": "two", "border": "symmetric"})
    run(launcher.train, opt)
    folder = tmp_path / "experiments/run/visualization"
    assert sorted(path.name for path in folder.iterdir()) == ["one", "two"]
    assert len(list(folder.rglob("coffee0*_4.png"))) == 2


def test_prefetching_that_cannot_work_is_left_out(run, tmp_path, image_folder):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    opt = training_options(image_folder)
    opt["datasets"]["train"].update(prefetch_mode="cuda", pin_memory=True)
    run(launcher.train, opt)
    assert "prefetch_mode: cuda has no effect without a GPU" in _log(tmp_path)


def test_network_with_a_part_named_module_is_saved_and_loaded(tmp_path):
    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = torch.nn.Linear(2, 2)

    net, other = Wrapped(), Wrapped()
    model = SimpleNamespace(
        get_bare_model=lambda network: network,
        opt={"path": {"models": str(tmp_path)}},
        _print_different_keys_loading=lambda *_: None,
    )
    save_network(model, net, "net_g", 3)
    load_network(model, other, str(tmp_path / "net_g_3.pth"))
    assert torch.equal(other.module.weight, net.module.weight)
    torch.save({f"module.{key}": value for key, value in net.state_dict().items()}, tmp_path / "parallel.pth")
    load_network(model, other, str(tmp_path / "parallel.pth"), param_key=None)
    with pytest.raises(ValueError, match="does not fit Linear"):
        load_network(model, torch.nn.Linear(3, 3), str(tmp_path / "net_g_3.pth"))
