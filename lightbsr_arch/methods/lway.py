"""Low-Res Leads the Way (CVPR 2024, arXiv 2403.02601): from an HR image and the code of an LR image back to that LR image.

Its authors published no code; the networks are those of DegAE (CVPR 2023). Trained, such a network is a degradation that was
learnt: adapting a network to LR images without HR images goes through it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.degradation_encoder import DegradationEncoder
from lightbsr_arch.layers.image import check_image
from lightbsr_arch.layers.residual_block import ResidualBlock
from lightbsr_arch.methods.base import Method
from lightbsr_arch.methods.sizes import Sizes

_SLOPE = 0.1
_EPSILON = 1e-8
_BRANCH_START = 0.1
"""Factor of the initial weights that end a residual block."""
_SMALLEST_PUBLISHED_LQ = 22


class ModulatedConv2d(nn.Module):
    """A conv3x3 whose kernel a code modulates, per sample, then noise, a plain conv3x3 and LeakyReLU(0.1).

    With s the code's image under a linear map, the kernel is W[o, i] / sqrt(9 C) * s[i], divided by the root of the sum of its
    squares over i and the taps. It is applied as W to the features times s, and the result divided: the same function, by one
    convolution for all samples.

    Args:
        num_feat: C, the number of channels of the features.
        code_length: Length of the code.
        noisy: Add a learned multiple, 0 at first, of standard normal noise of one channel behind the modulated kernel.
    """

    def __init__(self, num_feat: int, code_length: int, noisy: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_feat, num_feat, 3, 3))
        self.scales = nn.Linear(code_length, num_feat)
        self.noise = nn.Parameter(torch.zeros(1)) if noisy else None
        self.conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor, code: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Modulate (N, num_feat, H, W) features by (N, code_length) codes; the generator draws the noise."""
        weight = self.weight / (9 * self.weight.shape[1]) ** 0.5
        scales = self.scales(code)
        squares = scales.square() @ weight.square().sum(dim=(2, 3)).t()
        modulated = F.conv2d(x * scales[:, :, None, None], weight, padding=1)
        modulated = modulated * torch.rsqrt(squares + _EPSILON)[:, :, None, None]
        if self.noise is not None:
            shape = (x.shape[0], 1, *x.shape[2:])
            modulated = modulated + self.noise * torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
        return F.leaky_relu(self.conv(modulated), _SLOPE)


class ModulatedBlock(nn.Module):
    """A residual block, then a modulated convolution. Arguments as in :class:`ModulatedConv2d`."""

    def __init__(self, num_feat: int, code_length: int, noisy: bool = True) -> None:
        super().__init__()
        self.residual = ResidualBlock(num_feat)
        self.modulation = ModulatedConv2d(num_feat, code_length, noisy)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Return (N, num_feat, H, W)."""
        return self.modulation(self.residual(x), code)


class Reconstruction(nn.Module):
    """The body of the reconstructor R: at the published sizes, without more around it, R itself.

    Args:
        in_channels: Number of channels of its input; 3 as published.
        num_feat: Number of channels of the features.
        num_block: Number of blocks.
        code_length: Length of the code.
        noisy: See :class:`ModulatedConv2d`.
    """

    def __init__(
        self, in_channels: int = 3, num_feat: int = 64, num_block: int = 4, code_length: int = 512, noisy: bool = True
    ) -> None:
        super().__init__()
        self.head = nn.Conv2d(in_channels, num_feat, 3, 1, 1)
        self.blocks = nn.ModuleList(ModulatedBlock(num_feat, code_length, noisy) for _ in range(num_block))
        self.conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.last = nn.Conv2d(num_feat, 3, 3, 1, 1)
        self._start()

    def _start(self) -> None:
        """Initialise so that features keep their size, and codes modulate around 1.

        Under torch's own start the image is lost in them within a few layers, and hundreds of iterations teach nothing.
        """
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d) and layer is not self.last:
                nn.init.kaiming_normal_(layer.weight, _SLOPE)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
                if name.endswith("residual.conv2"):
                    layer.weight.data.mul_(_BRANCH_START)
            elif isinstance(layer, nn.Linear):
                nn.init.ones_(layer.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """From (N, in_channels, H, W) and (N, code_length) to (N, 3, H, W)."""
        features = F.leaky_relu(self.head(x), _SLOPE)
        for block in self.blocks:
            features = block(features, code)
        restored: Tensor = self.last(F.leaky_relu(self.conv(features), _SLOPE))
        return restored


class PublishedEncoder(nn.Module):
    """The published encoder E: an SRResNet trunk, frozen there, and what makes a code of its features.

    The trunk's trained weights (SRGAN, clean DIV2K) are not available: :class:`LRReconstructor` has an encoder of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 64, 3, 1, 1)
        self.trunk = nn.Sequential(*(ResidualBlock(64) for _ in range(16)))
        self.convs = nn.ModuleList(nn.Conv2d(width, 2 * width, 4, 2) for width in (64, 128, 256))
        self.mlp = nn.ModuleList(nn.Linear(512, 512) for _ in range(3))

    def forward(self, lq: Tensor) -> Tensor:
        """The code of (N, 3, H, W) in [0, 1], (N, 512).

        Raises:
            ValueError: A side below 22, of which nothing would be left.
        """
        check_image(lq)
        if min(lq.shape[2:]) < _SMALLEST_PUBLISHED_LQ:
            raise ValueError(
                f"lq: expected sides of at least {_SMALLEST_PUBLISHED_LQ}, got {lq.shape[3]}x{lq.shape[2]}."
            )
        features = self.trunk(F.leaky_relu(self.head(lq), _SLOPE))
        for conv in self.convs:
            features = F.leaky_relu(conv(features), _SLOPE)
        first, second, third = self.mlp
        code: Tensor = features.mean(dim=(2, 3))
        return third(F.leaky_relu(second(F.leaky_relu(first(code), _SLOPE)), _SLOPE))


