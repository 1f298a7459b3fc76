"""What the contrasts of the methods compute, by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lightbsr_arch.layers.in_batch_contrast import in_batch_contrastive_loss
from lightbsr_model.losses import DegradationContrastiveLoss

from support.method_cases import CASES


def test_teacher_of_kdsr_refuses_a_gt_that_does_not_fit():
    with pytest.raises(ValueError, match=r"gt: expected \(1, 3, 32, 32\).*got \(1, 3, 31, 32\)"):
        CASES["KDSRTeacher"].build()(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 31, 32))


def test_contrast_of_dasr_is_cross_entropy_of_one_view_against_the_other():
    net = CASES["DASR"].build().train()
    views = torch.rand(3, 2, 3, 8, 8)
    queue = net.momentum_contrast.queue.clone()
    projections = net.project(views)
    with torch.no_grad():
        key = net.momentum_contrast.key.train()
        expected_key = key(255 * views[:, 1])[1]
        expected_query = net.momentum_contrast.query(255 * views[:, 0])[1]
    torch.testing.assert_close(projections.keys[0], expected_key)
    torch.testing.assert_close(projections.queries[0], expected_query)
    assert (len(projections.keys), len(projections.queries)) == (1, 1)
    loss = DegradationContrastiveLoss(temperature=0.2)(*projections[1:], same_views=False)
    logits = torch.cat([(expected_query * expected_key).sum(1, keepdim=True), expected_query @ queue], dim=1) / 0.2
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.zeros(3, dtype=torch.long)))
    with pytest.raises(ValueError, match="at least 2 views"):
        net.project(views[:, :1])


def test_contrast_of_cdcl_by_hand():
    torch.manual_seed(0)
    queries = F.normalize(torch.randn(3, 6, 4, 5), dim=-1)
    keys = F.normalize(torch.randn(3, 4, 5), dim=-1)
    total, count = 0.0, 0
    for i in range(3):
        for j in range(3):
            for c in range(6):
                for n in range(4):
                    if i != j:
                        similarities = torch.tensor([float(queries[i, c, n] @ keys[j, m]) for m in range(4)]) / 0.5
                        total -= float(torch.log_softmax(similarities, dim=0)[n])
                        count += 1
    assert float(in_batch_contrastive_loss(queries, keys, 0.5)) == pytest.approx(total / count, rel=1e-5)
    # Keys of two processes, this one being the second.
    joined = torch.cat([F.normalize(torch.randn(3, 4, 5), dim=-1), keys], dim=1)
    confused = in_batch_contrastive_loss(queries, joined, 0.5, first=0)
    assert float(in_batch_contrastive_loss(queries, joined, 0.5, first=4)) != pytest.approx(float(confused))
    with pytest.raises(ValueError, match="at least 2 views"):
        in_batch_contrastive_loss(queries[:1], keys[:1])


def test_projections_of_cdcl_are_the_pairs_of_quarters_and_the_whole():
    net = CASES["CdCL"].build().eval()  # in evaluation mode: pieces do not see each other in BatchNorm
    views = torch.rand(2, 4, 3, 16, 20).transpose(0, 1)  # N=4, V=2
    views[..., :10] *= torch.linspace(0, 1, 10)  # quarters that differ
    for value in net.parameters():
        if value.dim() > 1:
            value.data.normal_(std=0.4)
    contrast = net.contrast
    with torch.no_grad():
        for value in contrast.key.parameters():
            value.add_(0.1)
        before = [value.clone() for value in contrast.key.parameters()]
        projections = net.project(views)
        for old, new, query in zip(before, contrast.key.parameters(), contrast.query.parameters(), strict=True):
            torch.testing.assert_close(new, 0.99 * old + 0.01 * query)
        view = views[:, 1]
        quarters = [view[..., :8, :10], view[..., :8, 10:], view[..., 8:, :10], view[..., 8:, 10:]]
        codes = [net.represent(quarter) for quarter in quarters]
        pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
        for number, (i, j) in enumerate(pairs):
            expected = contrast.predictor(contrast.query.projector((codes[i] + codes[j]) / 2))
            torch.testing.assert_close(projections.queries[1, number], F.normalize(expected, dim=1))
        whole = contrast.key.projector(contrast.key.encoder(view).mean(dim=(2, 3)))
        torch.testing.assert_close(projections.keys[1], F.normalize(whole, dim=1))
    assert projections.first == 0
