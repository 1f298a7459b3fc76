"""Mimicked alignment: the auxiliary network, its losses, and how a network learns from misaligned pairs by it."""

from __future__ import annotations

import math

import pytest
import torch
from basicsr.archs.spynet_arch import SpyNet
from basicsr.models import build_model
from torch.nn import functional as F

from lightbsr_arch import convert_published_state_dict, infer_options
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.layers.registration import warp
from lightbsr_arch.methods.mimicked import MimicNet
from lightbsr_model.degradation import bicubic_downsample, isotropic_gaussian_kernels
from lightbsr_model.losses import FlowAlignedL1Loss, LowPassL1Loss
from lightbsr_model.methods.mimicked import degraded_copy, low_gt

from support.helpers import assert_close_to_reference, run_command
from support.method_cases import CASES
from support.option_problems import problems_of
from support.published import published_state_dict
from support.small_models import build, options_of, smooth_batch, train
from support.training_cases import STRATEGIES
from support.training_files import training_options

RCAN = {"num_in_ch": 3, "num_out_ch": 3, "upscale": 4}
CASE = STRATEGIES["MimickedAlignmentModel"]
RECORDED = pytest.mark.parametrize("name", ["m1", "m2"])


@pytest.fixture
def data(golden, name):
    return {key.removeprefix(f"{name}_"): value for key, value in golden("mimicked").items() if key.startswith(name)}


@RECORDED
def test_network_is_the_published_one(data):
    state_dict = convert_published_state_dict(published_state_dict("mimicked_mim"))
    assert infer_options(state_dict) == {"type": "MimicNet", "num_feat": 64}
    net = MimicNet()
    net.load_state_dict(state_dict)
    assert sum(value.numel() for value in net.parameters()) == 486_915
    with torch.no_grad():
        raw = net(data["gt_low"], data["lq"])
    assert_close_to_reference(raw, data["mim_raw"])
    assert_close_to_reference((raw + data["noise"] - data["gt_low"]).clamp(0, 1), data["mim"])


@RECORDED
def test_published_loss(data):
    scale = data["gt"].shape[-1] // data["lq"].shape[-1]
    assert_close_to_reference(low_gt(data["gt"], scale, published=True), data["gt_low"])
    loss = FlowAlignedL1Loss(published=True)
    low = loss.seen_of_gt(data["gt"], data["lq"])
    assert_close_to_reference(low, data["flow_input_gt"])
    warped, mask = warp(data["lq"], data["flow"], stretched=True)
    assert_close_to_reference(warped, data["warped"])
    assert torch.equal(mask, data["mask"])
    candidate = data["candidate"].requires_grad_()
    value = loss.compare(candidate, warped, mask, low)
    value.backward()
    assert value.item() == pytest.approx(float(data["loss_align"]), rel=1e-5)
    torch.testing.assert_close(candidate.grad, data["grad_candidate"], rtol=1e-5, atol=1e-9)
    luminance = FlowAlignedL1Loss(published=True, luminance=True).compare(candidate, warped, mask, low)
    assert float(luminance) == pytest.approx(float(data["loss_luminance"]), rel=1e-5)


@RECORDED
def test_whole_loss_takes_the_flow_of_its_network(data, monkeypatch):
    loss = FlowAlignedL1Loss(2.0, published=True)
    seen = []
    monkeypatch.setattr(loss, "flow", lambda *images: (seen.append(images), (data["flow"], torch.ones(1)))[1])
    value = loss(data["candidate"], data["lq"], data["gt"])
    assert float(value) == pytest.approx(2 * float(data["loss_align"]), rel=1e-5)
    assert torch.equal(seen[0][1], data["lq"])


def test_our_warp_takes_the_flow_as_it_is():
    images, flow = torch.rand(1, 3, 9, 12), torch.zeros(1, 2, 9, 12)
    flow[:, 0], flow[:, 1] = 2, -1
    warped, mask = warp(images, flow)
    torch.testing.assert_close(warped[..., 1:, :-2], images[..., :-1, 2:], rtol=0, atol=1e-5)
    assert mask[..., 1:, :-2].min() == 1
    assert mask[..., :1, :].max() == mask[..., -2:].max() == 0


