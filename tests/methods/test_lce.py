"""LCE's corrector, its two images, and how they learn."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from basicsr.models import build_model
from torch.nn import functional as F

from lightbsr_arch import infer_options
from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.any_network import AnyNetwork
from lightbsr_arch.inference.restoring import restore
from lightbsr_arch.layers.enlargement import bicubic_enlarge
from lightbsr_arch.methods.lce import LCE
from lightbsr_arch.weights.degradation_probe import DegradationProbe, Reading
from lightbsr_arch.weights.model_files import ModelCard, load_model, save_model
from lightbsr_model.degradation import get_degradation
from lightbsr_model.evaluation.comparison.methods import NetworkRestoration
from lightbsr_model.evaluation.model_entries import ModelEntry
from lightbsr_model.evaluation.probe_fitting import fit_probe
from lightbsr_model.methods.lce import corrector_target

from support.method_cases import CASES
from support.option_problems import problems_of
from support.small_models import build, noise_batch, options_of, smooth_batch, train
from support.students import tiny
from support.training_files import training_options

CASE = CASES["LCE"]


def _count(net):
    return sum(value.numel() for value in net.parameters())


def test_sizes_of_the_recipes():
    net = LCE()
    assert (_count(net), _count(net.corrector)) == (1_449_242, 112_739)
    miniature = {"num_feat": 24, "num_group": 2, "num_block": 2, "num_head": 4}
    assert _count(LCE(**miniature, num_corrector_feat=16, num_corrector_block=3)) == 111_586


def test_a_new_network_corrects_nothing_and_weighs_all_frequencies_alike():
    net = CASE.build().eval()
    lq = torch.rand(2, 3, 11, 16)
    assert torch.equal(net.correct_lq(lq), lq)
    for block in net.sr.groups[0].blocks:
        assert not block.frequency.last.weight.any()
    assert not net.sr.groups[0].guide.weight.any()
    # What follows a residual block's activation starts at a tenth of the scale of torch's own start.
    wide = LCE(num_corrector_feat=64, num_group=1, num_block=1).corrector.blocks[0]
    limits = [9 * 64 * float(conv.weight.detach().square().mean()) for conv in (wide.conv1, wide.conv2)]
    assert limits == pytest.approx([1 / 3, 1 / 300], rel=0.05)


def test_the_restored_image_is_added_to_the_enlarged_corrected_one():
    net = CASE.build(3).eval()
    for value in net.sr.last.parameters():
        value.data.zero_()
    net.corrector.last.bias.data.fill_(0.125)
    lq = torch.rand(1, 3, 9, 14)
    with torch.no_grad():
        torch.testing.assert_close(net(lq), bicubic_enlarge(lq + 0.125, 3))
        clr, restored = net.correct_and_restore(lq)
        torch.testing.assert_close(clr, lq + 0.125)
        assert torch.equal(restored, net.restore(lq, clr))
    with pytest.raises(ValueError, match=r"clr: expected the shape of lq, \(1, 3, 9, 14\), got \(1, 3, 9, 13\)"):
        net.restore(lq, lq[..., :13])


def test_both_images_reach_the_result():
    net = tiny("LCE")
    lq, clr = torch.rand(2, 1, 3, 16, 16)
    with torch.no_grad():
        first = net.restore(lq, clr)
        enlarged = bicubic_enlarge(clr, 4)
        for images in ((1 - lq, clr), (lq, 1 - clr)):
            change = net.restore(*images) - bicubic_enlarge(images[1], 4) - (first - enlarged)
            assert change.abs().max() > 1e-2


def test_initial_weights_of_the_sr_network_are_of_the_spread_that_is_asked_for():
    torch.manual_seed(0)
    plain = LCE(num_feat=24, num_group=2, num_block=2)
    torch.manual_seed(0)
    net = LCE(num_feat=24, num_group=2, num_block=2, init_scale=0.3)
    assert net.options == plain.options
    assert net.sr.conv.weight.std().item() == pytest.approx(0.3 * (2 / (9 * 24)) ** 0.5, rel=0.05)
    assert net.sr.last.weight.std().item() == pytest.approx(0.03 * (2 / (9 * 24)) ** 0.5, rel=0.1)
    assert not net.sr.conv.bias.any()
    # What starts at zero stays there: the corrected image joins in as it helps. The corrector is not part of it.
    for one, other in ((net.sr, plain.sr), (net.corrector, plain.corrector)):
        for key, value in other.state_dict().items():
            if key.endswith("weight") and (not value.any() or one is net.corrector):
                assert torch.equal(one.state_dict()[key], value), key
    assert not net.sr.groups[0].guide.weight.any()
    with pytest.raises(ValueError, match="init_scale: expected a number above 0, at most 10, or nothing, got 11"):
        LCE(init_scale=11)


@pytest.mark.parametrize("arguments", [{"num_head": 3}, {"window_size": 7}, {"window_size": 0}, {"scale": 5}])
def test_sizes_that_cannot_be_are_refused(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        LCE(**{"scale": 4, **CASE.small, **arguments})


def test_a_network_without_a_corrector():
    net = CASE.build(correct=False)
    assert infer_options(net.state_dict()) == {"type": "LCE", **net.options}
    assert "num_corrector_feat" not in net.options
    lq = torch.rand(1, 3, 8, 8)
    assert net.correct_lq(lq) is lq
    assert torch.equal(net(lq), net.restore(lq, lq))


def test_windows_of_another_size_are_read_off_the_state_dict():
    net = CASE.build(window_size=4)
    assert infer_options(net.state_dict())["window_size"] == 4
    assert net(torch.rand(1, 3, 5, 6)).shape == (1, 3, 20, 24)


@pytest.mark.parametrize("border", ["clamp", "symmetric"])
def test_the_target_is_the_image_of_bicubic_downsampling(border):
    gt = torch.randint(0, 256, (2, 3, 32, 24)).byte()
    bicubic = replace(get_degradation("bicubic"), border=border)
    params = {name: torch.stack([value] * 2) for name, value in bicubic.draw().items()}
    expected = bicubic.apply(gt, params, 4)
    target = corrector_target(gt.float() / 255, 4, border)
    torch.testing.assert_close(target.double(), expected.double(), rtol=0, atol=1e-6)
    assert target.shape == (2, 3, 8, 6)


@pytest.mark.parametrize("encoder_iter", [2, 0])
def test_the_first_losses_are_those_of_the_lr_image(tmp_path, encoder_iter):
    model = build(CASE, tmp_path, encoder_iter)
    (log,) = train(model, [1], lambda _: noise_batch(1))
    expected = F.l1_loss(model.lq, corrector_target(model.gt, 4))
    assert log["l_corrector"] == pytest.approx(float(expected), rel=1e-5)
    assert list(log) == (["l_corrector"] if encoder_iter else ["l_corrector", "l_pix"])


def test_finished_pairs_have_a_target_too(tmp_path):
    model = build(CASE, tmp_path, 0)
    gt = torch.rand(2, 3, 32, 32)
    (log,) = train(model, [1], lambda _: {"lq": corrector_target(gt, 4), "gt": gt})
    assert log["l_corrector"] == 0


def test_the_pixel_loss_teaches_the_corrector(tmp_path):
    silent = {"type": "L1Loss", "loss_weight": 0.0}
    model = build(CASE, tmp_path, 0, corrector_opt=silent)
    before = model.net_g.corrector.last.weight.detach().clone()
    (log,) = train(model, [1], lambda _: smooth_batch(1))
    assert log["l_corrector"] == 0
    assert not torch.equal(model.net_g.corrector.last.weight, before)


def test_without_a_corrector_there_is_one_loss_and_one_phase(tmp_path):
    opt = options_of(CASE, tmp_path, encoder_iter=0)
    opt["network_g"]["correct"] = False
    (log,) = train(build_model(opt), [1], lambda _: smooth_batch(1))
    assert list(log) == ["l_pix"]
    opt["train"]["encoder_iter"] = 3
    with pytest.raises(OptionError, match=r"train.encoder_iter: expected 0, since .* no corrector .* got 3"):
        build_model(opt)


def test_a_corrector_needs_its_loss(tmp_path):
    with pytest.raises(OptionError, match=r"train.corrector_opt: missing; LCEModel learns by it"):
        build(CASE, tmp_path, corrector_opt=None)


def test_a_read_out_is_refused(image_folder):
    opt = CASE.apply(training_options(image_folder))
    assert problems_of(opt) == []
    opt["train"]["degradation_opt"] = {"type": "DegradationRegressionLoss"}
    assert any("degradation_opt" in str(problem) for problem in problems_of(opt))


def test_tiles_differ_from_the_whole_by_what_they_see_of_its_spectrum():
    """Tiles begin where windows do, so that without the spectral parts they would be the whole image's."""
    import skimage.data

    pixels = (skimage.data.chelsea()[60:200, 60:260] / np.float32(255)).astype(np.float32)
    net = tiny("LCE")

    def difference():
        tiled = AnyNetwork(net)
        assert (tiled.traits.averages, tiled.grid.alignment) == (0, 8)
        results = []
        for tile in (None, 96):
            results.append(np.empty((4 * 140, 4 * 200, 3), np.float32))
            with torch.inference_mode():
                restore(tiled, pixels, results[-1], tile)
        return np.abs(results[0] - results[1]).max()

    assert difference() > 1e-3
    for part in (net.sr.frequency.mix[2], *(block.frequency.last for block in net.sr.groups[0].blocks)):
        for value in part.parameters():
            value.data.zero_()
    assert difference() < 1e-5


