"""CdCL: content-decoupled contrastive learning for blind super-resolution (TIP 2025, arXiv 2408.05440)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.codes import Codes
from lightbsr_arch.layers.convnext import ConvNeXtTail, DepthwiseConv2d
from lightbsr_arch.layers.degradation_encoder import DegradationEncoder
from lightbsr_arch.layers.image import check_image, crop
from lightbsr_arch.layers.in_batch_contrast import FastMomentumContrast, PieceProjections
from lightbsr_arch.layers.residual_sr import ResidualSR
from lightbsr_arch.layers.upsampling_network import TailActivation
from lightbsr_arch.methods.base import Method
from lightbsr_arch.methods.published_layout import (
    BLOCK,
    CONVNEXT,
    ENDS,
    GROUPS_CONV,
    OUR_BLOCK,
    PublishedLayout,
    renames,
)
from lightbsr_arch.methods.sizes import Sizes

_RGB_MEAN = (0.4680, 0.4484, 0.4029)
"""The mean colour in [0, 1] that CdCL's network subtracts."""


class CodeConverters(nn.Module):
    """Convert a feature map to a channel code (of its average) and a spatial code (by pixel shuffling)."""

    def __init__(self, map_channels: int, num_channel_code: int) -> None:
        super().__init__()
        if map_channels % 16:
            raise ValueError(
                f"num_encoder_feat: expected a multiple of 4 (PixelShuffle(4) turns 16 channels into one), "
                f"got {map_channels // 4}."
            )
        self.num_spatial_code = map_channels // 16
        self.channel = nn.Linear(map_channels, num_channel_code, bias=False)
        self.spatial = nn.Sequential(
            nn.Conv2d(self.num_spatial_code, 4 * self.num_spatial_code, 3, 1, 1),
            nn.GELU(),
            nn.Conv2d(4 * self.num_spatial_code, self.num_spatial_code, 3, 1, 1),
            nn.GELU(),
        )

    def forward(self, feature_map: Tensor, size: tuple[int, int]) -> Codes:
        """Convert (N, map_channels, ceil(H / 4), ceil(W / 4)) for an LR image of ``size`` (H, W)."""
        height, width = size
        channel = F.gelu(self.channel(feature_map.mean(dim=(2, 3))))
        # Cropped after the convolutions: they see the whole shuffled map.
        return Codes(channel, crop(self.spatial(F.pixel_shuffle(feature_map, 4)), height, width))


class AdaptiveBlock(nn.Module):
    """Channel and spatial modulation, GELU, then a ConvNeXt tail, all in one skip connection."""

    def __init__(self, num_feat: int, num_spatial_code: int, layer_scale_init: float) -> None:
        super().__init__()
        self.channel_gate = nn.Sequential(
            nn.Linear(num_feat, num_feat // 4, bias=False), nn.GELU(), nn.Linear(num_feat // 4, num_feat, bias=False)
        )
        self.spatial_gate = nn.Sequential(
            nn.Conv2d(num_spatial_code, num_spatial_code, 3, 1, 1),
            nn.GELU(),
            nn.Conv2d(num_spatial_code, 1, 3, 1, 1),
        )
        self.conv = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 1), DepthwiseConv2d(num_feat, num_feat, 3, 1, 1, groups=num_feat)
        )
        self.tail = ConvNeXtTail(num_feat, layer_scale_init)

    def forward(self, x: Tensor, codes: Codes) -> Tensor:
        """Return (N, num_feat, H, W)."""
        # The same network is applied to the code and to the average of the features.
        gate = torch.sigmoid(self.channel_gate(codes.channel) + self.channel_gate(x.mean(dim=(2, 3))))
        modulated = self.conv(x * gate[:, :, None, None]) + x * torch.sigmoid(self.spatial_gate(codes.spatial))
        return x + self.tail.residual(F.gelu(modulated))