def test_sizes_of_the_network_and_what_it_refuses(tmp_path, capfd):
    net = MimicNet(5)
    assert infer_options(net.state_dict()) == {"type": "MimicNet", "num_feat": 5}
    assert net(torch.rand(2, 3, 7, 8), torch.rand(2, 3, 7, 8)).shape == (2, 3, 7, 8)
    for shapes in (((1, 3, 6, 8),) * 2, ((1, 3, 8, 8), (1, 3, 8, 9))):
        with pytest.raises(ValueError, match="sides of at least 7 pixels"):
            net(*(torch.rand(shape) for shape in shapes))
    net.start_at_zero()
    assert net(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)).abs().max() == 0
    path = tmp_path / "net_mim.pth"
    torch.save({"params": net.state_dict()}, path)
    status, told = run_command(capfd, "info", path)
    assert status == 0
    assert "MimicNet, 5 " in told
    assert "method: Mimicked alignment (ACCV 2024, arXiv 2410.05410)" in told
    assert "use: training alone: it helps other networks to learn, and restores no images" in told
    status, told = run_command(capfd, "infer", path, "-m", path, "-o", tmp_path / "out")
    assert status != 0
    assert "this is MimicNet, which helps other networks to learn and restores no images" in told


# ---- losses


def _photo(side=96):
    import skimage.data

    image = torch.from_numpy(skimage.data.astronaut()[:240, 100:340].copy()).permute(2, 0, 1)[None].float() / 255
    return F.interpolate(image, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)


def test_loss_is_small_where_the_image_is_the_warped_one():
    gt = _photo()
    low = bicubic_downsample(gt, 4)
    moved = bicubic_downsample(gt.roll((8, -4), dims=(2, 3)), 4) * 0.9 + 0.05
    loss = FlowAlignedL1Loss()
    aligned, other = float(loss(low, moved, gt)), float(F.l1_loss(low, moved))
    assert aligned < 0.25 * other
    assert float(FlowAlignedL1Loss(colour_match=False)(low, moved, gt)) > 2 * aligned
    # Half the weight on a loss of the same images.
    assert float(FlowAlignedL1Loss(0.5)(low, moved, gt)) == pytest.approx(aligned / 2)


@pytest.mark.parametrize("flow", ["affine", "away", "nan"])
def test_pairs_without_common_content_add_nothing_and_no_nan(flow, monkeypatch):
    loss = FlowAlignedL1Loss()
    generator = torch.Generator().manual_seed(0)
    gt, lq = torch.rand(2, 3, 96, 96, generator=generator), torch.rand(2, 3, 24, 24, generator=generator)
    lq[1] = 0  # a black image has nothing in common with any
    if flow != "affine":
        net = torch.nn.Identity()
        net.forward = lambda low, _: torch.full_like(low[:, :2], {"away": 1000.0, "nan": float("nan")}[flow])
        loss.flow_net = net
    images = torch.rand(2, 3, 24, 24, requires_grad=True)
    value = loss(images, lq, gt)
    value.backward()
    assert float(value) == 0
    assert images.grad.abs().max() == 0


def test_pairs_of_another_scale_are_an_error():
    with pytest.raises(OptionError, match=r"HR images of 90x96 and LR images of 24x24"):
        FlowAlignedL1Loss()(torch.rand(1, 3, 24, 24), torch.rand(1, 3, 24, 24), torch.rand(1, 3, 96, 90))


def test_low_pass_loss():
    images, target = torch.rand(2, 3, 24, 30), torch.rand(2, 3, 24, 30)
    loss = LowPassL1Loss(2.0)
    assert float(loss(images, images)) == 0
    # A change of the brightness counts in full, a checkerboard hardly.
    assert float(loss(images + 0.1, images)) == pytest.approx(0.2, rel=1e-4)
    board = 0.1 * (-1.0) ** (torch.arange(24)[:, None] + torch.arange(30))
    assert float(loss(images + board, images)) < 1e-3
    x = torch.arange(-10, 11.0)
    kernel = torch.exp(-(x[:, None] ** 2 + x[None] ** 2) / 32)
    blurred = F.conv2d(
        F.pad(images - target, (10,) * 4, mode="reflect").transpose(0, 1).flatten(0, 1)[:, None],
        (kernel / kernel.sum())[None, None],
    )
    assert float(loss(images, target)) == pytest.approx(2 * float(blurred.abs().mean()), rel=1e-4)
    assert math.isfinite(float(loss(images[..., :7, :7], target[..., :7, :7])))
    with pytest.raises(ValueError, match="sigma: expected more than 0"):
        LowPassL1Loss(sigma=0)


