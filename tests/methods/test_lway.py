"""LWay: its networks on recorded data, and this project's reconstructor."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model
from torch.nn import functional as F

from lightbsr_arch import infer_options
from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods.lway import LRReconstructor, ModulatedConv2d, PublishedEncoder, Reconstruction
from lightbsr_arch.weights.model_files import load_model
from lightbsr_model.degradation.pipeline import degrade

from support.helpers import assert_close_to_reference
from support.model_options import UNIT_L1, model_options
from support.published import filled_state_dict
from support.small_models import noise_batch, smooth_batch, train

SMALL = {"num_feat": 8, "num_block": 1, "num_encoder_feat": 4}


def _modulation(published, prefix=""):
    """The names that a published modulation has here."""
    own = {key.removeprefix(prefix): value for key, value in published.items() if key.startswith(prefix)}
    return {
        "weight": own["weight"][0],
        "scales.weight": own["modulation.weight"][:, :, 0, 0],
        "scales.bias": own["modulation.bias"],
        "noise": torch.zeros(1),
        "conv.weight": own["conv_last.weight"],
        "conv.bias": own["conv_last.bias"],
    }


def test_modulation_equals_published(golden):
    data = golden("lway")
    layer = ModulatedConv2d(8, 16)
    layer.load_state_dict(_modulation(filled_state_dict("lway_modulation_8_16")))
    with torch.no_grad():
        assert_close_to_reference(layer(data["mod_x"], data["mod_e"]), data["mod_out"])
        layer.noise += 0.5
        noisy, again, other = (
            layer(data["mod_x"], data["mod_e"], torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
        )
    assert torch.equal(noisy, again)
    assert (noisy - data["mod_out"]).std() > 0.1
    assert (noisy - other).std() > 0.1


def test_reconstruction_equals_published(golden):
    data, published = golden("lway"), filled_state_dict("lway_reconstructor", 0.7)
    net = Reconstruction()
    assert sum(value.numel() for value in net.parameters()) == 762_375
    weights = {}
    for theirs, ours in (("conv_first", "head"), ("HRconv", "conv"), ("conv_last", "last")):
        weights |= {f"{ours}.{kind}": published[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
    for number in range(4):
        theirs, ours = f"basic_block{number + 1}.", f"blocks.{number}."
        for conv in ("conv1", "conv2"):
            weights |= {
                f"{ours}residual.{conv}.{kind}": published[f"{theirs}{conv}.{kind}"] for kind in ("weight", "bias")
            }
        modulation = _modulation(published, f"{theirs}modulation_layer.")
        weights |= {f"{ours}modulation.{key}": value for key, value in modulation.items()}
    net.load_state_dict(weights)
    with torch.no_grad():
        assert_close_to_reference(net(data["rec_a_x"], data["rec_a_e"]), data["rec_a_out"])


def test_encoder_equals_published(golden):
    data, published = golden("lway"), filled_state_dict("lway_encoder", 0.7)
    net, weights = PublishedEncoder(), {}
    names = {"head": "DDR_extractor.conv_first"}
    for number in range(16):
        for conv in ("conv1", "conv2"):
            names[f"trunk.{number}.{conv}"] = f"DDR_extractor.recon_trunk{number // 4 + 1}.{number % 4}.{conv}"
    for number in range(3):
        names |= {f"convs.{number}": f"conv{number + 1}", f"mlp.{number}": f"conv1x1_{number + 1}"}
    for ours, theirs in names.items():
        for kind in ("weight", "bias"):
            value = published[f"{theirs}.{kind}"]
            weights[f"{ours}.{kind}"] = value.flatten(1) if ours.startswith("mlp") and kind == "weight" else value
    net.load_state_dict(weights)
    with torch.no_grad():
        assert_close_to_reference(net(data["enc_a_lq"]), data["enc_a_e"])
        assert net(torch.rand(1, 3, 22, 22)).isfinite().all()
    with pytest.raises(ValueError, match="at least 22, got 30x21"):
        net(torch.rand(1, 3, 21, 30))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_new_reconstructor_averages(scale):
    net = LRReconstructor(scale, num_feat=8, num_block=1, num_encoder_feat=4).eval()
    gt = torch.rand(2, 3, 6 * scale, 5 * scale)
    with torch.no_grad():
        torch.testing.assert_close(net(torch.rand(2, 3, 6, 5), gt), F.avg_pool2d(gt, scale))
        for value in net.parameters():
            if value.dim() > 1:
                value.normal_(std=value[0].numel() ** -0.5)
        codes = net.encode(torch.rand(2, 3, 6, 5))
        together = net.reconstruct(gt, codes)
        alone = torch.cat([net.reconstruct(gt[i : i + 1], codes[i : i + 1]) for i in range(2)])
        torch.testing.assert_close(together, alone)
        assert (net.reconstruct(gt, codes[:1])[1] - together[1]).abs().max() > 1e-4
    assert infer_options(net.state_dict()) == {"type": "LRReconstructor", **net.options}


def test_the_image_is_not_lost_in_a_new_one():
    torch.manual_seed(0)
    net, seen = Reconstruction(48, 48, 3, 128, noisy=False), []
    net.last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        net(torch.rand(1, 48, 16, 16), torch.rand(1, 128))
    assert 0.2 < seen[0].std(dim=(2, 3)).mean() < 5


def test_its_size():
    net = LRReconstructor()
    assert sum(value.numel() for value in net.parameters()) == pytest.approx(0.6e6, rel=0.01)


def test_what_does_not_fit_is_refused(tmp_path):
    net = LRReconstructor(4, num_feat=8, num_block=1, num_encoder_feat=4).eval()
    with pytest.raises(ValueError, match="multiples of 4, got 10x8"):
        net(torch.rand(1, 3, 2, 2), torch.rand(1, 3, 8, 10))
    with pytest.raises(ValueError, match="one for each of the 3 images, or one for all, got 2"):
        net.reconstruct(torch.rand(3, 3, 8, 8), torch.rand(2, 16))
    torch.save({"params": net.state_dict()}, tmp_path / "r.pth")
    with pytest.raises(OptionError, match=r"r\.pth: this is LRReconstructor, which helps other networks to learn"):
        load_model(tmp_path / "r.pth")


def _model(total=30, **train):
    opt = model_options("teacher", {"type": "LRReconstructor", "scale": 4, **SMALL}, 0, total)
    opt["model_type"] = "LRReconstructionModel"
    opt["datasets"]["train"]["degradation"] = {"noise_level": [0, 25]}
    optim = {"type": "Adam", "lr": 2e-3, "weight_decay": 0, "betas": [0.9, 0.99]}
    opt["train"] = {"total_iter": total, "optim_g": optim, "pixel_opt": UNIT_L1, **train}
    opt["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [1000], "gamma": 0.5}
    torch.manual_seed(0)
    return build_model(opt)


def test_reconstruction_is_learnt_of_pairs():
    logs = train(_model(), range(1, 31), lambda _: smooth_batch(1))
    losses = [log["l_pix"] for log in logs]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_the_target_has_no_noise_unless_it_is_asked_for():
    batch = noise_batch(1)
    targets = {}
    for clean in (True, False):
        model = _model(clean_target=clean)
        model.update_learning_rate(1)
        model.feed_data({**batch, "noise_level": torch.full((4,), 20.0)})
        targets[clean] = model._target()
        assert torch.equal(model.lq, targets[False]) if not clean else True
    exact = degrade(batch["gt_views"], batch["kernel"].float(), None, 4)[:, 0]
    torch.testing.assert_close(targets[True], exact)
    assert 255 * (targets[False] - exact).std() > 15
    # Finished pairs have no parameters.
    model = _model()
    model.feed_data({"lq": targets[False], "gt": torch.rand(4, 3, 32, 32)})
    assert model._target() is model.lq


def test_validation_compares_the_lr_images():
    model = _model()
    model.feed_data({"lq": torch.rand(1, 3, 8, 6), "gt": torch.rand(1, 3, 32, 24)})
    model.test()
    visuals = model.get_current_visuals()
    assert visuals["result"].shape == visuals["gt"].shape == (1, 3, 8, 6)
    assert torch.equal(visuals["gt"], model.lq)
    torch.testing.assert_close(visuals["result"], F.avg_pool2d(model.gt, 4))