class AdaptiveGroup(nn.Module):
    """Adaptive blocks, one plain ConvNeXt block and a conv3x3, plus the skip."""

    def __init__(self, num_block: int, num_feat: int, num_spatial_code: int, layer_scale_init: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            AdaptiveBlock(num_feat, num_spatial_code, layer_scale_init) for _ in range(num_block)
        )
        self.plain_block = ConvNeXtTail(num_feat, layer_scale_init)
        self.conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor, codes: Codes) -> Tensor:
        """Return (N, num_feat, H, W)."""
        features = x
        for block in self.blocks:
            features = block(features, codes)
        return x + self.conv(self.plain_block(features))


class CdCLNetwork(ResidualSR):
    """The SR network, in [0, 1] around its mean colour."""

    def __init__(
        self, scale: int, num_feat: int, num_group: int, num_block: int, num_spatial_code: int, layer_scale_init: float
    ) -> None:
        super().__init__()
        self.build(
            scale,
            num_feat,
            lambda: (AdaptiveGroup(num_block, num_feat, num_spatial_code, layer_scale_init) for _ in range(num_group)),
            rgb_mean=_RGB_MEAN,
        )

    def forward(self, lq: Tensor, codes: Codes) -> Tensor:
        """Restore (N, 3, H, W) to (N, 3, scale * H, scale * W)."""
        return self.restore(lq, codes)


class CdCL(nn.Module):
    """Blind super-resolution with codes learnt by contrast between different images under one degradation.

    At the published sizes and x4, 2.91 million parameters are used to restore an image. The projector, predictor and key
    encoder of the contrast are part of the checkpoint too.

    Args:
        scale: 2, 3 or 4.
        num_feat: Number of channels of the SR network's features, and length of the channel code.
        num_group: Number of groups of the SR network.
        num_block: Number of adaptive blocks per group.
        num_encoder_feat: Number of channels of the encoder's first two layers, a multiple of 4; its map has four times as many.
        momentum: Momentum of the key encoder's moving average.
        layer_scale_init: Initial value of the layer scale of every block.
        image_skip: Add the output to the bilinearly enlarged LR image, instead of the mean colour. For short trainings, as are
            the next two; see :meth:`~lightbsr_arch.layers.residual_sr.ResidualSR.start_freely`.
        tail_activation: ``lr`` puts activations before the upsampler, ``hr`` into it; without, all behind the blocks is linear.
        init_scale: Factor of Kaiming's normal distribution that the SR network's initial weights are drawn from, above 0 and at
            most 10; without, torch's initialisation.

    Raises:
        ValueError: A size is invalid; the message names it.
    """

    def __init__(
        self,
        scale: int = 4,
        num_feat: int = 64,
        num_group: int = 6,
        num_block: int = 6,
        num_encoder_feat: int = 64,
        momentum: float = 0.99,
        layer_scale_init: float = 1e-6,
        image_skip: bool = False,
        tail_activation: TailActivation = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            "scale": scale,
            "num_feat": num_feat,
            "num_group": num_group,
            "num_block": num_block,
            "num_encoder_feat": num_encoder_feat,
        }
        self.scale = scale
        self.contrast = FastMomentumContrast(num_encoder_feat, momentum)
        self.converters = CodeConverters(4 * num_encoder_feat, num_feat)
        self.sr = CdCLNetwork(scale, num_feat, num_group, num_block, self.converters.num_spatial_code, layer_scale_init)
        self.options.update(self.sr.start_freely(image_skip, tail_activation, init_scale))

    @property
    def encoder(self) -> DegradationEncoder:
        """The query encoder, which is trained by gradient."""
        return self.contrast.query.encoder

    def encode(self, lq: Tensor) -> Codes:
        """Estimate the degradation of LR images.

        Args:
            lq: (N, 3, H, W) in [0, 1].

        Returns:
            ``codes.channel`` (N, num_feat) and ``codes.spatial`` (N, num_encoder_feat / 4, H, W).
        """
        check_image(lq)
        return self.converters(self.encoder(lq), (lq.shape[2], lq.shape[3]))

    def encode_shifted(self, lq: Tensor, shift: Tensor) -> Codes:
        """As :meth:`encode`, with (N, 4 * num_encoder_feat) added to the representation: at every pixel of the map."""
        check_image(lq)
        return self.converters(self.encoder(lq) + shift[:, :, None, None], (lq.shape[2], lq.shape[3]))

    def represent(self, lq: Tensor) -> Tensor:
        """The average of the encoder's map, (N, 4 * num_encoder_feat), which the contrast is applied to."""
        check_image(lq)
        return self.encoder(lq).mean(dim=(2, 3))

    def restore(self, lq: Tensor, codes: Codes) -> Tensor:
        """Restore (N, 3, H, W) in [0, 1] given :meth:`encode`'s result, to (N, 3, scale * H, scale * W), not clamped."""
        check_image(lq)
        return self.sr(lq, codes)

    def project(self, lq_views: Tensor) -> PieceProjections:
        """Update the key encoder and project (N, V, 3, H, W) views in [0, 1] for the contrast."""
        if lq_views.dim() != 5:
            raise ValueError(f"lq_views: expected (N, V, 3, H, W), got {tuple(lq_views.shape)}.")
        return self.contrast(lq_views.transpose(0, 1))

    def project_and_restore(self, lq_views: Tensor) -> tuple[PieceProjections, Tensor]:
        """As :meth:`project`, and view 0 restored: a learning pass of the joint phase."""
        return self.project(lq_views), self(lq_views[:, 0])

    def forward(self, lq: Tensor) -> Tensor:
        """Super-resolve (N, 3, H, W) in [0, 1] to (N, 3, scale * H, scale * W), not clamped."""
        return self.restore(lq, self.encode(lq))