def test_spynet_needs_its_weights(tmp_path, image_folder):
    with pytest.raises(OptionError, match=r"flow_path: missing; flow: spynet needs a file"):
        FlowAlignedL1Loss(flow="spynet")
    with pytest.raises(MissingFileError, match=r"flow_path: there is no file nowhere\.pth"):
        FlowAlignedL1Loss(flow="spynet", flow_path="nowhere.pth")
    with pytest.raises(OptionError, match="flow: expected affine or spynet, got 'pwc'"):
        FlowAlignedL1Loss(flow="pwc")
    path = tmp_path / "other.pth"
    torch.save({"params": MimicNet(4).state_dict()}, path)
    with pytest.raises(OptionError, match=r"flow_path: .*other\.pth has no weights of SpyNet"):
        FlowAlignedL1Loss(flow="spynet", flow_path=str(path))
    opt = CASE.apply(training_options(image_folder))
    opt["train"]["align_opt"] = {"type": "FlowAlignedL1Loss", "flow": "spynet", "flow_path": "nowhere.pth"}
    opt["datasets"]["train"]["views"] = 1
    (problem,) = _own_problems(opt)
    assert "train:align_opt:flow_path: there is no file nowhere.pth" in problem


def test_spynet_gives_the_flow(tmp_path):
    torch.manual_seed(0)
    net = SpyNet()
    weights = {key: value for key, value in net.state_dict().items() if key not in ("mean", "std")}
    torch.save({"params": weights}, tmp_path / "spynet.pth")
    loss = FlowAlignedL1Loss(flow="spynet", flow_path=str(tmp_path / "spynet.pth"))
    gt = _photo()
    low, lq = bicubic_downsample(gt, 4), torch.rand(1, 3, 24, 24)
    flow, _ = loss.flow(low, lq)
    assert flow.shape == (1, 2, 24, 24)
    large = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(loss.flow(large, large.roll(2, 3))[0], net(large, large.roll(2, 3)))
    assert not any(value.requires_grad for value in loss.parameters())
    images = torch.rand(1, 3, 24, 24, requires_grad=True)
    loss(images, lq, gt).backward()
    assert images.grad.isfinite().all()


# ---- the model


