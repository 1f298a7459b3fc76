from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lightbsr_arch import LightBSR, convert_published_state_dict
from lightbsr_arch.inference import InferenceLightBSR
from lightbsr_arch.inference.lightbsr.folding import compose_upsampler
from lightbsr_arch.inference.lightbsr.network import _CPU_CHUNK
from lightbsr_arch.layers.upsampling_network import PixelShuffleUpsampler

from support.helpers import tiny_student


def _error(output: torch.Tensor, expected: torch.Tensor) -> float:
    return float((output.float() - expected).abs().max() / expected.std())


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (6, 7), (7, 7), (13, 10), (40, 60)])
def test_it_is_the_network(scale, size):
    net = tiny_student(scale)
    before = copy.deepcopy(net.state_dict())
    fast = InferenceLightBSR(net)
    lq = torch.rand(2, 3, *size)
    given = lq.clone()
    with torch.no_grad():
        expected, codes = net(lq), net.encode(lq)
        assert _error(fast(lq), expected) < 1e-4
        for ours, theirs in zip(fast.encode(lq), codes, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        # Codes of another image, as tiles take those of the whole one.
        others = net.encode(torch.rand(2, 3, *size))
        assert _error(fast.restore(lq, others), net.restore(lq, others)) < 1e-4
        assert _error(fast(lq), expected) < 1e-4  # nothing of the first pass is left
    assert torch.equal(lq, given)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert 40 * 60 > _CPU_CHUNK > 13 * 10  # one and several chunks were tried


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("tail_activation", [None, "lr", "hr"])
def test_it_is_the_network_that_starts_from_the_enlarged_image(scale, tail_activation):
    net = tiny_student(scale, image_skip=True, tail_activation=tail_activation)
    fast = InferenceLightBSR(net)
    assert (fast.upsampler is None) == (tail_activation == "hr")
    with torch.no_grad():
        for size in ((3, 4), (13, 10)):
            lq = torch.rand(2, 3, *size)
            assert _error(fast(lq), net(lq)) < 1e-4
        assert fast.bfloat16()(lq).dtype == torch.bfloat16


def test_golden_output(golden):
    from support.published import published_state_dict

    data = golden("student")
    net = LightBSR(scale=4).eval()
    net.load_state_dict(convert_published_state_dict(published_state_dict("student")))
    fast = InferenceLightBSR(net)
    names = [name for name in data if name.endswith("lq")]
    assert names
    for name in names:
        with torch.no_grad():
            assert _error(fast(data[name]), data[name.removesuffix("lq") + "sr"]) < 2e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(dtype):
    net = tiny_student(4)
    fast = InferenceLightBSR(net).to(dtype)
    lq = torch.rand(1, 3, 24, 20)
    with torch.no_grad():
        output = fast(lq)
        assert output.dtype == dtype
        # bfloat16 has 8 bits of a value.
        assert _error(output, net(lq)) < 0.1


def test_it_compiles_whole():
    net = tiny_student(4, num_group=1, num_block=1)
    fast = InferenceLightBSR(net)
    lq = torch.rand(1, 3, 16, 20)
    with torch.no_grad():
        # Traced as ever, and run without a C++ compiler, which takes half a minute.
        compiled = torch.compile(fast, fullgraph=True, backend="aot_eager")
        assert _error(compiled(lq), net(lq)) < 1e-4


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_upsampler_as_one_convolution(scale):
    torch.manual_seed(0)
    upsampler, last = PixelShuffleUpsampler(scale, 6).double(), nn.Conv2d(6, 3, 3, 1, 1).double()
    composite = compose_upsampler(upsampler, last, scale)
    assert composite.weight.shape == (3 * scale**2, 6, 5, 5)
    features = torch.rand(2, 6, 9, 11, dtype=torch.float64)
    with torch.no_grad():
        plain = last(upsampler(features))
        one = nn.functional.pixel_shuffle(nn.functional.conv2d(features, *composite, padding=2), scale)
    inside = slice(scale, -scale)
    torch.testing.assert_close(one[..., inside, inside], plain[..., inside, inside], rtol=0, atol=1e-12)
    assert (one - plain).abs().max() > 1e-3  # the ring differs, which is why it is made apart


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match="lq: expected a float image batch"):
        InferenceLightBSR(tiny_student(4))(torch.zeros(1, 4, 8, 8))
