"""The depthwise convolution, which stays in fp32 where bfloat16 is slower."""

from __future__ import annotations

import torch
from torch import nn

from lightbsr_arch.layers.convnext import DepthwiseConv2d


def test_a_depthwise_convolution_keeps_fp32_under_autocast_on_a_cpu():
    torch.manual_seed(0)
    ours = DepthwiseConv2d(8, 8, 7, 1, 3, groups=8)
    plain = nn.Conv2d(8, 8, 7, 1, 3, groups=8)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 8, 12, 12)
    expected = plain(x)
    assert torch.equal(ours(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), expected)
        assert plain(x).dtype == torch.bfloat16
        rounded = ours(x.bfloat16())
    assert torch.equal(rounded, plain(x.bfloat16().float()))
    rounded.sum().backward()
    assert ours.weight.grad.dtype == torch.float32
    # What is bfloat16 throughout stays so.
    assert ours.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
