"""What is particular about DSSR: its steps, their losses, and what is computed again instead of kept."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model
from torch.nn import functional as F

from lightbsr_arch import convert_published_state_dict, infer_options
from lightbsr_arch.errors import OptionError
from lightbsr_arch.layers.corner_sampling import shrink_corners_on_corners
from lightbsr_arch.layers.image import Place
from lightbsr_arch.methods.dssr import DSSR

from support.helpers import assert_close_to_reference
from support.method_cases import CASES
from support.published import published_state_dict
from support.small_models import build, options_of, smooth_batch, train

CASE = CASES["DSSR"]
CALLS = pytest.mark.parametrize("call", ["unroll", "unroll_recomputed"])


def _published(scale: int) -> DSSR:
    net = DSSR(scale).eval()
    net.load_state_dict(convert_published_state_dict(published_state_dict("dssr", CASE.gain, scale=scale)))
    return net


@pytest.mark.parametrize("name", CASE.recorded)
def test_every_step_equals_published(golden, name):
    data, net = golden("dssr"), _published(int(name[1]))
    lq = data[f"{name}_lq"]
    with torch.no_grad():
        outputs, details = net.unroll(lq)
        hidden = [step.hidden for step in net.sr.steps(lq, net.enlarge(lq), 4)]
    assert_close_to_reference(torch.stack(outputs)[..., ::2, ::2], data[f"{name}_outs_every2"])
    assert_close_to_reference(torch.stack(details)[..., ::2, ::2], data[f"{name}_details_every2"])
    assert_close_to_reference(torch.stack(hidden)[:, :, ::16], data[f"{name}_hidden_every16"])


def test_optimiser_steps_equal_published(golden, tmp_path):
    """By the model that trains it, with activations computed again."""
    data = golden("dssr")
    opt = options_of(CASE, tmp_path)
    opt["network_g"] = {"type": "DSSR", "scale": 4}
    opt["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5}
    model = build_model(opt)
    model.net_g.load_state_dict(_published(4).state_dict())
    for number in range(3):
        model.update_learning_rate(number + 1)
        model.feed_data({"lq": data[f"steps_x4_{number}_lq"], "gt": data[f"steps_x4_{number}_gt"]})
        model.optimize_parameters(number + 1)
        expected = data["steps_x4_pix4_detail4_total"][number]
        tolerance = 1e-5 if number == 0 else 1e-3
        log = model.get_current_log()
        assert log["l_pix"] == pytest.approx(float(expected[:4].sum()), rel=tolerance)
        assert log["l_detail"] == pytest.approx(float(expected[4:8].sum()), rel=tolerance)
        assert log["l_pix"] + log["l_detail"] == pytest.approx(float(expected[8]), rel=tolerance)
        if number == 0:
            corner = model.net_g.sr.merge.weight.grad[:6, ::32, 0, 0]
            reference = data["steps_x4_gradient_corner"]
            assert (corner - reference).abs().max() <= 1e-3 * reference.std()


@pytest.mark.parametrize("num_step", [1, 2, 5])
@CALLS
def test_the_result_is_the_mean_of_the_outputs(num_step, call):
    net = CASE.build(2, num_step=num_step).eval()
    lq = torch.rand(2, 3, 6, 7)
    outputs, details = getattr(net, call)(lq)
    assert len(outputs) == len(details) == num_step
    torch.testing.assert_close(net(lq), torch.stack(outputs).mean(0))
    # What a step restores depends on how many came before it, not on how many follow.
    longer = CASE.build(2, num_step=num_step + 1).eval()
    assert all(torch.equal(a, b) for a, b in zip(outputs, longer.unroll(lq)[0], strict=False))


def test_a_network_keeps_its_number_of_steps_and_a_checkpoint_shows_it():
    two, five = CASE.build(num_step=2).eval(), CASE.build(num_step=5, seed=1).eval()
    five.load_state_dict(two.state_dict())
    assert infer_options(two.state_dict())["num_step"] == 2
    assert infer_options(five.state_dict())["num_step"] == 5
    lq = torch.rand(1, 3, 6, 7)
    with torch.no_grad():
        assert len(five.unroll(lq)[0]) == 5
        assert torch.equal(five.unroll(lq)[0][1], two.unroll(lq)[0][1])


@pytest.mark.parametrize("recorded", [torch.tensor(0), torch.tensor(10**6), torch.tensor(3.0), torch.tensor([3])])
def test_a_damaged_number_of_steps_is_refused(recorded):
    with pytest.raises(ValueError, match="not a state dict of DSSR: num_step is"):
        infer_options({**CASE.build().state_dict(), "num_step": recorded})


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"num_step": 0}, "num_step: expected an integer >= 1, got 0"),
        ({"num_step": 2.0}, "num_step: expected an integer >= 1, got 2.0"),
        ({"num_step": True}, "num_step: expected an integer >= 1, got True"),
        ({"num_step": 1001}, "num_step: expected 1 to 1000, got 1001"),
        ({"num_feat": "8"}, "num_feat: expected an integer >= 1, got '8'"),
        ({"num_block": 0}, "num_block: expected an integer >= 1, got 0"),
        ({"num_refine_block": -1}, "num_refine_block: expected an integer >= 1, got -1"),
        ({"scale": 5}, "scale: expected 2, 3 or 4, got 5"),
        ({"scale": [2]}, r"scale: expected 2, 3 or 4, got \[2\]"),
    ],
)
def test_sizes_that_do_not_fit_are_named(argument, message):
    with pytest.raises(ValueError, match=message):
        DSSR(**{"num_feat": 8, **argument})


# ---- computed again


def _kept_bytes(net: DSSR, call: str, lq: torch.Tensor) -> tuple[int, list[torch.Tensor]]:
    """What a learning pass keeps for its backward pass, and the gradients."""
    kept: dict[int, int] = {}

    def pack(value: torch.Tensor) -> torch.Tensor:
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    weights = sum(value.untyped_storage().nbytes() for value in net.parameters())
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        outputs, details = getattr(net, call)(lq)
    total = sum(kept.values()) - weights
    net.zero_grad()
    sum((image**2).mean() for image in (*outputs, *details)).backward()
    return total, [value.grad.clone() for value in net.parameters()]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_gradients_are_equal_where_activations_are_computed_again(scale):
    net = CASE.build(scale, num_step=4, num_block=5, num_refine_block=2)
    lq = torch.rand(2, 3, 12, 13)
    plain, gradients = _kept_bytes(net, "unroll", lq)
    less, again = _kept_bytes(net, "unroll_recomputed", lq)
    assert all(torch.equal(one, other) for one, other in zip(gradients, again, strict=True))
    # The last step's alone, but for the images.
    assert less < plain / 3


def test_steps_are_computed_again_where_the_option_says_so(tmp_path):
    logs, weights = [], []
    for again in (False, True):
        model = build(CASE, tmp_path, checkpoint_steps=again)
        model.enter_phase(model.phases[0])
        assert model._learning_pass.call == ("unroll_recomputed" if again else "unroll")
        logs.append(train(model, (1, 2), lambda _: smooth_batch(1)))
        weights.append(model.net_g.state_dict())
    assert logs[0] == logs[1]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


@pytest.mark.slow
def test_it_compiles_with_steps_computed_again():
    net = CASE.build(num_step=2, num_block=1)
    lq = torch.rand(1, 3, 6, 7)
    expected = _kept_bytes(net, "unroll", lq)[1]
    net.compiled = torch.compile(net.unroll_recomputed, dynamic=False, fullgraph=True, backend="aot_eager")
    actual = _kept_bytes(net, "compiled", lq)[1]
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_mixed_precision_computes_again_in_the_same_precision():
    net, lq = CASE.build(num_step=3), torch.rand(1, 3, 6, 7)
    with torch.autocast("cpu", torch.bfloat16):
        gradients, again = (_kept_bytes(net, call, lq)[1] for call in ("unroll", "unroll_recomputed"))
    assert all(torch.equal(one, other) for one, other in zip(gradients, again, strict=True))


# ---- the model


def test_losses_of_all_steps_are_summed(tmp_path):
    model = build(CASE, tmp_path, detail_opt={"type": "L1Loss", "loss_weight": 0.5})
    lq, gt = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        outputs, details = model.net_g.unroll(lq)
    model.feed_data({"lq": lq, "gt": gt})
    model.optimize_parameters(1)
    log = model.get_current_log()
    enlarged = F.interpolate(lq, scale_factor=4, mode="bicubic", align_corners=False)
    assert log["l_pix"] == pytest.approx(sum(float(F.l1_loss(image, gt)) for image in outputs), rel=1e-5)
    expected = 0.5 * sum(float(F.l1_loss(detail, gt - enlarged)) for detail in details)
    assert log["l_detail"] == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(model.output, torch.stack(outputs).mean(0))


def test_the_loss_of_the_details_is_asked_for(tmp_path):
    with pytest.raises(OptionError, match=r"train\.detail_opt: missing; DSSRModel learns by it"):
        build(CASE, tmp_path, detail_opt=None)


# ---- tiles


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_tile_takes_the_samples_of_the_whole_image(scale):
    high = torch.rand(2, 3, scale * 20, scale * 31, dtype=torch.float64)
    whole = shrink_corners_on_corners(high, scale)
    for top, bottom, left, right in ((0, 20, 0, 31), (0, 9, 4, 20), (8, 20, 15, 31)):
        tile = high[:, :, scale * top : scale * bottom, scale * left : scale * right]
        samples = shrink_corners_on_corners(tile, scale, Place(top, left, 20, 31))
        inner = (slice(None), slice(None), slice(2 * (top > 0), bottom - top - 2 * (bottom < 20)))
        expected = whole[:, :, top:bottom, left:right][inner]
        start, stop = 2 * (left > 0), right - left - 2 * (right < 31)
        torch.testing.assert_close(samples[inner][..., start:stop], expected[..., start:stop], rtol=0, atol=1e-6)
    alone = torch.rand(1, 2, scale, scale)
    torch.testing.assert_close(
        shrink_corners_on_corners(alone, scale, Place(0, 0, 1, 1)), shrink_corners_on_corners(alone, scale)
    )


@pytest.mark.parametrize("image_skip", [False, True])
def test_with_an_image_skip_its_drafts_start_from_the_enlarged_image_too(image_skip):
    net = CASE.build(3, image_skip=image_skip, init_scale=1e-3)
    lq = torch.rand(2, 3, 7, 5)
    with torch.no_grad():
        outputs, details = net.unroll(lq)
        enlarged = net.enlarge(lq)
    for output, detail in zip(outputs, details, strict=True):
        torch.testing.assert_close(output, enlarged, rtol=0, atol=1e-5)
        torch.testing.assert_close(detail, 0 * enlarged if image_skip else -enlarged, rtol=0, atol=1e-5)
