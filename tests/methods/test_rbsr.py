"""RBSR: the network, against the published one and at any number of frames."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from basicsr.archs.spynet_arch import SpyNet as BasicSRSpyNet

from lightbsr_arch import convert_published_state_dict, infer_options
from lightbsr_arch.layers.optical_flow import SpyNet, read_along
from lightbsr_arch.methods.rbsr import RBSR

from support.bursts import burst_of_photo
from support.helpers import assert_close_to_reference
from support.published import published_state_dict
from support.training_cases import BURSTS

CASE = BURSTS["RBSR"]
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


@pytest.mark.parametrize(("camera", "gt_size", "limit"), [("mended", 384, 0.05), ("small", 192, 0.1)])
def test_affine_flow_finds_the_motions_of_a_camera(camera, gt_size, limit):
    frames, _, flow, _ = burst_of_photo(camera, 5, gt_size)
    found = _net().estimate_flow(frames)
    inner = (..., slice(4, -4), slice(4, -4))
    assert (found - flow)[inner].norm(dim=2).mean() < limit
    assert flow[inner].norm(dim=2).mean() > 5 * limit


def test_one_image_repeated_breaks_nothing():
    frames, _, _, _ = burst_of_photo("small", 1, 96)
    net = _net()
    with torch.no_grad():
        assert net(frames.expand(-1, 6, -1, -1, -1)).isfinite().all()
        assert net.estimate_flow(frames.expand(-1, 6, -1, -1, -1)).abs().max() < 1e-3
