"""Fold what is constant in a trained network into its convolutions. Exact but for rounding; done in float64."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.convnext import ConvNeXtTail


class Affine(NamedTuple):
    """Weight and bias of a convolution or a linear layer."""

    weight: Tensor
    bias: Tensor


def fold_batchnorm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Affine:
    """A convolution and the evaluation-mode BatchNorm behind it as one convolution.

    Raises:
        ValueError: A norm without statistics or affine parameters, or a convolution without bias.
    """
    if norm.running_mean is None or norm.running_var is None or conv.bias is None:
        raise ValueError("fold_batchnorm: expected running statistics, and a convolution with a bias.")
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    weight = conv.weight.double() * scale[:, None, None, None]
    return Affine(weight, (conv.bias.double() - norm.running_mean.double()) * scale + norm.bias.double())


def fold_mean_before(conv: nn.Conv2d, mean: Tensor) -> Affine:
    """A convolution of ``x - mean`` as one of ``x``; where it pads, ``x`` must be padded with the mean.

    Args:
        conv: With a bias.
        mean: (channels,).
    """
    bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias
    weight = conv.weight.double()
    return Affine(weight, bias.double() - weight.sum((2, 3)) @ mean.double())


class FoldedTail(NamedTuple):
    """A ConvNeXt tail whose LayerNorm has no parameters of its own, and which has no layer scale."""

    dwconv: Affine
    pwconv1: Affine
    pwconv2: Affine


def fold_tail(tail: ConvNeXtTail) -> FoldedTail:
    """LayerNorm's scale and shift into the first linear layer, the layer scale into the second."""
    inner, outer, gamma = tail.pwconv1, tail.pwconv2, tail.gamma.double()
    bias = inner.bias.double() + inner.weight.double() @ tail.norm.bias.double()
    dw_bias = torch.zeros(tail.dwconv.out_channels) if tail.dwconv.bias is None else tail.dwconv.bias
    return FoldedTail(
        Affine(tail.dwconv.weight.double(), dw_bias.double()),
        Affine(inner.weight.double() * tail.norm.weight.double(), bias),
        Affine(outer.weight.double() * gamma[:, None], outer.bias.double() * gamma),
    )


COMPOSITE_RADIUS = 2
"""LR pixels that an output pixel of the upsampler depends on, on each side."""


def compose_upsampler(upsampler: nn.Sequential, last: nn.Conv2d, scale: int) -> Affine:
    """All of the upsampler, which has no nonlinearity, and the convolution behind it as one convolution before a shuffle.

    It holds where no layer sees its own zero padding but the first: everywhere but in the outermost ring of LR pixels.

    Args:
        upsampler: conv3x3 and PixelShuffle, once or twice.
        last: conv3x3 from features to an image.
        scale: The factor.

    Returns:
        Weight (channels * scale^2, num_feat, 5, 5) and bias, in float64; PixelShuffle(scale) of it is the image.
    """
    # As large as an impulse response, which zero padding then does not change: it is linear, and 0 out there.
    middle = COMPOSITE_RADIUS
    side = 2 * middle + 1
    layers = [*upsampler, last]
    num_feat = last.in_channels

    def run(x: Tensor) -> Tensor:
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                bias = None if layer.bias is None else layer.bias.double()
                x = F.conv2d(x, layer.weight.double(), bias, padding=layer.padding)
            else:
                x = layer(x)
        return F.pixel_unshuffle(x, scale)

    impulses = torch.zeros(num_feat, num_feat, side, side, dtype=torch.float64)
    impulses[torch.arange(num_feat), torch.arange(num_feat), middle, middle] = 1
    silent = run(torch.zeros(1, num_feat, side, side, dtype=torch.float64))
    responses = run(impulses) - silent
    # A convolution's weight is its impulse response, turned about.
    return Affine(responses.transpose(0, 1).flip(2, 3), silent[0, :, middle, middle])
