"""The reference of the benchmarks: the method as its paper describes it, one operation after the other, NCHW, fp32, eager.

It uses the weights of :class:`lightbsr_arch.LightBSR` and :class:`lightbsr_arch.LightBSRTeacher` by their names, and returns
the same results. It is a straightforward implementation, not a deliberately slow one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]
MEAN = (0.4488, 0.4371, 0.4040)


def degrade(gt: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """Blur (N, V, 3, H, W) by 21x21 kernels (N, 21, 21), a grouped convolution; antialiased bicubic; round; to [0, 1]."""
    count, views, channels, height, width = gt.shape
    x = F.pad(gt.float().view(count, views * channels, height, width), (10, 10, 10, 10), mode="reflect")
    x = x.view(1, count * views * channels, height + 20, width + 20)
    weight = kernels.repeat_interleave(views * channels, dim=0)[:, None].flip(2, 3)
    x = F.conv2d(x, weight, groups=count * views * channels).view(count * views, channels, height, width)
    margin = 3 * scale
    x = F.pad(x, (margin,) * 4, mode="replicate")
    x = F.interpolate(x, (height // scale + 6, width // scale + 6), mode="bicubic", antialias=True)[..., 3:-3, 3:-3]
    return x.round().clamp(0, 255).view(count, views, channels, height // scale, width // scale) / 255


def encoder(x: Tensor, w: Weights, prefix: str, training: bool = False) -> Tensor:
    """Six times convolution, BatchNorm, LeakyReLU."""
    for number, stride in enumerate((1, 1, 2, 1, 2, 1)):
        conv, norm = f"{prefix}layers.{3 * number}.", f"{prefix}layers.{3 * number + 1}."
        x = F.conv2d(x, w[conv + "weight"], w[conv + "bias"], stride, 1)
        statistics = (w[norm + "running_mean"], w[norm + "running_var"])
        x = F.batch_norm(x, *statistics, w[norm + "weight"], w[norm + "bias"], training)
        x = F.leaky_relu(x, 0.1)
    return x


def codes(feature_map: Tensor, w: Weights, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Channel and spatial code of a feature map."""
    channel = F.gelu(F.linear(feature_map.mean((2, 3)), w["converters.channel.weight"]))
    spread = F.pixel_shuffle(feature_map, 4)[:, :, : size[0], : size[1]]
    spatial = F.conv2d(spread, w["converters.spatial.weight"], w["converters.spatial.bias"], 1, 1)
    return channel, F.gelu(spatial)


def tail(x: Tensor, w: Weights, prefix: str) -> Tensor:
    """Depthwise 7x7, LayerNorm, two linear layers, layer scale."""
    x = F.conv2d(x, w[prefix + "dwconv.weight"], w[prefix + "dwconv.bias"], 1, 3, 1, x.shape[1])
    x = x.permute(0, 2, 3, 1)
    x = F.layer_norm(x, x.shape[-1:], w[prefix + "norm.weight"], w[prefix + "norm.bias"], 1e-6)
    x = F.gelu(F.linear(x, w[prefix + "pwconv1.weight"], w[prefix + "pwconv1.bias"]))
    x = F.linear(x, w[prefix + "pwconv2.weight"], w[prefix + "pwconv2.bias"]) * w[prefix + "gamma"]
    return x.permute(0, 3, 1, 2)


def block(x: Tensor, channel: Tensor, spatial: Tensor, w: Weights, prefix: str) -> Tensor:
    """A modulated block."""
    m = prefix + "modulation."
    split = w[m + "spatial_conv.weight"].shape[0]
    x1, x2 = x[:, :split], x[:, split:]
    gate = F.gelu(F.conv2d(torch.cat([spatial, x1], 1), w[m + "spatial_gate.0.weight"]))
    gate = F.conv2d(gate, w[m + "spatial_gate.2.weight"], padding=1)
    x1 = F.conv2d(x1 * torch.sigmoid(gate), w[m + "spatial_conv.weight"], padding=2)
    squeezed = F.gelu(F.linear(torch.cat([x2.mean((2, 3)), channel], 1), w[m + "channel_gate.0.weight"]))
    x2 = x2 * torch.sigmoid(F.linear(squeezed, w[m + "channel_gate.2.weight"]))[:, :, None, None]
    return x + tail(F.gelu(torch.cat([x1, x2], 1)), w, prefix + "tail.")


def restore(lq: Tensor, channel: Tensor, spatial: Tensor, w: Weights, scale: int) -> Tensor:
    """The SR network."""
    mean = torch.tensor(MEAN, device=lq.device).view(1, 3, 1, 1)
    shallow = F.conv2d(lq - mean, w["sr.head.weight"], w["sr.head.bias"], 1, 1)
    x = shallow
    for group in range(_count(w, "sr.groups.")):
        p = f"sr.groups.{group}."
        r = p + "refinement."
        more = F.gelu(F.linear(channel, w[r + "channel.0.weight"], w[r + "channel.0.bias"]))
        channel = channel + F.gelu(F.linear(more, w[r + "channel.2.weight"], w[r + "channel.2.bias"]))
        more = F.gelu(F.conv2d(spatial, w[r + "spatial.0.weight"], w[r + "spatial.0.bias"], 1, 1))
        spatial = spatial + F.gelu(F.conv2d(more, w[r + "spatial.2.weight"], w[r + "spatial.2.bias"], 1, 1))
        y = x
        for number in range(_count(w, p + "blocks.")):
            y = block(y, channel, spatial, w, f"{p}blocks.{number}.")
        y = y + tail(y, w, p + "plain_block.")
        x = x + F.conv2d(y, w[p + "conv.weight"], w[p + "conv.bias"], 1, 1)
    x = F.conv2d(x, w["sr.conv.weight"], w["sr.conv.bias"], 1, 1) + shallow
    for number, step in enumerate((2, 2) if scale == 4 else (scale,)):
        p = f"sr.upsampler.{2 * number}."
        x = F.pixel_shuffle(F.conv2d(x, w[p + "weight"], w[p + "bias"], 1, 1), step)
    return F.conv2d(x, w["sr.last.weight"], w["sr.last.bias"], 1, 1) + mean


