from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lightbsr_arch import LightBSRTeacher, convert_published_state_dict
from lightbsr_arch.layers.momentum_contrast import MomentumContrast, contrastive_loss

from support.helpers import TINY
from support.published import published_state_dict


@pytest.mark.parametrize(("setting", "prior_channels"), [("iso", 15), ("aniso", 18)])
def test_two_passes_equal_published(golden, setting, prior_channels):
    net = LightBSRTeacher(prior_channels=prior_channels).train()
    net.load_state_dict(convert_published_state_dict(published_state_dict("teacher", prior_channels=prior_channels)))
    data = golden("teacher")
    contrast = net.momentum_contrast
    for number in (1, 2):
        prefix = f"teacher_{setting}_train{number}"
        feature_map, loss = net.contrast(data[f"teacher_{setting}_lq"], data[f"teacher_{setting}_prior"])
        torch.testing.assert_close(loss.detach(), data[f"{prefix}_contrast"], rtol=1e-5, atol=0)
        mean_std = torch.stack([feature_map.mean(), feature_map.std()]).detach()
        torch.testing.assert_close(mean_std, data[f"{prefix}_fea_mean_std"], rtol=1e-5, atol=0)
        assert int(contrast.queue_pointer) == int(data[f"{prefix}_queue_ptr"])
        torch.testing.assert_close(contrast.queue[:, :4], data[f"{prefix}_queue_head"], rtol=0, atol=1e-6)
        key_weight = contrast.key.encoder.layers[0].weight[:2, :2]
        torch.testing.assert_close(key_weight, data[f"{prefix}_key_w"], rtol=0, atol=1e-7)


def _vectors(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def test_loss_is_cross_entropy_over_every_ordered_pair():
    torch.manual_seed(0)
    queries, keys, queue = _vectors(3, 4, 5), _vectors(3, 4, 5), _vectors(7, 5).T
    expected = []
    for i in range(3):
        for j in range(3):
            if i != j:
                positive = (queries[i] * keys[j]).sum(1, keepdim=True)
                logits = torch.cat([positive, queries[i] @ queue], dim=1) / 0.07
                expected.append(F.cross_entropy(logits, torch.zeros(4, dtype=torch.long), reduction="none"))
    expected = torch.stack(expected)
    torch.testing.assert_close(contrastive_loss(queries, keys, queue, reduction="none"), expected)
    torch.testing.assert_close(contrastive_loss(queries, keys, queue), expected.mean())
    torch.testing.assert_close(contrastive_loss(queries, keys, queue, reduction="sum"), expected.sum())


def test_loss_refuses_one_view_and_unknown_reductions():
    with pytest.raises(ValueError, match="at least 2 views"):
        contrastive_loss(_vectors(1, 4, 5), _vectors(1, 4, 5), _vectors(7, 5).T)
    with pytest.raises(ValueError, match="reduction"):
        contrastive_loss(_vectors(2, 4, 5), _vectors(2, 4, 5), _vectors(7, 5).T, reduction="median")


def test_queue_wraps_around():
    contrast = MomentumContrast(3, num_feat=4, queue_size=5)
    first, second = _vectors(3, 16).float(), _vectors(4, 16).float()
    contrast.enqueue(first)
    contrast.enqueue(second)
    assert int(contrast.queue_pointer) == 2
    expected = torch.stack([second[2], second[3], first[2], second[0], second[1]], dim=1)
    assert torch.equal(contrast.queue, expected)
    with pytest.raises(ValueError, match="queue_size"):
        contrast.enqueue(_vectors(6, 16).float())


def test_key_encoder_follows_and_never_learns():
    torch.manual_seed(0)
    net = LightBSRTeacher(queue_size=8, momentum=0.75, **TINY).train()
    contrast = net.momentum_contrast
    with torch.no_grad():
        for value in contrast.query.parameters():
            value.add_(1.0)
    before = [value.clone() for value in contrast.key.parameters()]
    net.contrast(torch.rand(4, 2, 3, 8, 8), torch.rand(4, 15))[1].backward()
    for old, new, query in zip(before, contrast.key.parameters(), contrast.query.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old + 0.25 * (query.detach() - old))
        assert new.grad is None
        assert query.grad is not None
