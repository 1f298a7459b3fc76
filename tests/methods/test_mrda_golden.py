"""MRDA equals its published code: outputs, adaptations, and optimiser steps of every stage, on recorded data."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from basicsr.models import build_model
from torch.func import functional_call
from torch.nn import functional as F

from lightbsr_arch import convert_published_state_dict, infer_options
from lightbsr_arch.layers.meta_learner import MetaLearner
from lightbsr_arch.layers.upsampling import bicubic_upsample
from lightbsr_arch.methods import registry
from lightbsr_arch.methods.mrda import METHOD
from lightbsr_model.losses import ChannelDistillationLoss

from support.helpers import assert_close_to_reference
from support.method_cases import CASES
from support.model_options import UNIT_L1, model_options
from support.published import published_state_dict

GAIN = {"G.": 0.7, "E": 1.4}
KERNEL = METHOD.published.rename("body.10.weight")
SIZES = pytest.mark.parametrize("size", ["24x20", "17x31"])


@pytest.fixture(scope="module")
def weights():
    """Of all networks, in our layout; the teacher's with the meta-learning network, which its published file lacks."""
    found = {
        name: convert_published_state_dict(published_state_dict(f"mrda_{name}", GAIN))
        for name in ("mln", "teacher", "student")
    }
    found["teacher"] |= {f"meta.{key}": value for key, value in found["mln"].items()}
    return found


@pytest.fixture(scope="module")
def nets(weights):
    def load(state_dict):
        options = infer_options(state_dict)
        net = registry.network(options.pop("type"))(**options).eval()
        net.load_state_dict(state_dict)
        return net

    return {name: load(state_dict) for name, state_dict in weights.items()}


def _images(data, prefix):
    return [data[f"{prefix}_{name}"].float() / 255 for name in ("lq", "gt", "up")]


@SIZES
def test_outputs(golden, nets, size):
    data = golden("mrda")
    lq, _, up = _images(data, f"x4_{size}")
    with torch.no_grad():
        assert_close_to_reference(nets["mln"](lq, up), data[f"x4_{size}_mln_sr"])
        feature = nets["mln"].features(lq)
        assert_close_to_reference(feature[:, ::8], data[f"x4_{size}_mln_feature_every8"])
        codes = {"student": nets["student"].encode(lq), "teacher": nets["teacher"].encode_feature(feature)}
        for name, code in codes.items():
            assert_close_to_reference(code, data[f"x4_{size}_{name}_code"])
            assert_close_to_reference(nets[name].restore(lq, code), data[f"x4_{size}_{name}_sr"])
        assert torch.equal(nets["student"](lq), nets["student"].restore(lq, codes["student"]))


@SIZES
@pytest.mark.parametrize("tail", [True, False])
def test_adaptation(golden, nets, weights, size, tail):
    data, teacher = golden("mrda"), nets["teacher"]
    prefix = f"x4_{size}_adapt" + ("" if tail else "_body")
    lq, gt, up = _images(data, f"x4_{size}")
    adapted = teacher.meta.adapt(lq, gt, upsampled=up, tail=tail)
    with torch.no_grad():
        last = F.l1_loss(functional_call(teacher.meta, adapted.weights, (lq, up)), gt)
        losses = torch.stack([*adapted.losses, last])
        torch.testing.assert_close(losses, data[f"{prefix}_losses"], rtol=1e-5, atol=0)
        feature = teacher.adapt(lq, gt, up, tail)
        assert torch.equal(feature, teacher.meta.features(lq, adapted.weights))
        assert_close_to_reference(feature[:, ::8], data[f"{prefix}_feature_every8"])
        code = teacher.encode_feature(feature)
        assert_close_to_reference(code, data[f"{prefix}_code"])
        if tail:
            assert_close_to_reference(teacher.restore(lq, code), data[f"{prefix}_sr"])
    corner = adapted.weights[KERNEL][:4, :4]
    start = weights["mln"][KERNEL][:4, :4]
    _assert_corner(corner - start, data[f"{prefix}_kernel_corner"] - start)
    # The network's own weights stay as they are.
    assert all(torch.equal(value, weights["mln"][key]) for key, value in teacher.meta.state_dict().items())


