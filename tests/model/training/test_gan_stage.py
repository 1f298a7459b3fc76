"""The adversarial stage: a network that restores, trained further against a discriminator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from basicsr.models import build_model

from lightbsr_model.bridge import launcher
from lightbsr_model.losses import WaveletLoss
from lightbsr_model.losses.wavelet import haar
from lightbsr_model.option_files.option_check import OptionCheck
from lightbsr_model.option_files.whole_options import read_options

from support.helpers import ROOT
from support.method_cases import CASES
from support.model_options import MSRRESNET, UNIT_L1, with_discriminator
from support.option_problems import problems_of
from support.training_files import assert_resumes_exactly, plain_training

BLIND = ("LightBSR", "DASR", "CdCL", "KDSR")


def _options(images, network=None, **train):
    network = CASES["LightBSR"].options() if network is None else network
    opt = with_discriminator(plain_training(images, network), pixel_opt=dict(UNIT_L1), **train)
    opt["train"].setdefault("wavelet_opt", {"type": "WaveletLoss", "loss_weight": 0.5})
    opt["train"]["max_psnr_loss"] = None
    opt["datasets"]["train"]["degrade_in"] = "device"
    return {**opt, "model_type": "BlindGANModel"}


def test_haar_is_the_transform_written_out():
    images = torch.randn(2, 3, 9, 12)
    low, detail = haar(images)
    x = images[:, :, :8].numpy()
    s, d = np.array([1, 1]) / np.sqrt(2), np.array([1, -1]) / np.sqrt(2)
    blocks = x.reshape(2, 3, 4, 2, 6, 2)
    for name, rows, columns in ((low, s, s), (detail[:, 0], s, d), (detail[:, 1], d, s), (detail[:, 2], d, d)):
        expected = np.einsum("ncyixj,i,j->ncyx", blocks, rows, columns)
        np.testing.assert_allclose(name, expected, rtol=1e-4, atol=1e-5)
    assert float(low.square().sum() + detail.square().sum()) == pytest.approx(float((x**2).sum()), rel=1e-5)


def test_wavelet_loss_counts_detail_alone():
    loss = WaveletLoss(2.0, levels=2)
    gt = torch.rand(1, 3, 16, 16)
    assert float(loss(gt, gt)) == 0
    # A shift of the brightness is no detail.
    assert float(loss(gt + 0.3, gt)) == pytest.approx(0, abs=1e-6)
    # Columns 0 1 0 1 ...: a horizontal difference of 1 in each 2x2 block, and nothing at level 2.
    stripes = torch.zeros(1, 3, 16, 16)
    stripes[..., 1::2] = 1
    assert float(loss(stripes, torch.zeros_like(stripes))) == pytest.approx(2.0 * (1 / 3) / 2)
    # Columns 0 0 1 1: blocks of 2x2 are even, those of 4x4 differ: 0.5 (1 - 0) * 2 of the low band's 2.
    wide = torch.zeros(1, 3, 16, 16)
    wide[..., 2::4] = wide[..., 3::4] = 1
    assert float(loss(wide, torch.zeros_like(wide))) == pytest.approx(2.0 * (2 / 3) / 2)
    assert float(loss(wide, torch.zeros_like(wide))) > float(WaveletLoss(2.0, levels=1)(wide, torch.zeros_like(wide)))
    with pytest.raises(ValueError, match="at least 4 pixels a side, got 8x3"):
        loss(torch.zeros(1, 3, 3, 8), torch.zeros(1, 3, 3, 8))
    with pytest.raises(ValueError, match="levels"):
        WaveletLoss(levels=0)


def _model(opt):
    torch.manual_seed(3)
    return build_model({**opt, "is_train": True, "dist": False, "rank": 0, "world_size": 1, "path": {}})


def _batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return {"lq": torch.rand(2, 3, 16, 16, generator=generator), "gt": torch.rand(2, 3, 64, 64, generator=generator)}


@pytest.mark.parametrize("train_encoder", [False, True])
@pytest.mark.parametrize("network", BLIND)
def test_the_encoder_rests(image_folder, network, train_encoder):
    model = _model(_options(image_folder, CASES[network].options(), train_encoder=train_encoder))
    encoder = {f"encoder.{key}": value.clone() for key, value in model.net_g.encoder.state_dict().items()}
    rest = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    for iteration in (1, 2):
        model.feed_data(_batch(iteration))
        model.optimize_parameters(iteration)
        model.test()  # a validation in between does not wake it
    now = {f"encoder.{key}": value for key, value in model.net_g.encoder.state_dict().items()}
    assert all(torch.equal(encoder[key], now[key]) for key in encoder) == (not train_encoder)
    assert any(not torch.equal(rest[key], value) for key, value in model.net_g.state_dict().items())
    names = ["l_pix", "l_wavelet", "l_gan", "l_d_real", "out_d_real", "l_d_fake", "out_d_fake"]
    assert list(model.get_current_log()) == names


def test_any_network_of_basicsr_may_take_it(image_folder):
    model = _model(_options(image_folder, MSRRESNET, wavelet_opt=None))
    before = model.net_g.conv_first.weight.clone()
    model.feed_data(_batch(1))
    model.optimize_parameters(1)
    assert not torch.equal(model.net_g.conv_first.weight, before)
    assert "l_wavelet" not in model.get_current_log()


def test_a_resumed_stage_is_the_undisturbed_one(run, tmp_path, image_folder):
    opt = _options(image_folder, ema_decay=0.5, diffusion_opt={"kimg": 0.02, "interval": 2, "target": 0.0})
    opt["val"]["at_start"] = True
    opt["datasets"]["train"]["preset"] = "photo_x4"
    assert_resumes_exactly(run, tmp_path, opt)
    folder = tmp_path / "experiments/whole"
    log = "".join(path.read_text() for path in folder.glob("*.log"))
    first = log.index("Validation val")
    assert first < log.index("iter:       1,")
    start, kept = (
        torch.load(tmp_path / f"experiments/{name}/training_states/4.state")["best_metric_results"]["val"]["psnr"][
            "start"
        ]
        for name in ("whole", "resumed")
    )
    assert start == kept
    assert f"# psnr: {start:.4f}" in log[first : first + 200]


def test_a_checkpoint_that_lost_too_much_is_not_best(image_folder):
    model = _model(_options(image_folder))
    model.opt["train"]["max_psnr_loss"] = 1.0
    model.opt["val"] = {"metrics": {
        "niqe": {"type": "calculate_niqe", "better": "lower"}, "psnr": {"type": "calculate_psnr"}}}  # fmt: skip
    model._initialize_best_metric_results("Set5")

    def validated(iteration, niqe, psnr):
        for metric, value in (("niqe", niqe), ("psnr", psnr)):
            model._update_best_metric_result("Set5", metric, value, iteration)
        return {name: (each["val"], each["iter"]) for name, each in model.best_metric_results["Set5"].items()}

    assert validated(0, 9.0, 30.0) == {"niqe": (9.0, 0), "psnr": (30.0, 0)}
    assert validated(10, 5.0, 29.2) == {"niqe": (5.0, 10), "psnr": (30.0, 0)}
    assert validated(20, 3.0, 28.9) == {"niqe": (5.0, 10), "psnr": (30.0, 0)}
    assert validated(30, 4.0, 31.0) == {"niqe": (4.0, 30), "psnr": (31.0, 30)}
    assert model.best_metric_results["Set5"]["psnr"]["start"] == 30.0


def test_what_the_stage_needs_is_reported(image_folder):
    opt = _options(image_folder)
    assert problems_of(opt) == []
    opt["train"]["max_psnr_loss"] = 1.5
    assert any("train:max_psnr_loss: compares with the start" in line for line in problems_of(opt))
    opt["val"]["at_start"] = True
    assert problems_of(opt) == []
    del opt["network_d"]
    assert any("network_d: missing; BlindGANModel needs it" in line for line in problems_of(opt))


@pytest.mark.parametrize(("name", "preset"), [("train", "setting1_x4"), ("train_photo", "photo_x4")])
def test_the_recipe_is_basicsrs_usual_one(name, preset):
    file = ROOT / f"options/gan/{name}.yml"
    opt = read_options(file).options
    train = opt["train"]
    assert opt["datasets"]["train"]["preset"] == preset
    assert (opt["datasets"]["train"]["batch_size_per_gpu"], opt["datasets"]["train"]["gt_size"]) == (16, 256)
    assert (train["total_iter"], train["scheduler"]["milestones"], train["ema_decay"]) == (400000, [200000], 0.999)
    assert train["optim_g"]["lr"] == train["optim_d"]["lr"] == 1e-4
    weights = {key: train[key]["loss_weight"] for key in ("pixel_opt", "wavelet_opt", "gan_opt")}
    assert weights == {"pixel_opt": 1.0, "wavelet_opt": 0.5, "gan_opt": 0.1}
    assert not {"teacher", "channel_opt", "spatial_opt"} & {*opt, *train}
    # Nothing is wrong with it but that its data and its student are not here.
    problems = OptionCheck(read_options(file), is_train=True).run()
    assert {problem.key[-1] for problem in problems} <= {"pretrain_network_g", "dataroot_gt"}


def test_the_start_is_validated_once(run, image_folder, tmp_path):
    opt = _options(image_folder)
    opt["val"]["at_start"] = True
    opt["train"]["total_iter"] = 1
    run(launcher.train, {**opt, "name": "start"})
    log = "".join(path.read_text() for path in (tmp_path / "experiments/start").glob("*.log"))
    assert log.count("Validation val\n") == 2
    assert yaml.safe_load((tmp_path / "start.yml").read_text())["val"]["at_start"]
