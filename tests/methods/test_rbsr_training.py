"""RBSR: what its training and its validation are made of."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from basicsr.archs.spynet_arch import SpyNet as BasicSRSpyNet
from basicsr.models import build_model

from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.layers.camera import Colours
from lightbsr_model.bridge import launcher
from lightbsr_model.training.linear_psnr import LINEAR_PAIR, LinearPair, calculate_psnr_linear, psnr_linear

from support.bursts import burst_of_photo, photo
from support.option_problems import problems_of
from support.small_models import build, burst_batch, options_of, train
from support.training_cases import BURSTS
from support.training_files import log_of, training_options, write_options

CASE, SPYNET = BURSTS["RBSR"], BURSTS["RBSR_spynet"]


# ---- its training


def _model(tmp_path, case=CASE, **train_opt):
    return build(case, tmp_path, 0, 100, **train_opt)


def test_loss_is_the_mean_after_all_frames_and_after_some(tmp_path):
    model = _model(tmp_path)
    model.net_g.eval()
    seen = set()
    for iteration in range(1, 9):
        model.update_learning_rate(iteration)
        model.feed_data(burst_batch(CASE.frames, iteration))
        burst, gt = model.batch.frames, model.gt
        with torch.no_grad():
            states = model.net_g.accumulate(model.net_g.align(burst)[0])
            base = model.net_g.features(burst[:, 0])
            images = [model.net_g.reconstruct(burst, base, states[:, k]) for k in range(burst.shape[1])]
        losses = [float((image - gt).abs().mean()) for image in images]
        model.enter_phase(model.phases[-1])
        found = float(model._losses()["l_pix"].detach())
        choices = [losses[-1]] if len(losses) < 3 else [(losses[-1] + between) / 2 for between in losses[1:-1]]
        (number,) = (k for k, value in enumerate(choices) if value == pytest.approx(found, rel=1e-5))
        seen.add((len(losses), number))
    # 2 to 4 frames, and both states that lie between the ends of four.
    assert {frames for frames, _ in seen} == {2, 3, 4}
    assert {number for frames, number in seen if frames == 4} == {0, 1}
    torch.testing.assert_close(model.output, images[-1])


@pytest.mark.parametrize("case", BURSTS.values(), ids=str)
def test_mixed_precision_computes_flow_and_places_in_32_bits(tmp_path, case):
    logs, flows = [], []
    for amp in ("off", "bf16"):
        model = _model(tmp_path, case, amp=amp)
        with torch.no_grad():
            model.net_g.alignment.offsets[-1].weight.normal_(std=0.02, generator=torch.Generator().manual_seed(0))
        outputs = model.net_g.outputs
        model.net_g.outputs = lambda *given, outputs=outputs: (result := outputs(*given), flows.append(result[-1]))[0]
        logs += train(model, [3], lambda _: burst_batch(case.frames))
    assert flows[1].dtype == torch.float32
    torch.testing.assert_close(flows[1], flows[0], rtol=1e-4, atol=1e-5)
    assert logs[1]["l_pix"] == pytest.approx(logs[0]["l_pix"], rel=0.02)
    assert logs[1] != logs[0]


def test_frames_and_state_depend_on_the_iteration_alone(tmp_path):
    numbers = []
    for _ in range(2):
        model = _model(tmp_path)
        for iteration in (5, 6, 7, 8):
            model.update_learning_rate(iteration)
            model.feed_data(burst_batch(CASE.frames))
            numbers.append((model.batch.frames.shape[1], model.batch.flow.shape[1]))
    assert numbers[:4] == numbers[4:]
    assert all(frames == flows + 1 for frames, flows in numbers)
    assert len(set(numbers)) > 1
    # A validation takes all frames.
    model.feed_data({**burst_batch(CASE.frames), "lq_path": ["a.png"]})
    assert model.batch.frames.shape[1] == CASE.frames


def test_the_flow_learns_alone_at_first(tmp_path):
    optim = {"type": "Adam", "lr": 1e-3, "weight_decay": 0, "betas": [0.9, 0.99]}
    model = _model(tmp_path, SPYNET, flow_iter=8, optim_g=optim)
    before = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    logs = train(model, range(1, 9), lambda _: burst_batch(SPYNET.frames, count=2))
    changed = {key for key, value in model.net_g.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert all(key.startswith("flow_net.") for key in changed)
    assert all(log.keys() == {"l_flow"} for log in logs)
    first, last = ([log["l_flow"] for log in logs[part]] for part in (slice(0, 2), slice(-2, None)))
    assert sum(last) < sum(first)
    (log,) = train(model, [9], lambda _: burst_batch(SPYNET.frames, count=2))
    assert log.keys() == {"l_pix", "l_flow"}


def test_the_true_flow_is_an_upper_limit(tmp_path, monkeypatch):
    model = _model(tmp_path, true_flow=True)
    monkeypatch.setattr(model.net_g, "estimate_flow", lambda *_: pytest.fail("the flow was estimated"))
    train(model, [1], lambda _: burst_batch(CASE.frames))
    model.test()  # a validation takes it too
    batch = {key: value for key, value in burst_batch(CASE.frames).items() if key != "flow"}
    with pytest.raises(OptionError, match=r"train\.true_flow: these bursts have no true flow"):
        train(model, [2], lambda _: batch)


def test_spynets_weights_are_the_start(tmp_path):
    theirs = BasicSRSpyNet()
    path = tmp_path / "spynet.pth"
    torch.save({"params": theirs.state_dict()}, path)
    model = _model(tmp_path, SPYNET, flow_path=str(path))
    for key, value in theirs.state_dict().items():
        assert torch.equal(model.net_g.flow_net.state_dict()[key], value)
    with pytest.raises(MissingFileError, match=r"train\.flow_path: there is no file"):
        _model(tmp_path, SPYNET, flow_path=str(tmp_path / "none.pth"))


@pytest.mark.parametrize(
    ("case", "train_opt", "message"),
    [
        ("RBSR", {"flow_opt": {"type": "L1Loss"}}, r"train\.flow_opt: network_g has no flow network"),
        ("RBSR", {"flow_iter": 3}, r"train\.flow_iter: network_g has no flow network"),
        ("RBSR_spynet", {"flow_iter": 3, "flow_opt": None}, r"train\.flow_opt: missing; the flow network learns by it"),
    ],
)
def test_a_flow_that_cannot_learn(tmp_path, case, train_opt, message):
    with pytest.raises(OptionError, match=message):
        _model(tmp_path, BURSTS[case], **train_opt)


@pytest.mark.parametrize(
    ("case", "frames", "changes", "message"),
    [
        (SPYNET, [1, 4], {}, "a flow is learnt from two frames or more"),
        (CASE, [1, 4], {"dist": True}, r"batches of one frame do not use all weights.* take \[2, 4\]"),
    ],
)
def test_batches_of_one_frame_where_they_cannot_be(tmp_path, case, frames, changes, message):
    opt = options_of(case, tmp_path)
    opt["datasets"]["train"]["frames"] = frames
    with pytest.raises(OptionError, match=rf"datasets\.train\.frames: {message}"):
        build_model({**opt, **changes})


def test_a_training_of_one_frame(tmp_path):
    opt = options_of(CASE, tmp_path)
    opt["datasets"]["train"]["frames"] = 1
    model = build_model(opt)
    before = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    train(model, [1, 2], lambda _: burst_batch(CASE.frames))
    changed = {
        key.partition(".")[0] for key, value in model.net_g.state_dict().items() if not torch.equal(value, before[key])
    }
    expected = {"features", "recurrence", "reconstruction", "skips", "upsamplers", "conv_hr", "conv_last"}
    assert changed == expected


def test_other_batches_are_refused(tmp_path):
    model = _model(tmp_path)
    with pytest.raises(OptionError, match="expected `frames` \\(SyntheticBurstDataset, BurstFolderDataset\\)"):
        model.feed_data({"lq": torch.rand(1, 3, 8, 8)})


def test_check_says_what_does_not_fit(image_folder, tmp_path):
    opt = CASE.apply(training_options(image_folder))
    assert problems_of(opt) == []
    opt["train"].update(flow_iter=3, flow_path="none.pth")
    found = problems_of(opt)
    for words in ("flow_iter: the flow network learns by flow_opt", "flow_path: network_g has flow_net: affine"):
        assert any(words in problem for problem in found), found
    opt["network_g"]["flow_net"] = "spynet"
    assert any("flow_path: there is no file none.pth" in problem for problem in problems_of(opt))
    opt["datasets"]["train"].update(camera_opt={"shfit": 3}, frames=[5, 2], gt_size=60)
    for words in ("frames: expected [least, most], got [5, 2]", "gt_size: expected a multiple of 8"):
        assert any(words in problem for problem in problems_of(opt)), words
    assert any("camera_opt" in problem and "shfit" in problem for problem in problems_of(opt))


# ---- validation


def test_linear_psnr_in_closed_form():
    gt = torch.full((1, 3, 200, 200), 0.5)
    assert psnr_linear(gt + 0.01, gt) == pytest.approx(40, abs=0.02)
    assert psnr_linear(gt + 2**-16, gt) == math.inf  # below the camera's bits
    assert psnr_linear(gt + 3, gt) == pytest.approx(20 * math.log10(2))
    framed = gt.clone()
    framed[..., :40, :] = 0
    assert psnr_linear(framed, gt) == math.inf
    assert psnr_linear(framed, gt, 30) < 40
    with pytest.raises(ValueError, match="one shape"):
        psnr_linear(gt, gt[..., 1:])
    with pytest.raises(OptionError, match="calculate_psnr_linear measures linear images"):
        LinearPair().take()
    LINEAR_PAIR.leave(gt + 0.01, gt)
    assert calculate_psnr_linear(None, None, crop_border=4) == pytest.approx(40, abs=0.02)


def test_visuals_are_srgb_and_the_linear_images_are_measured(tmp_path):
    frames, gt, _, params = burst_of_photo("small", 3, 64)
    model = _model(tmp_path)
    model.feed_data({"frames": frames, "gt": gt, "colours": params.colours.vector.float(), "lq_path": ["a.png"]})
    model.test()
    visuals = model.get_current_visuals()
    colours = Colours.of(params.colours.vector.float(), 1)
    torch.testing.assert_close(visuals["gt"], colours.to_srgb(gt))
    assert {name: value.shape[1] for name, value in visuals.items()} == {"lq": 3, "result": 3, "gt": 3}
    restored, measured = LINEAR_PAIR.take()
    assert torch.equal(measured, gt)
    assert torch.equal(restored, model.output)
    # Back where the photo was.
    middle = photo(64 + 24)[:, 12:-12, 12:-12]
    assert (visuals["gt"][0] - middle).abs().mean() < 0.02


def test_a_run_with_its_validation(image_folder, tmp_path, monkeypatch):
    opt = CASE.apply(training_options(image_folder))
    opt["train"]["total_iter"] = 2
    metrics = {"psnr_linear": {"type": "calculate_psnr_linear", "crop_border": 4}}
    opt["val"] = {
        "val_freq": 2,
        "save_img": True,
        "metrics": {**metrics, "ssim": {"type": "calculate_ssim", "crop_border": 4}},
    }
    folder = write_options(tmp_path / "run", opt)
    monkeypatch.setattr(sys, "argv", ["lightbsr"])
    launcher.train(["-opt", str(folder / "run.yml")], folder)
    (line,) = [line for line in log_of(tmp_path / "run/experiments/run").splitlines() if "psnr_linear" in line][-1:]
    assert 3 < float(line.split("psnr_linear:")[1].split()[0]) < 40
    saved = sorted((tmp_path / "run/experiments/run/visualization").rglob("*.png"))
    assert len(saved) == 6