def super_resolve(lq: Tensor, w: Weights, scale: int) -> Tensor:
    """The student in evaluation mode."""
    return restore(lq, *codes(encoder(lq, w, "encoder."), w, (lq.shape[2], lq.shape[3])), w, scale)


def student_losses(
    lq: Tensor, gt: Tensor | None, prior: Tensor, w: Weights, teacher: Weights, scale: int
) -> dict[str, Tensor]:
    """A student's learning pass; without ``gt`` that of the encoder phase."""
    size = (lq.shape[2], lq.shape[3])
    with torch.no_grad():
        seen = torch.cat([lq, prior[:, :, None, None].expand(-1, -1, *size)], 1)
        target = codes(encoder(seen, teacher, "momentum_contrast.query.encoder."), teacher, size)
    channel, spatial = codes(encoder(lq, w, "encoder.", training=True), w, size)
    softened = F.log_softmax(channel / 0.15, 1), F.softmax(target[0] / 0.15, 1)
    losses = {
        "l_channel": F.kl_div(*softened, reduction="batchmean") + 0.1 * F.l1_loss(channel, target[0]),
        "l_spatial": F.mse_loss(spatial, target[1]),
    }
    if gt is not None:
        losses["l_pix"] = 255 * F.l1_loss(restore(lq, channel, spatial, w, scale), gt)
    return losses


def teacher_losses(lq_views: Tensor, gt: Tensor | None, prior: Tensor, w: Weights, scale: int) -> dict[str, Tensor]:
    """A teacher's learning pass over (N, V, 3, h, w), each ordered pair of views in turn."""
    size = (lq_views.shape[3], lq_views.shape[4])
    contrast = "momentum_contrast."
    with torch.no_grad():
        for name, value in w.items():
            if name.startswith(contrast + "key.") and value.is_floating_point() and "running" not in name:
                value.mul_(0.999).add_(w[name.replace(".key.", ".query.")], alpha=0.001)
    maps, queries, keys = [], [], []
    for view in lq_views.unbind(1):
        seen = torch.cat([view, prior[:, :, None, None].expand(-1, -1, *size)], 1)
        maps.append(encoder(seen, w, contrast + "query.encoder.", training=True))
        queries.append(_head(maps[-1], w, contrast + "query."))
        with torch.no_grad():
            keys.append(_head(encoder(seen, w, contrast + "key.encoder.", training=True), w, contrast + "key."))
    queue = w[contrast + "queue"].clone()
    target = torch.zeros(len(lq_views), dtype=torch.long, device=lq_views.device)
    pairs = [(i, j) for i in range(len(queries)) for j in range(len(keys)) if i != j]
    total = lq_views.new_zeros(())
    for i, j in pairs:
        positive = (queries[i] * keys[j]).sum(1, keepdim=True)
        total = total + F.cross_entropy(torch.cat([positive, queries[i] @ queue], 1) / 0.07, target)
    losses = {"l_contrast": total / len(pairs)}
    if gt is not None:
        lq = lq_views[:, 0]
        losses["l_pix"] = 255 * F.l1_loss(restore(lq, *codes(maps[0], w, size), w, scale), gt)
    return losses


def _head(feature_map: Tensor, w: Weights, prefix: str) -> Tensor:
    x = F.linear(feature_map.mean((2, 3)), w[prefix + "head.0.weight"], w[prefix + "head.0.bias"])
    return F.normalize(F.linear(F.leaky_relu(x, 0.1), w[prefix + "head.2.weight"], w[prefix + "head.2.bias"]), dim=1)


def _count(w: Weights, prefix: str) -> int:
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in w if name.startswith(prefix))


def isotropic_kernels(sigma: Tensor) -> Tensor:
    """(N,) to (N, 21, 21)."""
    place = torch.arange(-10, 11, dtype=torch.float64) ** 2
    kernels = torch.exp(-(place[:, None] + place[None]) / (2 * sigma.double()[:, None, None] ** 2))
    return (kernels / kernels.sum((1, 2), keepdim=True)).float()


def anisotropic_kernels(lambda_1: Tensor, lambda_2: Tensor, theta: Tensor) -> Tensor:
    """(N,) each, theta in radians, to (N, 21, 21)."""
    y, x = torch.meshgrid(*(torch.arange(-10, 11, dtype=torch.float64),) * 2, indexing="ij")
    kernels = []
    for one, two, angle in zip(lambda_1.tolist(), lambda_2.tolist(), theta.tolist(), strict=True):
        along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        kernel = torch.exp(-(along**2 / one**2 + across**2 / two**2) / 2)
        kernels.append(kernel / kernel.sum())
    return torch.stack(kernels).float()
