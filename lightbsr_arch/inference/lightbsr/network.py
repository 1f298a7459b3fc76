"""The network as it runs fastest: folded, in channels-last layout, without a copy that is not needed.

Same function as :class:`~lightbsr_arch.LightBSR` in evaluation mode, up to rounding. No gradients, no training mode.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.inference.lightbsr.folding import compose_upsampler, fold_batchnorm, fold_mean_before, fold_tail
from lightbsr_arch.layers.codes import Codes
from lightbsr_arch.layers.convnext import ConvNeXtTail
from lightbsr_arch.layers.image import check_image
from lightbsr_arch.layers.modulated_sr import ModulatedBlock, ModulatedGroup
from lightbsr_arch.layers.upsampling_network import ActivatedShuffle, enlarge
from lightbsr_arch.methods.lightbsr import LightBSR

_CPU_CHUNK = 2048
"""Pixels that the MLP of a block works on at a time on a CPU, so that what lies between stays in its cache."""

_RING_CONTEXT = 3
"""LR pixels, from the border inwards, that the outermost ring of the output depends on."""


class InferenceLightBSR(nn.Module):
    """A trained LightBSR, made for running.

    BatchNorm, LayerNorm's parameters, layer scales and means are folded into convolutions and linear layers, the
    upsampler's layers into one convolution unless it has activations; features are kept as (N, H, W, C), which both
    convolutions and linear layers take without a copy; memory is bounded by the image, not by the blocks.

    Args:
        net: The network. It is not changed, and shares no memory with this one.

    Example:
        >>> net = LightBSR(scale=2, num_feat=16, num_group=1, num_block=1, num_spatial_feat=4, num_encoder_feat=8).eval()
        >>> lq = torch.rand(1, 3, 12, 10)
        >>> torch.allclose(InferenceLightBSR(net)(lq), net(lq), atol=1e-5)
        True
    """

    def __init__(self, net: LightBSR) -> None:
        super().__init__()
        self.scale = net.scale
        self.options: dict[str, Any] = dict(net.options)
        with torch.no_grad():
            layers: list[Any] = list(net.encoder.layers)
            self.encoder = nn.ModuleList(
                _conv(*fold_batchnorm(conv, norm), stride=conv.stride[0])
                for conv, norm in zip(layers[::3], layers[1::3], strict=True)
            )
            self.slope: float = layers[2].negative_slope
            self.channel_converter = _linear(net.converters.channel.weight)
            self.spatial_converter = _copied(net.converters.spatial)
            sr = net.sr
            self.register_buffer("rgb_mean", sr.rgb_mean.flatten().clone(), persistent=False)
            self.head = _conv(*fold_mean_before(sr.head, sr.rgb_mean.flatten()), padding=0)
            self.groups = nn.ModuleList(_Group(cast(ModulatedGroup, group)) for group in sr.groups)
            self.conv = _copied(sr.conv)
            self.tail = nn.Sequential(*(_copied(layer) for layer in sr.tail.children()))
            self.image_skip = sr.image_skip is not None
            mean = torch.zeros(3) if self.image_skip else sr.rgb_mean.flatten()
            # For the ring of pixels where the layers' own padding shows, and for all where they are not linear.
            self.ring = nn.Sequential(*(_copied(layer) for layer in sr.upsampler), _copied(sr.last))
            cast(Tensor, self.ring[-1].bias).add_(mean)
            self.upsampler: nn.Conv2d | None = None
            if not any(isinstance(layer, ActivatedShuffle) for layer in sr.upsampler):
                composite = compose_upsampler(sr.upsampler, sr.last, sr.scale)
                self.upsampler = _conv(composite.weight, composite.bias + mean.double().repeat_interleave(sr.scale**2))
        self.eval().requires_grad_(False)

    rgb_mean: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in: ``.to(torch.bfloat16)`` changes it."""
        return self.head.weight.dtype

    def encode(self, lq: Tensor, shift: Tensor | None = None) -> Codes:
        """Estimate the degradation, as :meth:`LightBSR.encode`; of this network's dtype; ``shift`` as in :meth:`idr`."""
        idr = self.idr(lq, shift)
        return Codes(self.channel_code(idr.mean(dim=(2, 3))), self.spatial_code(idr, (lq.shape[2], lq.shape[3])))

    def idr(self, lq: Tensor, shift: Tensor | None = None) -> Tensor:
        """The implicit degradation representation as a map, (N, 4 * num_encoder_feat, ceil(H / 4), ceil(W / 4)).

        Args:
            lq: (N, 3, H, W) in [0, 1].
            shift: (1, 4 * num_encoder_feat), added at every pixel of the map.
        """
        check_image(lq)
        x = lq.to(self.dtype).contiguous(memory_format=torch.channels_last)
        for conv in self.encoder:
            x = F.leaky_relu_(conv(x), self.slope)
        return x if shift is None else x.add_(shift.to(self.dtype)[:, :, None, None])

    def channel_code(self, representation: Tensor) -> Tensor:
        """The channel code of a map's average, (N, 4 * num_encoder_feat) to (N, num_channel_code)."""
        return F.gelu(self.channel_converter(representation))

    def spatial_code(self, idr: Tensor, size: tuple[int, int]) -> Tensor:
        """The spatial code of a map, (N, num_encoder_feat / 4, *size)."""
        shuffled = F.pixel_shuffle(idr, 4)[:, :, : size[0], : size[1]]
        return F.gelu(self.spatial_converter(shuffled.contiguous(memory_format=torch.channels_last)))

    def feature_means(self, lq: Tensor, codes: Codes) -> list[Tensor]:
        """What the channel gates see of an image beside its channel code: the average features before each block.

        Args:
            lq: (N, 3, H, W) in [0, 1]: one image, or N patches of one image, over which all is averaged together.
            codes: As for :meth:`restore`.

        Returns:
            One (1, channels) a modulated block, in their order; :meth:`restore` takes them for parts of that image.
        """
        means = _FeatureMeans(together=True)
        self._features(lq, codes, means)
        return means.values

    def restore(self, lq: Tensor, codes: Codes, feature_means: Sequence[Tensor] | None = None) -> Tensor:
        """Restore an LR image under given codes, as :meth:`LightBSR.restore`.

        Args:
            lq: (N, 3, H, W) in [0, 1].
            codes: What :meth:`encode` gives.
            feature_means: Of the whole image, where ``lq`` is a part of it; see :meth:`feature_means`. None takes the
                part's own.

        Returns:
            (N, 3, scale * H, scale * W), of this network's dtype.
        """
        output = self._upsample(self._features(lq, codes, _FeatureMeans(feature_means)))
        return output.add_(enlarge(lq.to(output.dtype), self.scale)) if self.image_skip else output

    def _features(self, lq: Tensor, codes: Codes, means: _FeatureMeans) -> Tensor:
        check_image(lq)
        count, _, height, width = lq.shape
        # Padding with the mean makes the folded head see what the plain one does.
        padded = self.rgb_mean.view(1, 3, 1, 1).expand(count, 3, height + 2, width + 2)
        padded = padded.contiguous(memory_format=torch.channels_last)
        padded[:, :, 1:-1, 1:-1] = lq
        shallow = self.head(padded)
        channel, spatial = codes.channel, codes.spatial.permute(0, 2, 3, 1).contiguous()
        x = shallow.permute(0, 2, 3, 1).contiguous()
        for group in self.groups:
            x, channel, spatial = group(x, channel, spatial, means)
        return self.tail(self.conv(x.permute(0, 3, 1, 2)).add_(shallow))

    def forward(self, lq: Tensor, shift: Tensor | None = None) -> Tensor:
        """Super-resolve (N, 3, H, W) in [0, 1] to (N, 3, scale * H, scale * W), not clamped; ``shift`` as in :meth:`idr`."""
        return self.restore(lq, self.encode(lq, shift))

    def _upsample(self, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        context, scale = _RING_CONTEXT, self.scale
        if self.upsampler is None or min(height, width) <= 2 * context:
            return self.ring(features)
        output = F.pixel_shuffle(self.upsampler(features).contiguous(), scale)
        output[:, :, :scale] = self.ring(features[:, :, :context])[:, :, :scale]
        output[:, :, -scale:] = self.ring(features[:, :, -context:])[:, :, -scale:]
        output[:, :, :, :scale] = self.ring(features[:, :, :, :context])[:, :, :, :scale]
        output[:, :, :, -scale:] = self.ring(features[:, :, :, -context:])[:, :, :, -scale:]
        return output


class _FeatureMeans:
    """The average features that the channel gates look at, block by block.

    Args:
        given: Those of another image; None takes the average of what passes.
        together: Average over the batch too.
    """

    def __init__(self, given: Sequence[Tensor] | None = None, together: bool = False) -> None:
        self.given, self.together = given, together
        self.values: list[Tensor] = []

    def next(self, x: Tensor) -> Tensor:
        """Those of the next block, (N, channels) for features (N, H, W, channels) before it."""
        if self.given is not None:
            mean = self.given[len(self.values)]
        else:
            mean = x.mean(dim=(0, 1, 2)).unsqueeze(0) if self.together else x.mean(dim=(1, 2))
        self.values.append(mean)
        return mean.expand(x.shape[0], -1)


class _Tail(nn.Module):
    """``x + ConvNeXt tail of y`` on (N, H, W, C)."""

    def __init__(self, tail: ConvNeXtTail) -> None:
        super().__init__()
        folded = fold_tail(tail)
        self.eps: float = tail.norm.eps
        self.dwconv = _conv(*folded.dwconv, groups=tail.dwconv.groups)
        self.pwconv1, self.pwconv2 = _linear(*folded.pwconv1), _linear(*folded.pwconv2)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Add to ``x`` what the tail makes of ``y``; ``x`` itself is changed on a CPU."""
        y = self.dwconv(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return x + self._mlp(y)
        rows, skip = y.reshape(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        for part, target in zip(rows.split(_CPU_CHUNK), skip.split(_CPU_CHUNK), strict=True):
            target.add_(self._mlp(part))
        return x

    def _mlp(self, y: Tensor) -> Tensor:
        return self.pwconv2(F.gelu(self.pwconv1(F.layer_norm(y, y.shape[-1:], eps=self.eps))))


class _Block(nn.Module):
    """A modulated block on (N, H, W, C)."""

    def __init__(self, block: ModulatedBlock) -> None:
        super().__init__()
        modulation = block.modulation
        self.num_spatial = modulation.split[0]
        mix: Any = modulation.spatial_gate[0]
        self.spatial_mix = _linear(mix.weight.flatten(1))
        self.spatial_gate = _copied(modulation.spatial_gate[2])
        self.spatial_conv = _copied(modulation.spatial_conv)
        self.squeeze, self.excite = _copied(modulation.channel_gate[0]), _copied(modulation.channel_gate[2])
        self.tail = _Tail(block.tail)

    def forward(self, x: Tensor, channel: Tensor, spatial: Tensor, means: _FeatureMeans) -> Tensor:
        """Return the block's output; ``x`` itself is changed on a CPU."""
        x1, x2 = x[..., : self.num_spatial], x[..., self.num_spatial :]
        gate = F.gelu(self.spatial_mix(torch.cat([spatial, x1], dim=-1)))
        gate = torch.sigmoid(self.spatial_gate(gate.permute(0, 3, 1, 2)))
        y1 = self.spatial_conv(gate * x1.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        pooled = means.next(x)[:, self.num_spatial :]
        weights = torch.sigmoid(self.excite(F.gelu(self.squeeze(torch.cat([pooled, channel], dim=1)))))
        y = F.gelu(torch.cat([y1, x2 * weights[:, None, None, :]], dim=-1))
        return self.tail(y, x)


class _Group(nn.Module):
    """A group on (N, H, W, C): refines the codes, runs its blocks."""

    def __init__(self, group: ModulatedGroup) -> None:
        super().__init__()
        refinement = group.refinement
        self.refine_channel = nn.Sequential(*(_copied(layer) for layer in refinement.channel))
        self.refine_spatial = nn.Sequential(*(_copied(layer) for layer in refinement.spatial))
        self.blocks = nn.ModuleList(_Block(cast(ModulatedBlock, block)) for block in group.blocks)
        self.plain_block = _Tail(group.plain_block)
        self.conv = _copied(group.conv)

    def forward(
        self, x: Tensor, channel: Tensor, spatial: Tensor, means: _FeatureMeans
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the features and the refined codes."""
        channel = channel + self.refine_channel(channel)
        spatial = spatial + self.refine_spatial(spatial.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        features = x.clone()  # the skip stays as it is
        for block in self.blocks:
            features = block(features, channel, spatial, means)
        # `y` and `x` of a plain block are one: the tail reads all of `y` before it changes `x`.
        features = self.plain_block(features, features)
        out = self.conv(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return out.add_(x), channel, spatial


def _conv(
    weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int | None = None, groups: int = 1
) -> nn.Conv2d:
    out_channels, in_channels, size, _ = weight.shape
    padding = size // 2 if padding is None else padding
    conv = nn.Conv2d(in_channels * groups, out_channels, size, stride, padding, groups=groups, bias=bias is not None)
    _fill(conv, weight, bias)
    conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    return conv


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    _fill(linear, weight, bias)
    return linear


def _fill(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
    layer.weight.copy_(weight)
    if bias is not None and layer.bias is not None:
        layer.bias.copy_(bias)


def _copied(layer: nn.Module) -> nn.Module:
    """A layer with weights of its own; one without weights is itself."""
    if isinstance(layer, ActivatedShuffle):
        return copy.deepcopy(layer)
    if isinstance(layer, nn.Conv2d):
        return _conv(layer.weight, layer.bias)
    if isinstance(layer, nn.Linear):
        return _linear(layer.weight, layer.bias)
    return layer
