"""Restoration alone, for any network."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model

from support.method_cases import CASES
from support.model_options import MSRRESNET, basicsr_options
from support.training_files import assert_resumes_exactly, plain_training


def _after_two_steps(model_type, network):
    opt = basicsr_options(model_type)
    opt["network_g"] = dict(network)
    torch.manual_seed(3)
    model = build_model(opt)
    generator = torch.Generator().manual_seed(1)
    for iteration in (1, 2):
        model.update_learning_rate(iteration)
        model.feed_data(
            {
                "lq": torch.rand(2, 3, 16, 16, generator=generator),
                "gt": torch.rand(2, 3, 64, 64, generator=generator),
            }
        )
        model.optimize_parameters(iteration)
    model.test()
    return model


@pytest.mark.parametrize("network", ["MSRResNet", "LightBSR"])
def test_it_learns_what_sr_model_learns(network):
    options = MSRRESNET if network == "MSRResNet" else CASES[network].options()
    ours, theirs = (_after_two_steps(kind, options) for kind in ("BlindSRModel", "SRModel"))
    learnt, expected = ours.net_g.state_dict(), theirs.net_g.state_dict()
    assert [name for name, value in expected.items() if not torch.equal(learnt[name], value)] == []
    assert torch.equal(ours.output, theirs.output)
    assert ours.get_current_log() == pytest.approx(theirs.get_current_log())


def test_a_resumed_run_is_the_undisturbed_one(run, tmp_path, image_folder):
    opt = plain_training(image_folder, CASES["DASR"].options(), ema_decay=0.5, amp="bf16", channels_last=True)
    opt["train"]["degradation_opt"] = {"type": "DegradationRegressionLoss"}
    opt["datasets"]["train"]["degrade_in"] = "device"
    assert_resumes_exactly(run, tmp_path, {**opt, "model_type": "BlindSRModel"})
