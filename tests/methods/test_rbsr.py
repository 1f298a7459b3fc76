"""RBSR: the network, against the published one and at any number of frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightbsr_arch import convert_published_state_dict, infer_options
from lightbsr_arch.methods.rbsr import RBSR

from support.helpers import assert_close_to_reference
from support.published import published_state_dict

RECORDED = ("t4", "t3_n2")
SMALL = {"num_feat": 8, "num_feat_block": 1, "num_block": 2, "num_reconstruction_block": 1, "deform_groups": 2}


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
    assert published.options == RBSR().options


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
