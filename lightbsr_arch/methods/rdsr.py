"""RDSR (ACCV 2024, arXiv 2507.13915): the networks that adapt another network to one LR image with sharp reference images.

A linear downsampler is fitted to the LR image and its restored image; reference images that it shrinks are pairs in the
image's own degradation.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.methods.base import Method
from lightbsr_arch.methods.sizes import Sizes

LAYOUTS = {
    "x4_k33": ((13, 9, 7, 5, 3, 1), (1, 1, 1, 2, 2, 1)),
    "x4_k23": ((11, 7, 5, 3, 1), (1, 1, 2, 2, 1)),
    "x3_k27": ((11, 7, 5, 3, 1), (1, 1, 3, 1, 1)),
    "x2_k13": ((7, 5, 3, 1, 1, 1), (1, 1, 2, 1, 1, 1)),
}
"""Kernel sizes and strides of the layers of the published downsamplers, and of this project's at x3."""


class LinearDownsampler(nn.Module):
    """A stack of convolutions without bias, activation or padding, for each colour alone: a blur and a downsampling.

    Being linear it is one convolution, and is computed as one: the layers' kernels are composed first. That is the same
    function of images and weights, at a fraction of the operations (x4_k33: about 0.5 instead of 200 GMAC for a 192x192 patch).

    Args:
        kernel_sizes: Of the layers, odd numbers; of one layer at least.
        strides: Of the layers; their product is the scale.
        num_feat: Number of channels between the layers.

    Raises:
        ValueError: The two differ in length, or a kernel size is even.
    """

    def __init__(
        self,
        kernel_sizes: Sequence[int] = LAYOUTS["x4_k33"][0],
        strides: Sequence[int] = LAYOUTS["x4_k33"][1],
        num_feat: int = 64,
    ) -> None:
        super().__init__()
        if len(kernel_sizes) != len(strides) or not kernel_sizes or any(size % 2 == 0 for size in kernel_sizes):
            raise ValueError(
                f"kernel_sizes and strides: expected odd sizes and as many strides, got {list(kernel_sizes)} and "
                f"{list(strides)}."
            )
        self.strides, self.scale = tuple(strides), prod(strides)
        self.options: dict[str, Any] = {
            "kernel_sizes": list(kernel_sizes),
            "strides": list(strides),
            "num_feat": num_feat,
        }
        widths = [1, *[num_feat] * (len(kernel_sizes) - 1), 1]
        self.downsampling = nn.ModuleList(
            nn.Conv2d(before, after, size, stride, bias=False)
            for before, after, size, stride in zip(widths[:-1], widths[1:], kernel_sizes, strides, strict=True)
        )
        # A new one averages, more or less: it keeps the brightness.
        for weight in self.downsampling.parameters():
            fan_in = prod(weight.shape[1:])
            nn.init.normal_(weight, 1 / fan_in, 1 / fan_in)

    def kernel(self, as_published: bool = False) -> Tensor:
        """The kernel of the one convolution that this is, (k, k), as ``conv2d`` applies it.

        Args:
            as_published: As the published code reads it off: it leaves out that taps behind a stride lie further apart, so
                that of two strides an inner part remains, out of its proportions.
        """
        weights = list(self.downsampling.parameters())
        composed, spread = weights[0].transpose(0, 1), 1
        for weight, stride in zip(weights[1:], self.strides, strict=False):
            spread = 1 if as_published else spread * stride
            reach = spread * (weight.shape[2] - 1)
            # A kernel behind another one is their convolution; torch's is a correlation.
            composed = F.conv2d(composed, weight.flip(2, 3), padding=reach, dilation=spread)
        return composed[0, 0]

    def forward(self, hr: Tensor) -> Tensor:
        """Shrink (N, C, H, W) of any range to (N, C, h, w), the LR image without its border.

        Raises:
            ValueError: An image smaller than the kernel.
        """
        kernel = self.kernel()
        if min(hr.shape[2:]) < len(kernel):
            raise ValueError(f"hr: expected sides of at least {len(kernel)}, got {hr.shape[3]}x{hr.shape[2]}.")
        planes = hr.flatten(0, 1)[:, None]
        return F.conv2d(planes, kernel[None, None], stride=self.scale).unflatten(0, hr.shape[:2])[:, :, 0]


def centre(lq: Tensor, like: Tensor) -> Tensor:
    """The middle of (N, C, H, W) LR images, as large as what the downsampler left of them."""
    top, left = ((lq.shape[dim] - like.shape[dim]) // 2 for dim in (2, 3))
    return lq[:, :, top : top + like.shape[2], left : left + like.shape[3]]


class _SpectralConv2d(nn.Conv2d):
    """A convolution whose kernel is divided by its largest singular value, as a matrix of (out, rest).

    The value is computed, not iterated towards: there is no state between two passes.
    """

    def forward(self, x: Tensor) -> Tensor:
        norm = torch.linalg.matrix_norm(self.weight.flatten(1).float(), 2)
        return F.conv2d(x, self.weight / norm.to(self.weight), self.bias)


class ReferenceDiscriminator(nn.Module):
    """Judges patches of 7x7: a sharp reference image, or a restored one.

    Args:
        num_feat: Number of channels.
        num_block: Number of 1x1 convolutions with BatchNorm and ReLU.
    """

    def __init__(self, num_feat: int = 64, num_block: int = 5) -> None:
        super().__init__()
        self.options: dict[str, Any] = {"num_feat": num_feat, "num_block": num_block}
        layers: list[nn.Module] = [_SpectralConv2d(3, num_feat, 7)]
        for _ in range(num_block):
            layers += [_SpectralConv2d(num_feat, num_feat, 1), nn.BatchNorm2d(num_feat), nn.ReLU()]
        self.judgement = nn.Sequential(*layers, _SpectralConv2d(num_feat, 1, 1), nn.Sigmoid())
        for layer in self.judgement:
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_normal_(layer.weight, 0.1)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, 1, 0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Judge (N, 3, H, W): (N, 1, H - 6, W - 6), 1 for real."""
        judgement: Tensor = self.judgement(images)
        return judgement


def _sizes(sizes: Sizes) -> dict[str, Any]:
    if sizes.has("judgement."):
        blocks = (sizes.count(r"judgement\.(\d+)\.") - 2) // 2
        return {
            "type": "ReferenceDiscriminator",
            "num_feat": sizes.shape("judgement.0.weight")[0],
            "num_block": blocks,
        }
    number = sizes.count(r"downsampling\.(\d+)\.")
    kernel_sizes = [sizes.shape(f"downsampling.{place}.weight")[2] for place in range(number)]
    # Weights do not show strides: those of the published layout with these kernels.
    strides = next((list(given) for kernels, given in LAYOUTS.values() if list(kernels) == kernel_sizes), None)
    if strides is None:
        raise ValueError(f"not a state dict of a known method: no downsampler has the kernel sizes {kernel_sizes}.")
    return {
        "type": "LinearDownsampler",
        "kernel_sizes": kernel_sizes,
        "strides": strides,
        "num_feat": sizes.shape("downsampling.0.weight")[0],
    }


METHOD = Method(
    name="RDSR",
    paper="ACCV 2024, arXiv 2507.13915",
    networks={},
    helpers={"LinearDownsampler": LinearDownsampler, "ReferenceDiscriminator": ReferenceDiscriminator},
    adaptations={name: f"lightbsr_model.methods.rdsr.{name}" for name in ("references", "fitted")},
    degraders={name: f"lightbsr_model.methods.rdsr.{name}_degrader" for name in ("fitted", "downsampler")},
    sizes=_sizes,
)
