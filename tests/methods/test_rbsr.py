"""RBSR: the network, against the published one and at any number of frames, and what its training is made of."""

from __future__ import annotations

import inspect
import math
import sys

import numpy as np
import pytest
import torch
from basicsr.archs.spynet_arch import SpyNet as BasicSRSpyNet
from basicsr.models import build_model
from torch.nn import functional as F

from lightbsr_arch import convert_published_state_dict, infer_options
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.layers.camera import Colours
from lightbsr_arch.layers.optical_flow import SpyNet, read_along
from lightbsr_arch.methods.rbsr import RBSR
from lightbsr_model.bridge import launcher
from lightbsr_model.degradation.burst import camera_of
from lightbsr_model.training.linear_psnr import LINEAR_PAIR, LinearPair, calculate_psnr_linear, psnr_linear

from support.helpers import assert_close_to_reference
from support.method_cases import BURSTS
from support.option_problems import problems_of
from support.published import published_state_dict
from support.small_models import build, burst_batch, options_of, train
from support.training_files import log_of, training_options, write_options

CASE, SPYNET = BURSTS["RBSR"], BURSTS["RBSR_spynet"]
RECORDED = ("t4", "t3_n2")


@pytest.fixture(scope="module")
def published():
    state_dict = convert_published_state_dict(published_state_dict("rbsr", 0.7))
    options = infer_options(state_dict)
    assert options.pop("type") == "RBSR"
    net = RBSR(**options).eval()
    net.load_state_dict(state_dict)
    return net


def test_the_published_network_has_its_sizes(published):
    assert sum(value.numel() for value in published.parameters()) == 6_416_967
    assert sum(value.numel() for value in published.flow_net.parameters()) == 1_440_300
    assert sum(value.numel() for value in published.alignment.parameters()) == 310_360
    assert sum(value.numel() for value in published.recurrence.parameters()) == 3_064_896
    assert published.options == RBSR(flow_net="spynet").options


@pytest.mark.parametrize("name", RECORDED)
def test_equals_published(golden, published, name):
    data = {key.removeprefix(f"{name}_"): value for key, value in golden("rbsr").items() if key.startswith(name)}
    (key,) = (key for key in data if key.startswith("loss_state"))
    after = int(key.removeprefix("loss_state"))
    with torch.no_grad():
        features, flow = published.align(data["lq"])
        assert_close_to_reference(flow, data["flow"])
        states = published.accumulate(features)
        for number in range(features.shape[1]):
            for ours, theirs in ((features, data["aligned"]), (states, data["states"])):
                assert_close_to_reference(ours[:, number, : theirs.shape[2]], theirs[:, number])
        sr, between, _ = published.outputs(data["lq"], None, after)
        assert_close_to_reference(sr, data["sr"])
        assert_close_to_reference(between[..., ::2, ::2], data[f"sr_state{after}_every2"])
        # One frame after the other, in the memory of one, is the same.
        torch.testing.assert_close(published(data["lq"]), sr, rtol=0, atol=1e-4 * float(sr.std()))
    gt = torch.from_numpy(np.random.default_rng(int(data["gtseed"])).uniform(0, 1, sr.shape).astype(np.float32))
    loss = ((sr - gt).abs().mean() + (between - gt).abs().mean()) / 2
    assert float(loss) == pytest.approx(float(data[key]), rel=1e-5)


# ---- the network


def _net(seed=0, **options):
    torch.manual_seed(seed)
    net = RBSR(**{**CASE.small, **options}).eval()
    with torch.no_grad():
        net.alignment.offsets[-1].weight.normal_(std=0.05)
    return net


@pytest.mark.parametrize("flow_net", ["affine", "spynet"])
@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (20, 33)])
def test_any_number_of_frames_at_any_size(flow_net, frames, size):
    net = _net(flow_net=flow_net)
    burst = torch.rand(2, frames, 4, *size)
    with torch.no_grad():
        sr = net(burst)
        assert sr.shape == (2, 3, 8 * size[0], 8 * size[1])
        # One by one, and as the training does it.
        alone = torch.cat([net(burst[number : number + 1]) for number in range(2)])
        together, flow = net.outputs(burst, None)
    assert flow.shape == (2, frames - 1, 2, *size)
    for other in (alone, together):
        torch.testing.assert_close(other, sr, rtol=0, atol=1e-4 * float(sr.std() + 1e-3))
    assert infer_options(net.state_dict()) == {"type": "RBSR", **net.options}


