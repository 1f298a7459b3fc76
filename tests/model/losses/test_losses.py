from __future__ import annotations

import pytest
import torch
from basicsr.losses import build_loss
from torch.nn import functional as F

from lightbsr_arch.layers.momentum_contrast import contrastive_loss


def test_distillation_equals_published(golden):
    data = golden("distillation")
    for name in ("channel", "spatial"):
        loss = build_loss({"type": f"{name.capitalize()}DistillationLoss"})
        actual = loss(data[f"kd_{name}_student"], data[f"kd_{name}_teacher"])
        torch.testing.assert_close(actual, data[f"kd_{name}"], rtol=1e-5, atol=0)


def test_channel_loss_options():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 5)
    divergence = F.kl_div((student / 2).log_softmax(1), (teacher / 2).softmax(1), reduction="none").sum(1)
    expected = 4 * (divergence + 0.5 * (student - teacher).abs().mean(1))
    options = {"type": "ChannelDistillationLoss", "loss_weight": 4.0, "temperature": 2.0, "l1_weight": 0.5}
    for reduction, wanted in (("none", expected), ("mean", expected.mean()), ("sum", expected.sum())):
        actual = build_loss({**options, "reduction": reduction})(student, teacher)
        torch.testing.assert_close(actual, wanted)


def test_spatial_loss_options():
    student, teacher = torch.rand(2, 2, 3, 4, 4)
    loss = build_loss({"type": "SpatialDistillationLoss", "loss_weight": 3.0, "reduction": "sum"})
    torch.testing.assert_close(loss(student, teacher), 3 * (student - teacher).square().sum())


def test_contrastive_loss_options():
    torch.manual_seed(0)
    queries, keys = F.normalize(torch.randn(2, 3, 4, 5), dim=-1)
    queue = F.normalize(torch.randn(5, 7), dim=0)
    loss = build_loss(
        {"type": "DegradationContrastiveLoss", "loss_weight": 2.0, "temperature": 0.3, "reduction": "sum"}
    )
    torch.testing.assert_close(loss(queries, keys, queue), 2 * contrastive_loss(queries, keys, queue, 0.3, "sum"))


@pytest.mark.parametrize("name", ["DegradationContrastiveLoss", "ChannelDistillationLoss", "SpatialDistillationLoss"])
def test_bad_options_are_named(name):
    with pytest.raises(ValueError, match="reduction"):
        build_loss({"type": name, "reduction": "median"})
    if name != "SpatialDistillationLoss":
        with pytest.raises(ValueError, match="temperature"):
            build_loss({"type": name, "temperature": 0.0})
