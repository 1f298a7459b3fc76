"""Losses between VGG features: what they are of in each model that has them, and weights that are not there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from basicsr.archs import vgg_arch
from basicsr.losses import build_loss
from basicsr.models import build_model
from torch import nn
from torch.nn import functional as F

from lightbsr_model.training.perceptual import perceptual_problem

from support.adapting import adapting_batch, adapting_files, adapting_options
from support.method_cases import CASES
from support.model_options import UNIT_L1, with_discriminator
from support.option_problems import problems_of
from support.small_models import noise_batch, options_of
from support.training_files import plain_training, training_options

SECTION = {
    "type": "PerceptualLoss",
    "vgg_type": "vgg11",
    "layer_weights": {"conv1_1": 0.5, "conv2_1": 1.0},
    "perceptual_weight": 2.0,
    "style_weight": 3.0,
    "criterion": "l1",
}
STUDENT = CASES["ResidualShiftUNet"]


@pytest.fixture
def vgg(monkeypatch, tmp_path):
    """VGG's first layers, small and untrained; a file stands where torchvision would keep its weights."""
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
    )
    monkeypatch.setattr(vgg_arch.vgg, "vgg11", lambda pretrained: SimpleNamespace(features=features))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/vgg11-8a719046.pth").touch()
    return features


def _co_learning(folder):
    opt = options_of(STUDENT, folder, 0)
    opt["train"]["pixel_opt"] = None
    return opt, noise_batch(1)


def _adversarial(folder):
    opt = with_discriminator(plain_training(folder, CASES["LightBSR"].options()), pixel_opt=dict(UNIT_L1))
    opt["model_type"] = "BlindGANModel"
    opt["train"]["max_psnr_loss"] = None
    generator = torch.Generator().manual_seed(1)
    batch = {"lq": torch.rand(2, 3, 16, 16, generator=generator), "gt": torch.rand(2, 3, 64, 64, generator=generator)}
    return {**opt, "is_train": True, "dist": False, "rank": 0, "world_size": 1, "path": {}}, batch


@pytest.mark.parametrize("options", [_co_learning, _adversarial])
def test_a_training_learns_by_features_of_restored_and_gt_images(vgg, tmp_path, options):
    opt, batch = options(tmp_path)
    model = {}
    for name, section in (("with", SECTION), ("without", None)):
        opt["train"]["perceptual_opt"] = section
        torch.manual_seed(2)
        model[name] = build_model(opt)
        model[name].update_learning_rate(1)
        model[name].feed_data(batch)
        model[name].optimize_parameters(1)
    log, others = model["with"].get_current_log(), model["without"].get_current_log()
    assert log.keys() - others.keys() == {"l_percep", "l_style"}
    assert not torch.equal(*(torch.cat([v.flatten() for v in each.net_g.parameters()]) for each in model.values()))
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    content, style = 0.0, 0.0
    for weight, end in ((0.5, 1), (1.0, 4)):
        # BasicSR's features are those before the activation, of layers named conv.
        found = [vgg[:end]((each - mean) / std) for each in (model["with"].output.detach(), model["with"].gt)]
        content += 2.0 * weight * F.l1_loss(*found).item()
        grams = [torch.einsum("nchw,ndhw->ncd", each, each) / each[0].numel() for each in found]
        style += 3.0 * weight * F.l1_loss(*grams).item()
    assert log["l_percep"] == pytest.approx(content, rel=1e-4)
    assert log["l_style"] == pytest.approx(style, rel=1e-4)


@pytest.mark.parametrize("model_type", ["LWayModel", "ReferenceAdaptationModel"])
def test_an_adaptation_compares_what_its_pixel_loss_compares(vgg, tmp_path, model_type):
    adapting_files(tmp_path)
    section = {**SECTION, "style_weight": 0}
    model = build_model(adapting_options(tmp_path, model_type, perceptual_opt=section))
    model.update_learning_rate(1)
    batch = adapting_batch(tmp_path)
    model.feed_data(batch)
    model.enter_phase(model.phases[0])
    with torch.no_grad():
        losses = model.losses()
        if model_type == "LWayModel":
            images = model.learnt.shrink(model.net_g(batch["lq"]), batch["image"]), batch["lq"]
        else:
            lq, hr = model.pairs()
            images = model.net_g(lq), hr
    assert "l_style" not in losses  # of weight 0
    assert losses["l_percep"].item() == pytest.approx(build_loss(dict(section))(*images)[0].item(), rel=1e-4)


@pytest.mark.parametrize("options", [_co_learning, _adversarial])
def test_vggs_weights_are_not_fetched(image_folder, tmp_path, monkeypatch, options):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    opt, _ = options(tmp_path)
    section = {"type": "PerceptualLoss", "layer_weights": {"conv5_4": 1}}
    opt["train"]["perceptual_opt"] = section
    places = f"there is neither experiments/pretrained_models/vgg19-dcbb9e9d.pth nor {tmp_path}"
    with pytest.raises(
        ValueError, match=rf"train\.perceptual_opt: PerceptualLoss needs the weights of vgg19, and {places}"
    ):
        build_model(opt)
    # The check of a file says so before the start.
    if options is _co_learning:
        checked = STUDENT.apply(training_options(image_folder), STUDENT.save_teacher(tmp_path))
        checked["train"].pop("encoder_iter")
    else:
        checked = plain_training(image_folder, opt["network_g"])
        checked.update({key: opt[key] for key in ("model_type", "network_d", "train")})
        checked["datasets"]["train"]["degrade_in"] = "device"
    checked["train"]["perceptual_opt"] = section
    (problem,) = problems_of(checked)
    assert f"train:perceptual_opt: PerceptualLoss needs the weights of vgg19, and {places}" in problem
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/vgg19-dcbb9e9d.pth").touch()
    assert perceptual_problem(section) is None
    assert problems_of(checked) == []