def _own_problems(opt):
    opt["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [4]}
    return problems_of(opt)


def test_both_networks_learn_each_by_its_own_losses(tmp_path):
    model = build(CASE, tmp_path, 0)
    before = {
        name: {k: v.clone() for k, v in getattr(model, name).state_dict().items()} for name in ("net_g", "net_mim")
    }
    (log, *_) = train(model, (1, 2, 3), lambda _: smooth_batch(1))
    assert list(log) == ["l_pix", "l_align", "l_colour"]
    for name, values in before.items():
        assert any(not torch.equal(value, values[key]) for key, value in getattr(model, name).state_dict().items())
    # The first image that is made is the downsampled GT image.
    model = build(CASE, tmp_path, 0)
    model.feed_data(smooth_batch(1))
    made, low = model.mimic()
    assert torch.equal(made, low.clamp(0, 1))
    assert torch.equal(low, bicubic_downsample(model.gt, 4))
    (model.net_g(made.detach()) - model.gt).abs().mean().backward()
    assert all(value.grad is None for value in model.net_mim.parameters())


def test_alignment_loss_falls(tmp_path):
    """The auxiliary network learns the blur of an image that lies elsewhere and is darker."""
    optim = {"type": "Adam", "lr": 3e-3, "betas": [0.9, 0.99]}
    model = build(CASE, tmp_path, 0, 60, optim_g=optim)
    gt = (255 * _photo()).round().byte()[:, None]
    blur = {**smooth_batch(1, 1), "kernel": isotropic_gaussian_kernels(torch.tensor([3.6]))}
    model.feed_data({**blur, "gt_views": gt})
    aligned = model.lq
    model.feed_data({**blur, "gt_views": gt.roll((8, 4), (3, 4))})
    lq = model.lq * 0.9 + 0.04
    before = float(F.l1_loss(bicubic_downsample(gt[:, 0] / 255, 4), aligned))
    logs = train(model, range(1, 61), lambda _: {"lq": lq, "gt": gt[:, 0] / 255})
    assert logs[-1]["l_align"] < 0.7 * logs[0]["l_align"]
    # Nobody has shown it this one: the LR image at the GT image's place.
    made, _ = model.mimic()
    assert float(F.l1_loss(made, aligned)) < 0.8 * before


@pytest.mark.parametrize("network", ["LightBSR", "RCAN", "SwinIR"])
def test_any_network_learns(tmp_path, network):
    sizes = {
        "LightBSR": CASES["LightBSR"].options(),
        "RCAN": {**RCAN, "num_feat": 16, "num_group": 1, "num_block": 1},
        "SwinIR": {
            **{"upscale": 4, "img_size": 8, "window_size": 8, "embed_dim": 12, "depths": [2], "num_heads": [2]},
            **{"mlp_ratio": 2, "upsampler": "pixelshuffledirect"},
        },
    }
    opt = options_of(CASE, tmp_path, 0)
    opt["network_g"] = {**sizes[network], "type": network}
    model = build_model(opt)
    before = model.net_g.state_dict()["sr.head.weight" if network == "LightBSR" else "conv_first.weight"].clone()
    pair = {"lq": torch.rand(2, 3, 16, 16), "gt": torch.rand(2, 3, 64, 64)}
    assert train(model, [1], lambda _: pair)[0].keys() == {"l_pix", "l_align", "l_colour"}
    after = model.net_g.state_dict()["sr.head.weight" if network == "LightBSR" else "conv_first.weight"]
    assert not torch.equal(before, after)
    model.feed_data({"lq": torch.rand(1, 3, 13, 18)})
    model.test()
    assert model.output.shape == (1, 3, 52, 72)


def test_optimisers_and_their_schedule(tmp_path):
    model = build(CASE, tmp_path, 0, scheduler={"type": "MultiStepLR", "milestones": [2], "gamma": 0.1})
    assert model.optimizers == [model.optimizer_g, model.optimizer_mim]
    assert model.optimizer_mim.param_groups[0]["lr"] == model.optimizer_g.param_groups[0]["lr"]
    train(model, (1, 2, 3), lambda _: smooth_batch(1))
    assert [optimizer.param_groups[0]["lr"] for optimizer in model.optimizers] == [pytest.approx(2e-5)] * 2
    own = build(CASE, tmp_path, 0, optim_mim={"type": "Adam", "lr": 0.1})
    assert own.optimizer_mim.param_groups[0]["initial_lr"] == 0.1
    assert {id(v) for v in own.net_mim.parameters()} == {id(v) for v in own.optimizer_mim.param_groups[0]["params"]}


def test_published_start(tmp_path):
    model = build(CASE, tmp_path, 0, published_start=True)
    assert model.net_mim.last.weight.abs().max() > 0
    model.feed_data(smooth_batch(1))
    made, low = model.mimic()
    assert torch.equal(low, F.interpolate(model.gt, size=(12, 12), mode="bicubic", align_corners=True))
    torch.testing.assert_close(made, model.net_mim(low, model.lq).clamp(0, 1))


def test_residual_is_a_noisy_compressed_copy_of_the_gt_image():
    gt = _photo().expand(3, -1, -1, -1)
    residual = {"noise": [5, 30], "jpeg": [60, 95]}
    generator = torch.Generator()
    copies = [degraded_copy(gt, 4, residual, seed, generator) for seed in range(12)]
    low = F.interpolate(gt, scale_factor=0.25, mode="bilinear", align_corners=False)
    deviations = torch.stack([(copy - low).std(dim=(1, 2, 3)) for copy in copies])
    assert all(copy.shape == (3, 3, 24, 24) and copy.min() >= 0 and copy.max() <= 1 for copy in copies)
    # The noise is at HR size or at LR size, by the order drawn; samples have levels of their own.
    assert 3 / 255 < deviations.min() < deviations.max() < 35 / 255
    assert (deviations.std(dim=1) > 1 / 255).any()
    assert torch.equal(degraded_copy(gt, 4, residual, 5, generator), copies[5])
    assert not torch.equal(copies[4], copies[5])
    mild = degraded_copy(gt, 4, {"noise": [0, 0], "jpeg": [100, 100]}, 0, generator)
    assert (mild - low).abs().mean() < 0.02


def test_a_batch_of_another_scale_is_an_error(tmp_path):
    model = build(CASE, tmp_path, 0)
    model.update_learning_rate(1)
    model.feed_data({"lq": torch.rand(1, 3, 12, 12), "gt": torch.rand(1, 3, 36, 36)})
    with pytest.raises(OptionError, match=r"LR images of 12x12 and GT images of 36x36: expected GT images of 48x48"):
        model.optimize_parameters(1)


def test_a_range_the_wrong_way_round_is_an_error(tmp_path):
    with pytest.raises(OptionError, match=r"train\.residual\.jpeg: expected \[lowest, highest\], got \[95, 60\]"):
        build(CASE, tmp_path, 0, residual={"jpeg": [95, 60]})


def test_what_is_missing_is_named(tmp_path, image_folder):
    opt = CASE.apply(training_options(image_folder))
    del opt["network_mim"]
    assert any("network_mim: missing; MimickedAlignmentModel needs it" in problem for problem in _own_problems(opt))
    opt = CASE.apply(training_options(image_folder))
    del opt["train"]["align_opt"]
    assert any("train:align_opt: missing" in problem for problem in _own_problems(opt))
    opt.update(is_train=True, dist=False, rank=0, world_size=1)
    with pytest.raises(OptionError, match=r"train\.align_opt: missing"):
        build_model(opt)
    opt["train"]["align_opt"] = {"type": "FlowAlignedL1Loss", "flow": "spynet"}
    with pytest.raises(OptionError, match=r"train\.align_opt\.flow_path: missing"):
        build_model(opt)