class LRReconstructor(nn.Module):
    """Makes the LR image again of the HR image and of the LR image's code: a degradation that is learnt from data.

    The HR image enters with its pixels as channels, and R adds to their average. What differs from the paper: how an HR image
    comes to LR size is not published, the encoder is this project's degradation encoder, averaged, and R draws no noise, since
    the losses that it learns by would only suffer from it. At its own sizes and x4 it has 0.6 million parameters.

    Args:
        scale: 2, 3 or 4.
        num_feat: Number of channels of R's features.
        num_block: Number of R's blocks.
        num_encoder_feat: Number of channels of the encoder's first two layers; the code has four times as many values.

    Raises:
        ValueError: In :meth:`reconstruct`, images or codes that do not fit.
    """

    def __init__(self, scale: int = 4, num_feat: int = 48, num_block: int = 3, num_encoder_feat: int = 32) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            "scale": scale,
            "num_feat": num_feat,
            "num_block": num_block,
            "num_encoder_feat": num_encoder_feat,
        }
        self.scale = scale
        self.encoder = DegradationEncoder(3, num_encoder_feat)
        self.reconstruction = Reconstruction(3 * scale**2, num_feat, num_block, 4 * num_encoder_feat, noisy=False)
        nn.init.zeros_(self.reconstruction.last.weight)
        nn.init.zeros_(self.reconstruction.last.bias)  # type: ignore[arg-type]

    def encode(self, lq: Tensor) -> Tensor:
        """The code of (N, 3, H, W) LR images in [0, 1], (N, 4 * num_encoder_feat)."""
        check_image(lq)
        code: Tensor = self.encoder(lq).mean(dim=(2, 3))
        return code

    represent = encode

    def reconstruct(self, gt: Tensor, code: Tensor) -> Tensor:
        """Degrade HR images.

        Args:
            gt: (N, 3, scale * H, scale * W) in [0, 1].
            code: (N, 4 * num_encoder_feat), or (1, ...) for all.

        Returns:
            (N, 3, H, W), nominally in [0, 1], without noise, not clamped.
        """
        check_image(gt)
        if gt.shape[2] % self.scale or gt.shape[3] % self.scale:
            raise ValueError(f"gt: expected sides that are multiples of {self.scale}, got {gt.shape[3]}x{gt.shape[2]}.")
        if len(code) not in (1, len(gt)):
            raise ValueError(f"code: expected one for each of the {len(gt)} images, or one for all, got {len(code)}.")
        mean = F.avg_pool2d(gt, self.scale)
        return mean + self.reconstruction(F.pixel_unshuffle(gt, self.scale), code.expand(len(gt), -1))

    def forward(self, lq: Tensor, gt: Tensor) -> Tensor:
        """Make (N, 3, H, W) LR images again of their HR images (N, 3, scale * H, scale * W), both in [0, 1]."""
        return self.reconstruct(gt, self.encode(lq))


def _sizes(sizes: Sizes) -> dict[str, Any]:
    num_feat, in_channels = sizes.shape("reconstruction.head.weight")[:2]
    return {
        "type": "LRReconstructor",
        "scale": round((in_channels / 3) ** 0.5),
        "num_feat": num_feat,
        "num_block": sizes.count(r"reconstruction\.blocks\.(\d+)\."),
        "num_encoder_feat": sizes.shape("encoder.layers.0.weight")[0],
    }


METHOD = Method(
    name="LWay",
    paper="CVPR 2024, arXiv 2403.02601",
    networks={},
    helpers={"LRReconstructor": LRReconstructor},
    adaptations={"lway": "lightbsr_model.methods.lway.lway"},
    degraders={"reconstructor": "lightbsr_model.methods.lway.reconstructor_degrader"},
    sizes=_sizes,
)
