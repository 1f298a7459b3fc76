"""Checkpoints whose trainer left the key encoder and the queue out."""

from __future__ import annotations

import pytest
import torch

from lightbsr_arch import LightBSRTeacher, convert_published_state_dict, infer_options
from lightbsr_arch.methods.cdcl import CdCL
from lightbsr_arch.methods.dasr import DASR

from published import published_state_dict

NETWORKS = {"dasr": DASR, "cdcl": CdCL, "teacher": LightBSRTeacher}
LEFT_OUT = ("E.encoder_k", "E.queue", "E.encoder_ema")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_key_encoder_starts_as_the_query_encoder(name):
    published = published_state_dict(name)
    whole = convert_published_state_dict(published)
    parts = {key: value for key, value in published.items() if not key.startswith(LEFT_OUT)}
    assert len(parts) < len(published)
    converted = convert_published_state_dict(parts)
    options = infer_options(converted)
    del options["type"]
    part = "contrast" if name == "cdcl" else "momentum_contrast"
    ours = {key: value for key, value in whole.items() if not key.startswith((f"{part}.key", f"{part}.queue"))}
    assert "queue_size" not in infer_options(ours)
    nets = [NETWORKS[name](**options).eval() for _ in range(3)]
    for net, state_dict in zip(nets, (whole, converted, ours), strict=True):
        net.load_state_dict(state_dict)
    inputs = [torch.rand(1, 3, 16, 16), *([torch.rand(1, 15)] if name == "teacher" else [])]
    with torch.no_grad():
        results = [net(*inputs) for net in nets]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    for net in nets[1:]:
        contrast = getattr(net, part)
        for key, value in contrast.query.state_dict().items():
            assert torch.equal(contrast.key.state_dict()[key], value)
        assert contrast.query.encoder.layers[0].weight.data_ptr() != contrast.key.encoder.layers[0].weight.data_ptr()
        if name != "cdcl":
            torch.testing.assert_close(contrast.queue.norm(dim=0), torch.ones(8192))
            assert torch.equal(contrast.queue, nets[1].momentum_contrast.queue)


def test_a_part_of_the_key_encoder_is_still_an_error():
    state_dict = DASR(num_feat=8, num_group=1, num_block=1, num_encoder_feat=4, reduction=4).state_dict()
    del state_dict["momentum_contrast.key.head.0.weight"]
    with pytest.raises(RuntimeError, match=r"key\.head\.0\.weight"):
        DASR(num_feat=8, num_group=1, num_block=1, num_encoder_feat=4, reduction=4).load_state_dict(state_dict)


@pytest.mark.parametrize(
    ("key", "shape", "found"),
    [
        ("body.0.conv1.weight", (5, 8, 8, 3, 3), r"It has stacked \(5-D\) weights \(body\.0\.conv1\.weight\)"),
        ("body.expert\x1b[31m.weight", (8,), r"It has a key that speaks of experts \(body\.expert[^\x1b]*\.weight\)"),
    ],
)
def test_the_other_dasr_is_named_with_what_was_found(key, shape, found):
    with pytest.raises(ValueError, match=found + r", as a mixture of experts may\. If .*2104\.00416.*2203\.14216"):
        infer_options({key: torch.rand(shape)})


def test_no_other_dasr_is_named_without_a_sign_of_it():
    with pytest.raises(ValueError, match=r"no 'sr\.head\.weight'") as error:
        infer_options({"body.0.conv1.weight": torch.rand(8, 8, 3, 3)})
    assert "2203.14216" not in str(error.value)
