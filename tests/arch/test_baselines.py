from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lightbsr_arch import convert_published_state_dict, infer_options
from lightbsr_arch.layers.in_batch_contrast import in_batch_contrastive_loss
from lightbsr_arch.methods.cdcl import CdCL
from lightbsr_arch.methods.dasr import DASR
from lightbsr_arch.methods.kdsr import KDSR, KDSRTeacher

from helpers import assert_close_to_reference
from published import published_state_dict

NETWORKS = {"dasr": DASR, "kdsr_student": KDSR, "kdsr_teacher": KDSRTeacher, "cdcl": CdCL}
SMALL = {
    "dasr": {"num_feat": 8, "num_group": 2, "num_block": 1, "num_encoder_feat": 4, "queue_size": 16, "reduction": 4},
    "kdsr_student": {"num_feat": 8, "num_block": 3, "num_encoder_block": 1},
    "kdsr_teacher": {"num_feat": 8, "num_block": 3, "num_encoder_block": 1},
    "cdcl": {"num_feat": 8, "num_group": 2, "num_block": 1, "num_encoder_feat": 4, "layer_scale_init": 0.1},
}


def _small(name, scale=4):
    torch.manual_seed(0)
    return NETWORKS[name](scale=scale, **SMALL[name]).eval()


def _inputs(name, lq, scale):
    gt = torch.rand(lq.shape[0], 3, scale * lq.shape[2], scale * lq.shape[3])
    return (lq, gt) if name == "kdsr_teacher" else (lq,)


@pytest.mark.parametrize(("name", "gain"), [("dasr", 0.7), ("kdsr_student", 0.7), ("kdsr_teacher", 0.7), ("cdcl", 1.0)])
def test_equals_published(golden, name, gain):
    state_dict = convert_published_state_dict(published_state_dict(name, gain))
    options = infer_options(state_dict)
    network = NETWORKS[name]
    assert options.pop("type") == network.__name__
    net = network(**options).eval()
    net.load_state_dict(state_dict)
    data = golden(name.partition("_")[0])
    inputs = [data[f"{name}_x4_lq"]] + ([data[f"{name}_x4_gt"]] if name == "kdsr_teacher" else [])
    with torch.no_grad():
        sr = net(*inputs)
        assert torch.equal(sr, net.restore(inputs[0], net.encode(*inputs)))
    assert_close_to_reference(sr, data[f"{name}_x4_sr"])


@pytest.mark.parametrize(
    ("network", "options", "millions", "gmacs"),
    [
        (DASR, {}, 5.84, 185.1),
        (KDSR, {}, 5.80, 228.6),
        (KDSR, {"num_feat": 128, "num_block": 28, "num_encoder_block": 5}, 14.19, 625.5),
        (CdCL, {}, 2.91, 130.7),
    ],
)
def test_published_sizes(network, options, millions, gmacs):
    net = network(**options).eval()
    net(torch.rand(1, 3, 4, 4)).sum().backward()
    used = sum(value.numel() for value in net.parameters() if value.grad is not None)
    # With the 24 fixed values of the published layers that shift colours.
    assert round((used + 24) / 1e6, 2) == pytest.approx(millions, abs=0.0101)
    with torch.device("meta"):
        on_meta = network(**options).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            on_meta(torch.rand(1, 3, 180, 320))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=2e-3)


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_any_size_at_any_scale_and_samples_do_not_mix(name, scale):
    net = _small(name, scale)
    for value in net.parameters():
        if value.dim() > 1:
            value.data.normal_(std=0.2)
    for size in ((1, 1), (1, 7), (6, 3), (5, 5)):
        inputs = _inputs(name, torch.rand(2, 3, *size), scale)
        with torch.no_grad():
            together = net(*inputs)
            alone = torch.cat([net(*(value[i : i + 1] for value in inputs)) for i in range(2)])
        assert together.shape == (2, 3, scale * size[0], scale * size[1])
        assert (together - alone).abs().max() <= 1e-4 * alone.std()


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_sizes_are_read_off_the_state_dict(name, scale):
    net = _small(name, scale)
    assert infer_options(net.state_dict()) == {"type": type(net).__name__, **net.options}


def test_teacher_of_kdsr_refuses_a_gt_that_does_not_fit():
    with pytest.raises(ValueError, match=r"gt: expected \(1, 3, 32, 32\).*got \(1, 3, 31, 32\)"):
        _small("kdsr_teacher")(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 31, 32))


def test_contrast_of_dasr_is_cross_entropy_of_one_view_against_the_other():
    net = _small("dasr").train()
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
    from lightbsr_model.losses import DegradationContrastiveLoss

    loss = DegradationContrastiveLoss(temperature=0.2)(*projections[1:], same_views=False)
    logits = torch.cat([(expected_query * expected_key).sum(1, keepdim=True), expected_query @ queue], dim=1) / 0.2
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.zeros(3, dtype=torch.long)))
    with pytest.raises(ValueError, match="2 views or more"):
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
    with pytest.raises(ValueError, match="2 views or more"):
        in_batch_contrastive_loss(queries[:1], keys[:1])


def test_projections_of_cdcl_are_the_pairs_of_quarters_and_the_whole():
    net = _small("cdcl")  # in evaluation mode: pieces do not see each other in BatchNorm
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