def test_distillation_loss(golden):
    data = golden("mrda")
    codes = data["distil_student"], data["distil_teacher"]
    losses = [ChannelDistillationLoss(l1_weight=weight)(*codes) for weight in (0, 1, 0.1)]
    found = torch.stack([losses[0], losses[1] - losses[0], losses[2]])
    torch.testing.assert_close(found, data["distil_kl_l1_total"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic(golden, scale):
    data = golden("mrda")
    assert_close_to_reference(bicubic_upsample(data[f"bicubic_x{scale}_in"], scale), data[f"bicubic_x{scale}_out"])


def _assert_corner(found, expected):
    assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()


@contextmanager
def _upsampled(*images):
    """The recording's LR images were enlarged before they were rounded."""
    remaining = list(images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetaLearner, "enlarge", lambda *_: remaining.pop(0))
        yield
    assert not remaining


def _model(case, network, folder, weights, encoder_iter=0, **train):
    """A model of a case at the published size, with weights of the recording."""
    opt = case.apply(model_options("teacher", {}, encoder_iter))
    opt["network_g"] = {"type": case.network, "scale": 4}
    opt["train"].update(pixel_opt=dict(UNIT_L1), **train)
    opt["train"]["optim_g"] = {"type": "Adam", "lr": 1e-4, "betas": [0.9, 0.999], "fused": False}
    opt["train"]["scheduler"] = {"type": "TwoPhaseStepLR"}
    for name in ("teacher", network):
        torch.save({"params": weights[name]}, folder / f"{name}.pth")
    opt["path"] = {"pretrain_network_g": str(folder / f"{network}.pth")}
    if case.teacher:
        opt["teacher"] = {"network": {"type": "MRDATeacher", "scale": 4}, "path": str(folder / "teacher.pth")}
    return build_model(opt)


def test_meta_steps(golden, weights, tmp_path):
    data = golden("mrda")
    meta_opt = {"tasks": 2, "steps": 5, "lr": 1e-2}
    model = _model(CASES["MetaLearningNetwork_meta"], "mln", tmp_path, weights, meta_opt=meta_opt)
    order = [METHOD.published.rename(key) for key in published_state_dict("mrda_mln")]
    kernel = METHOD.published.rename("body.6.weight")
    for number in (0, 1):
        lq, gt, up = _images(data, f"meta_{number}")
        first = 1e-5 if number == 0 else 1e-3
        for task in (0, 1):
            half = (lq[task, :2], gt[:2], model._rates, up[task, :2])
            losses = torch.stack(model.net_g.adapt(*half).losses)
            torch.testing.assert_close(losses, data[f"meta_{number}_inner_losses"][task], rtol=first, atol=0)
        before = model.net_g.state_dict()[kernel].clone()
        model.lq, model.gt, model._lq_of_tasks = lq[0], gt, lq
        with _upsampled(*up):
            model.optimize_parameters(number + 1)
        found = model.get_current_log()["l_pix"]
        assert found == pytest.approx(float(data[f"meta_{number}_outer_losses"].mean()), rel=first)
        gradients = {key: value.grad for key, value in model.net_g.named_parameters()}
        norms = torch.stack([gradients[key].norm() for key in order])
        torch.testing.assert_close(norms, data[f"meta_{number}_gradient_norms"], rtol=1e-3, atol=0)
        _assert_corner(gradients[kernel][:4, :4], data[f"meta_{number}_gradient_corner"])
        change = model.net_g.state_dict()[kernel] - before
        _assert_corner(change[:4, :4], data[f"meta_{number}_change_corner"])


@pytest.mark.parametrize("reset", [True, False])
def test_teacher_steps(golden, weights, tmp_path, reset):
    data, prefix = golden("mrda"), "teacher_steps" if reset else "teacher_steps_unreset"
    model = _model(CASES["MRDATeacher"], "teacher", tmp_path, weights, adapt_opt={"reset": reset})
    start = model.net_g.extractor.mlp[0].weight.detach().clone()
    for number in range(3):
        lq, gt, up = _images(data, f"teacher_steps_{number}")
        adapting = model.net_g.meta if reset else model.net_meta
        losses = torch.stack(adapting.adapt(lq, gt, upsampled=up).losses)
        tolerance = {"rtol": 1e-5 if number == 0 else 1e-3, "atol": 0}
        torch.testing.assert_close(losses, data[f"{prefix}_adapt_losses"][number], **tolerance)
        model.feed_data({"lq": lq, "gt": gt})
        with _upsampled(up):
            model.optimize_parameters(number + 1)
        pixel = torch.tensor(model.get_current_log()["l_pix"])
        torch.testing.assert_close(pixel, data[f"{prefix}_pixel"][number], **tolerance)
    if reset:
        change = model.net_g.extractor.mlp[0].weight.detach() - start
        _assert_corner(change[:4, :4], data["teacher_steps_change_corner"])
    assert all(torch.equal(value, weights["mln"][key]) for key, value in model.net_g.meta.state_dict().items())


def test_student_steps(golden, weights, tmp_path):
    data = golden("mrda")
    model = _model(CASES["MRDA"], "student", tmp_path, weights, encoder_iter=2, adapt_opt={})
    for number in range(4):
        lq, gt, up = _images(data, f"student_steps_{number}")
        model.feed_data({"lq": lq, "gt": gt})
        with _upsampled(up):
            model.optimize_parameters(number + 1)
        log = model.get_current_log()
        rows = data["student_steps_encoder" if number < 2 else "student_steps_joint"]
        divergence, distance, *pixel = rows[number % 2].tolist()
        relative = 1e-5 if number == 0 else 1e-3
        assert log["l_channel"] == pytest.approx(divergence + 0.1 * distance, rel=relative)
        assert [value for name, value in log.items() if name == "l_pix"] == pytest.approx(pixel, rel=relative)
