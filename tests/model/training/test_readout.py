"""``train.degradation_opt``: the true degradation, read off the representation while the network trains."""

from __future__ import annotations

import math

import pytest
import torch
from basicsr.models import build_model

from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation import get_degradation
from lightbsr_model.degradation.base import in_float32

from support.method_cases import ALL, CASES
from support.model_options import model_options
from support.option_problems import problems_of
from support.training_files import training_options

BLIND = [case for case in ALL if case.network in ("LightBSR", "DASR", "CdCL", "KDSR")]
LOSS = {"type": "DegradationRegressionLoss", "loss_weight": 1.0}


def _drawn(preset, count, seed=0):
    degradation = get_degradation(preset)
    generator = torch.Generator().manual_seed(seed)
    samples = [in_float32(degradation.draw(generator)) for _ in range(count)]
    return degradation, {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def _model(case, folder, encoder_iter=0, **train):
    opt = case.apply(
        model_options("teacher", CASES["LightBSRTeacher"].options(), encoder_iter),
        str(case.save_teacher(folder)) if case.teacher else None,
    )
    opt["train"].update({"degradation_opt": LOSS, **train})
    torch.manual_seed(3)
    return build_model(opt)


def _batch(case, seed, count=4):
    generator = torch.Generator().manual_seed(seed)
    _, params = _drawn("setting1_x4", count, seed)
    return {"gt_views": torch.randint(0, 256, (count, case.views, 3, 32, 32), generator=generator).byte(), **params}


def test_quantities_of_the_settings():
    degradation, params = _drawn("setting2_x4", 6)
    assert list(degradation.quantities()) == ["sigma_1", "sigma_2", "stretch_x", "stretch_y", "noise_level"]
    values = degradation.measure(params)
    # As drawn, exactly, also where a thin kernel is hardly sampled.
    drawn = params["axes"][:, :2].sort(dim=1, descending=True).values
    torch.testing.assert_close(values[:, :2], drawn)
    torch.testing.assert_close(values[:, 4], params["noise_level"])
    torch.testing.assert_close(torch.hypot(values[:, 2], values[:, 3]), values[:, 0] - values[:, 1])
    # The angle is that of the wider axis, whichever was drawn first.
    turned = {**params, "axes": params["axes"][:, [1, 0, 2]] + torch.tensor([0, 0, math.pi / 2])}
    torch.testing.assert_close(degradation.measure(turned), values, rtol=1e-4, atol=1e-5)
    assert list(get_degradation("setting1_x4").quantities()) == ["sigma"]
    assert get_degradation("iso_2.4").quantities() == {}


def test_only_what_varies_is_a_quantity():
    assert get_degradation("aniso_k2_n0").quantities() == {}
    turning = get_degradation("setting2_x4", {"lambda_1": 3, "lambda_2": 1, "noise_level": 0})
    assert turning.quantities() == {"stretch_x": (-2.0, 2.0), "stretch_y": (-2.0, 2.0)}
    growing = get_degradation("setting2_x4", {"lambda_1": [1, 4], "lambda_2": 1, "theta": 0, "noise_level": 0})
    assert growing.quantities() == {"sigma_1": (1.0, 4.0), "stretch_x": (-3.0, 3.0), "stretch_y": (-3.0, 3.0)}


def test_no_jpeg_is_the_best_quality():
    sometimes = get_degradation("setting1_x4", {"jpeg": [30, 95]}).covering([get_degradation("setting1_x4")])
    assert sometimes.quantities()["jpeg_quality"] == (1.0, 100.0)
    params = {"axes": torch.ones(3, 3), "noise_level": torch.zeros(3), "jpeg_quality": torch.tensor([0.0, 30.0, 95.0])}
    column = list(sometimes.quantities()).index("jpeg_quality")
    assert sometimes.measure(params)[:, column].tolist() == [100.0, 30.0, 95.0]


@pytest.mark.parametrize("case", BLIND, ids=str)
def test_every_blind_method_learns_to_read(case, tmp_path):
    """The loss is that of a map from the representation to sigma, reaches the encoder, and falls."""
    model = _model(case, tmp_path, optim_g={"type": "Adam", "lr": 1e-2})
    losses = []
    for iteration in range(1, 13):
        model.update_learning_rate(iteration)
        model.feed_data(_batch(case, seed=1))
        model.optimize_parameters(iteration)
        losses.append(model.get_current_log()["l_degradation"])
    sigma = _batch(case, 1)["axes"][:, 0]
    # At first the map reads the middle of the range whatever it sees.
    assert losses[0] == pytest.approx(((sigma - 2.1) / 1.9).abs().mean().item(), abs=1e-3)
    assert losses[-1] < 0.95 * losses[0]
    assert model.readout.linear.weight.grad.abs().max() > 0


def test_the_encoder_learns_from_it_alone(tmp_path):
    """Without any other loss the encoder's weights move, and those of the SR network do not."""
    case = CASES["LightBSR"]
    quiet = {"type": "ChannelDistillationLoss", "loss_weight": 0.0}
    off = {"channel_opt": quiet, "spatial_opt": {"type": "SpatialDistillationLoss", "loss_weight": 0.0}}
    pixel = {"type": "L1Loss", "loss_weight": 0.0, "reduction": "mean"}
    model = _model(case, tmp_path, encoder_iter=8, **off, pixel_opt=pixel)
    before = {name: value.clone() for name, value in model.net_g.named_parameters()}
    for iteration in (1, 2, 3):
        model.update_learning_rate(iteration)
        model.feed_data(_batch(case, iteration))
        model.optimize_parameters(iteration)
    moved = {
        name.split(".")[0] for name, value in model.net_g.named_parameters() if not torch.equal(value, before[name])
    }
    assert moved == {"encoder"}


def test_a_network_that_is_told_the_degradation_is_refused(tmp_path):
    for name in ("LightBSRTeacher", "KDSRTeacher"):
        with pytest.raises(OptionError, match=f"degradation_opt.*{name} does not estimate the degradation from the LR"):
            _model(CASES[name], tmp_path)


def test_data_that_do_not_vary_or_do_not_say_are_refused(tmp_path):
    case = CASES["DASR"]
    opt = case.apply(model_options("teacher", CASES["LightBSRTeacher"].options(), 0), None)
    opt["train"]["degradation_opt"] = LOSS
    opt["datasets"]["train"]["preset"] = "iso_2.4"
    with pytest.raises(OptionError, match=r"degradation_opt.*nothing varies"):
        build_model(opt)
    model = _model(case, tmp_path)
    model.update_learning_rate(1)
    model.feed_data({"views": torch.rand(4, 2, 3, 8, 8), "gt": torch.rand(4, 3, 32, 32)})
    with pytest.raises(
        OptionError, match=r"a batch has no kernel, noise_level, jpeg_quality, axes: take BlindDegradation"
    ):
        model.optimize_parameters(1)


def test_reading_leaves_the_random_stream_alone(tmp_path):
    """What is drawn after a read-out was made is what is drawn without one."""
    states = []
    for opt in (LOSS, None):
        _model(CASES["DASR"], tmp_path, degradation_opt=opt)
        states.append(torch.random.get_rng_state())
    assert torch.equal(*states)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"loss": "ChannelDistillationLoss"}, "type: expected DegradationRegressionLoss, got ChannelDistillationLoss"),
        ({"degrade_in": "loader"}, "degradation_opt needs the degradations on the device: take device"),
        ({"preset": "iso_2.4"}, "nothing varies in the degradations of datasets.train"),
        ({"case": "KDSRTeacher"}, "KDSRTeacher does not estimate the degradation from the LR image alone"),
    ],
)
def test_the_check_says_what_cannot_be_read(change, problem, image_folder):
    case = CASES[change.pop("case", "DASR")]
    opt = case.apply(training_options(image_folder))
    opt["train"]["degradation_opt"] = {"type": change.pop("loss", "DegradationRegressionLoss")}
    opt["datasets"]["train"].update(change)
    found = [text for text in problems_of(opt) if "degrad" in text.lower()]
    assert found == [] if problem is None else problem in "".join(found)