def test_sizes_and_residue_are_read_off_the_state_dict():
    options = {
        **{"num_feat": 12, "num_feat_block": 2, "num_block": 3, "num_reconstruction_block": 1, "deform_groups": 3},
        **{"max_residue": 4.5, "flow_net": "spynet"},
    }
    assert infer_options(RBSR(**options).state_dict()) == {"type": "RBSR", **options}
    assert list(inspect.signature(RBSR).parameters) == list(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flow_net": "pwc"}, "flow_net: expected spynet or affine, got 'pwc'"),
        ({"deform_groups": 3}, "deform_groups: expected a divisor of num_feat 8, got 3"),
    ],
)
def test_networks_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        RBSR(**{**CASE.small, **options})


def test_what_is_no_burst_is_refused():
    for burst in (torch.rand(1, 4, 8, 8), torch.rand(1, 2, 3, 8, 8), torch.zeros(1, 2, 4, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="burst: expected float frames"):
            _net()(burst)
    with pytest.raises(ValueError, match=r"flow: expected \(1, 2, 2, 8, 8\) for this burst, got \(1, 1, 2, 8, 8\)"):
        _net()(torch.rand(1, 3, 4, 8, 8), torch.zeros(1, 1, 2, 8, 8))


def test_a_given_flow_replaces_the_estimated_one():
    net, burst = _net(), torch.rand(1, 3, 4, 16, 16)
    flow = net.estimate_flow(burst)
    with torch.no_grad():
        # Several pairs at once are rounded otherwise than one.
        torch.testing.assert_close(net(burst, flow), net(burst), rtol=0, atol=1e-5)
        assert (net(burst, flow + 1) - net(burst)).abs().max() > 1e-3
        # Offsets of zero read where the flow points to: frames that moved by whole pixels are aligned exactly inside.
        net.alignment.offsets[-1].weight.zero_()
        wide = torch.rand(1, 4, 16, 20)
        moved = torch.stack([wide[..., :16], wide[..., 2:18]], dim=1)
        shift = torch.zeros(1, 1, 2, 16, 16)
        shift[:, :, 0] = -2
        features, _ = net.align(moved, shift)
        still, _ = net.align(moved[:, [0, 0]], torch.zeros_like(shift))
    # Away from the borders, which the features see.
    torch.testing.assert_close(features[0, 1, :, 6:-6, 8:-6], still[0, 1, :, 6:-6, 8:-6], rtol=0, atol=1e-5)


def test_spynet_is_basicsrs_and_works_at_32_pixels():
    ours = SpyNet()
    theirs = BasicSRSpyNet()
    ours.load_state_dict(theirs.state_dict())
    pair = torch.rand(2, 3, 70, 90), torch.rand(2, 3, 70, 90)
    with torch.no_grad():
        torch.testing.assert_close(ours(*pair), theirs(*pair), rtol=1e-4, atol=1e-5)
        assert ours(torch.rand(1, 3, 20, 32), torch.rand(1, 3, 20, 32)).isfinite().all()


def test_reading_outside_gives_zeros_or_the_border():
    images, flow = torch.ones(1, 1, 4, 4), torch.full((1, 2, 4, 4), 1.5)
    zeros, border = (read_along(images, flow, padding) for padding in ("zeros", "border"))
    assert torch.allclose(border, images)
    assert zeros[0, 0, 0].tolist() == pytest.approx([1, 1, 0.5, 0])


def _photo(side):
    import skimage.data

    image = torch.from_numpy(skimage.data.astronaut()[20:460, 20:460].copy()).permute(2, 0, 1)[None].float() / 255
    return F.interpolate(image, size=(side, side), mode="bicubic", antialias=True)[0].clamp(0, 1)


def _burst(camera, frames, gt_size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    camera = camera_of(camera)
    params = camera.draw(frames, generator)
    photo = _photo(gt_size + 2 * camera.cut)
    taken = camera.take(photo, params, lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64))
    return (*(value.float()[None] for value in taken), params)


@pytest.mark.parametrize(("camera", "gt_size", "limit"), [("mended", 384, 0.05), ("small", 192, 0.1)])
def test_affine_flow_finds_the_motions_of_a_camera(camera, gt_size, limit):
    frames, _, flow, _ = _burst(camera, 5, gt_size)
    found = _net().estimate_flow(frames)
    inner = (..., slice(4, -4), slice(4, -4))
    assert (found - flow)[inner].norm(dim=2).mean() < limit
    assert flow[inner].norm(dim=2).mean() > 5 * limit


def test_one_image_repeated_breaks_nothing():
    frames, _, _, _ = _burst("small", 1, 96)
    net = _net()
    with torch.no_grad():
        assert net(frames.expand(-1, 6, -1, -1, -1)).isfinite().all()
        assert net.estimate_flow(frames.expand(-1, 6, -1, -1, -1)).abs().max() < 1e-3


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
    frames, gt, _, params = _burst("small", 3, 64)
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
    photo = _photo(64 + 24)[:, 12:-12, 12:-12]
    assert (visuals["gt"][0] - photo).abs().mean() < 0.02


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