def _sizes(sizes: Sizes) -> dict[str, Any]:
    options = {"type": "CdCL", **sizes.network(), **sizes.start(), **sizes.groups()}
    options["num_encoder_feat"] = sizes.shape("contrast.query.encoder.layers.0.weight")[0]
    return options


def _encoder_and_projector(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return (
        (rf"E\.{theirs}\.0\.E\.", f"contrast.{ours}.encoder.layers."),
        (rf"E\.{theirs}\.1\.linear1\.", f"contrast.{ours}.projector.0."),
        (rf"E\.{theirs}\.1\.bn1\.", f"contrast.{ours}.projector.1."),
        (rf"E\.{theirs}\.1\.linear2\.", f"contrast.{ours}.projector.3."),
        (rf"E\.{theirs}\.1\.bn2\.", f"contrast.{ours}.projector.4."),
    )


METHOD = Method(
    name="CdCL",
    paper="TIP 2025, arXiv 2408.05440",
    networks={"CdCL": CdCL},
    sizes=_sizes,
    published=PublishedLayout(
        rgb_mean=_RGB_MEAN,
        renames=renames(
            *ENDS,
            (r"G\.compress\.0\.", "converters.channel."),
            (r"G\.afterpixshuffle\.", "converters.spatial."),
            (BLOCK + r"da_conv\.loc\.avgafter\.", OUR_BLOCK + "channel_gate."),
            (BLOCK + r"da_conv\.sig1\.", OUR_BLOCK + "spatial_gate."),
            (BLOCK + r"da_conv\.conv\.", OUR_BLOCK + "conv."),
            *CONVNEXT,
            *GROUPS_CONV,
            *_encoder_and_projector("encoder", "query"),
            *_encoder_and_projector("encoder_ema", "key"),
            (r"E\.predictor\.linear1\.", "contrast.predictor.0."),
            (r"E\.predictor\.bn1\.", "contrast.predictor.1."),
            (r"E\.predictor\.layer2\.", "contrast.predictor.3."),
        ),
        modulation="channel_gate.0.weight",
    ),
)
