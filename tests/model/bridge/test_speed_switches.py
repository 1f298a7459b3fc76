"""Switches that make a training faster do the same steps."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge import launcher
from lightbsr_model.bridge.optimiser_steps import StepControl, get_optimizer
from lightbsr_model.bridge.skipped_iterations import NotFinite

from support.method_cases import CASES
from support.small_models import build, noise_batch, train
from support.training_files import log_of, training_options

TWO = pytest.mark.parametrize("case", [CASES["LightBSRTeacher"], CASES["LightBSR"]], ids=str)


@pytest.fixture
def losses(tmp_path):
    """The losses of four iterations, two in each phase, of a model with switches; and the model."""

    def trained(case, **switches):
        model = build(case, tmp_path, encoder_iter=2, **switches)
        return model, train(model, range(1, 5), partial(noise_batch, case.views))

    return trained


def _assert_near(ours, theirs, rel):
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=rel)


@TWO
@pytest.mark.parametrize("switches", [{"channels_last": True}, {"fused": True}, {"channels_last": True, "fused": True}])
def test_layout_and_fused_steps_change_nothing(losses, case, switches):
    model, ours = losses(case, **switches)
    _assert_near(ours, losses(case)[1], 1e-4)
    weight = model.net_g.sr.conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == bool(switches.get("channels_last"))


@TWO
def test_compiled_step_is_one_piece_and_the_same(losses, case, monkeypatch):
    # Graphs and gradients are traced as ever, and run without a C++ compiler, which takes a minute for each of them.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = losses(case, compile=True)[1]
    assert sum(torch._dynamo.utils.counters["graph_break"].values()) == 0
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # one a phase
    _assert_near(compiled, losses(case)[1], 1e-4)


@TWO
def test_bf16_is_near_and_keeps_weights_in_fp32(losses, tmp_path, case):
    model, half = losses(case, amp="bf16")
    full = losses(case)[1]
    _assert_near(half, full, 0.1)
    assert half != full
    assert {value.dtype for value in model.net_g.parameters()} == {torch.float32}
    assert model.output.dtype == torch.float32
    dtypes = []
    model.net_g.sr.head.register_forward_hook(lambda *_: dtypes.append(_[-1].dtype))
    train(model, [5], partial(noise_batch, case.views))
    model.test()  # validation stays in fp32
    assert dtypes == [torch.bfloat16, torch.float32]
    with pytest.raises(OptionError, match=r"train\.amp: expected off, bf16, fp16, got 'tf32'"):
        build(case, tmp_path, amp="tf32")
    for off in ("off", False, None):
        assert build(case, tmp_path, amp=off).grad_scaler is None


def test_fp16_scale_is_found_saved_and_resumed(run, tmp_path, image_folder):
    opt = training_options(image_folder, train={"amp": "fp16", "encoder_iter": 0})
    run(launcher.train, opt)
    log = log_of(tmp_path / "experiments/run")
    # The first scale, 2^16, is too large for 255 times a pixel loss in some step: no cause for alarm.
    assert "not finite" not in log
    state = torch.load(tmp_path / "experiments/run/training_states/4.state")
    assert 1 <= state["grad_scaler"]["scale"] <= 65536
    state["grad_scaler"].update(scale=32.0, _growth_tracker=7)
    torch.save(state, tmp_path / "experiments/run/training_states/4.state")
    opt["train"]["total_iter"] = 6
    opt["logger"]["save_checkpoint_freq"] = 6
    run(launcher.train, opt, "--auto_resume")
    resumed = torch.load(tmp_path / "experiments/run/training_states/6.state")["grad_scaler"]
    assert resumed["scale"] == 32.0
    assert resumed["_growth_tracker"] == 9


def test_fused_is_left_off_where_it_is_not_to_be_had():
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = get_optimizer(None, "RMSprop", iter([parameter]), lr=0.1, fused=True)
    parameter.sum().backward()
    optimizer.step()
    assert not torch.equal(parameter, torch.ones(3))


# ---- steps that are left out on the device


def _options(images, nan_loss, at, **train):
    pixel = {"type": nan_loss, "at": at}
    opt = training_options(images, train={"encoder_iter": 0, "pixel_opt": pixel, "grad_clip": 10.0, **train})
    opt["train"]["optim_g"]["fused"] = True
    opt["logger"]["print_freq"] = 100
    return opt


def test_steps_left_out_on_the_device_leave_no_trace(run, tmp_path, image_folder, nan_loss, monkeypatch):
    saved = {}
    for where in ("host", "device"):
        if where == "device":
            monkeypatch.setattr(StepControl, "_can_wait", lambda *_: True)
        opt = _options(image_folder, nan_loss, [2, 3])
        opt["name"] = where
        run(launcher.train, opt)
        folder = tmp_path / "experiments" / where
        log = log_of(folder)
        assert log.count("Skipped iteration") == 2
        assert "Skipped iteration 3: a loss or gradient is not finite (l_contrast" in log
        saved[where] = torch.load(folder / "models/net_g_latest.pth")["params"]
        steps = torch.load(folder / "training_states/4.state")["optimizers"][0]["state"].values()
        assert {float(entry["step"]) for entry in steps} == {2.0}
    assert all(torch.equal(value, saved["host"][name]) for name, value in saved["device"].items())
    assert all(bool(value.isfinite().all()) for value in saved["device"].values())


def test_steps_left_out_on_the_device_in_a_row_stop_the_run(run, image_folder, nan_loss, monkeypatch):
    monkeypatch.setattr(StepControl, "_can_wait", lambda *_: True)
    opt = _options(image_folder, nan_loss, [2, 3], max_nonfinite=2)
    with pytest.raises(NotFinite, match=r"iteration 3: .*l_pix nan; learning rate .*\.png.*number 2 in a row"):
        run(launcher.train, opt)
    # Not in a row.
    opt = _options(image_folder, nan_loss, [2, 4], max_nonfinite=2)
    run(launcher.train, opt)