def test_it_represents_no_degradation(tmp_path):
    net = tiny("LCE")
    with pytest.raises(OptionError, match="--probe: LCE makes no representation of the degradation: leave out --probe"):
        fit_probe(net, "setting1_x4", "bundled")
    probe = DegradationProbe({"sigma": Reading((1.0, 2.0), 0.0, 0.0, 4.0, 0.3, 0.9)})
    save_model(tmp_path / "net.safetensors", net.state_dict(), ModelCard(probe=probe))
    assert "its probe is of another network" in str(load_model(tmp_path / "net.safetensors").damage)
    entry = ModelEntry("LCE", network=CASE.options())
    with pytest.raises(OptionError, match=r"LCE has no `represent`: set `code` .* corrector, sr"):
        NetworkRestoration(entry, 4, torch.device("cpu")).represent({"lq": torch.rand(3, 8, 8)})


def test_learning_passes_have_no_graph_breaks():
    net, lq = CASE.build().train(), torch.rand(2, 3, 16, 16)
    for call in (net.correct_lq, net.correct_and_restore):
        compiled = torch.compile(call, fullgraph=True, backend="eager")
        with torch.autocast("cpu", torch.bfloat16):
            for result, expected in zip(compiled(lq), call(lq), strict=True):
                assert torch.equal(result, expected)


def test_16_bits_learn_nearly_the_same(tmp_path):
    logs = [train(build(CASE, tmp_path, 3, amp=amp), range(1, 7), lambda _: smooth_batch(1)) for amp in ("off", "bf16")]
    for whole, mixed in zip(*logs, strict=True):
        assert whole.keys() == mixed.keys()
        for name, loss in whole.items():
            assert mixed[name] == pytest.approx(loss, rel=0.03)


def test_it_restores_in_16_bits():
    """As an ONNX file of half precision does, whose graph is made of the halved network."""
    net, lq = tiny("LCE"), torch.rand(2, 3, 17, 23)
    with torch.no_grad():
        difference = (copy.deepcopy(net).half()(lq.half()).float() - net(lq)).abs().max()
    assert 1e-6 < difference < 2e-2
