"""DASR: unsupervised degradation representation learning for blind super-resolution (CVPR 2021, arXiv 2104.00416)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.display import printable
from lightbsr_arch.layers.degradation_encoder import DegradationEncoder
from lightbsr_arch.layers.image import check_image
from lightbsr_arch.layers.momentum_contrast import MomentumContrast, Projections
from lightbsr_arch.layers.predicted_convolution import PredictedDepthwiseConv
from lightbsr_arch.layers.residual_sr import DIV2K_MEAN, ResidualSR
from lightbsr_arch.layers.upsampling_network import TailActivation
from lightbsr_arch.methods.base import Method
from lightbsr_arch.methods.published_layout import (
    BLOCK,
    ENDS,
    GROUPS_CONV,
    MOMENTUM_CONTRAST,
    OUR_BLOCK,
    PublishedLayout,
    renames,
    scalar_pointer,
)
from lightbsr_arch.methods.sizes import Sizes

_SLOPE = 0.1


class DegradationAwareConv(nn.Module):
    """Predicted depthwise convolution, LeakyReLU, conv1x1; plus the features gated per channel (section 3.2)."""

    def __init__(self, num_feat: int, reduction: int) -> None:
        super().__init__()
        self.depthwise = PredictedDepthwiseConv(num_feat)
        self.conv = nn.Conv2d(num_feat, num_feat, 1)
        self.gate = nn.Sequential(
            nn.Linear(num_feat, num_feat // reduction, bias=False),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(num_feat // reduction, num_feat, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Modulate (N, num_feat, H, W) features by (N, num_feat) codes."""
        filtered = self.conv(F.leaky_relu(self.depthwise(x, code), _SLOPE))
        return filtered + x * self.gate(code)[:, :, None, None]


class DegradationAwareBlock(nn.Module):
    """Degradation-aware convolution and conv3x3, twice, in one skip connection."""

    def __init__(self, num_feat: int, reduction: int) -> None:
        super().__init__()
        self.aware1 = DegradationAwareConv(num_feat, reduction)
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.aware2 = DegradationAwareConv(num_feat, reduction)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Return (N, num_feat, H, W)."""
        features = F.leaky_relu(self.aware1(x, code), _SLOPE)
        features = F.leaky_relu(self.conv1(features), _SLOPE)
        features = F.leaky_relu(self.aware2(features, code), _SLOPE)
        return x + self.conv2(features)


class DegradationAwareGroup(nn.Module):
    """Blocks and a conv3x3, in one skip connection."""

    def __init__(self, num_block: int, num_feat: int, reduction: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DegradationAwareBlock(num_feat, reduction) for _ in range(num_block))
        self.conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Return (N, num_feat, H, W)."""
        features = x
        for block in self.blocks:
            features = block(features, code)
        return x + self.conv(features)


class DASRNetwork(ResidualSR):
    """The SR network. Computes in 0..255 and subtracts DIV2K's mean colour. Arguments as in :class:`DASR`."""

    def __init__(
        self, scale: int, num_feat: int, num_group: int, num_block: int, num_representation: int, reduction: int
    ) -> None:
        super().__init__()
        self.compress = nn.Linear(num_representation, num_feat, bias=False)
        self.build(
            scale,
            num_feat,
            lambda: (DegradationAwareGroup(num_block, num_feat, reduction) for _ in range(num_group)),
            white=255,
        )

    def forward(self, lq: Tensor, representation: Tensor) -> Tensor:
        """Restore (N, 3, H, W) in [0, 1] under (N, num_representation) to (N, 3, scale * H, scale * W)."""
        return self.restore(lq, F.leaky_relu(self.compress(representation), _SLOPE))


class DASR(nn.Module):
    """Blind super-resolution with a representation learnt by contrast alone, without distillation.

    At the published sizes and x4, 5.84 million parameters are used to restore an image. The key encoder, head and queue of
    the contrast are part of the checkpoint, so that training can continue from it.

    Args:
        scale: 2, 3 or 4.
        num_feat: Number of channels of the SR network's features.
        num_group: Number of groups of the SR network.
        num_block: Number of blocks per group.
        num_encoder_feat: Number of channels of the encoder's first two layers; the representation has four times as many.
        queue_size: Number of keys in the queue.
        momentum: Momentum of the key encoder's moving average.
        reduction: Reduction factor of the channel gate's hidden layer, a divisor of ``num_feat``.
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
        num_group: int = 5,
        num_block: int = 5,
        num_encoder_feat: int = 64,
        queue_size: int = 8192,
        momentum: float = 0.999,
        reduction: int = 8,
        image_skip: bool = False,
        tail_activation: TailActivation = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__()
        if reduction < 1 or num_feat % reduction:
            raise ValueError(f"reduction: expected a divisor of num_feat = {num_feat}, got {reduction}.")
        self.options: dict[str, Any] = {
            "scale": scale,
            "num_feat": num_feat,
            "num_group": num_group,
            "num_block": num_block,
            "num_encoder_feat": num_encoder_feat,
            "queue_size": queue_size,
            "reduction": reduction,
        }
        self.scale = scale
        self.momentum_contrast = MomentumContrast(3, num_encoder_feat, queue_size, momentum)
        self.sr = DASRNetwork(scale, num_feat, num_group, num_block, 4 * num_encoder_feat, reduction)
        self.options.update(self.sr.start_freely(image_skip, tail_activation, init_scale))

    @property
    def encoder(self) -> DegradationEncoder:
        """The query encoder, which is trained by gradient."""
        return self.momentum_contrast.query.encoder

    def encode(self, lq: Tensor) -> Tensor:
        """Estimate the degradation of LR images.

        Args:
            lq: (N, 3, H, W) in [0, 1].

        Returns:
            The representation, (N, 4 * num_encoder_feat).
        """
        check_image(lq)
        return self.encoder(255 * lq).mean(dim=(2, 3))

    represent = encode

    def restore(self, lq: Tensor, representation: Tensor) -> Tensor:
        """Restore (N, 3, H, W) in [0, 1] given :meth:`encode`'s result, to (N, 3, scale * H, scale * W), not clamped."""
        check_image(lq)
        return self.sr(lq, representation)

    def project(self, lq_views: Tensor) -> Projections:
        """Update the key encoder, then project view 0 by the query encoder and view 1 by the key encoder.

        Args:
            lq_views: (N, V, 3, H, W) in [0, 1], V >= 2 views of one image under one degradation.

        Returns:
            ``feature_map`` of view 0 (its average is the representation), and one query and one key per sample.

        Raises:
            ValueError: Fewer than two views.
        """
        if lq_views.dim() != 5 or lq_views.shape[1] < 2:
            raise ValueError(
                f"lq_views: expected (N, V, 3, H, W) with at least 2 views, got {tuple(lq_views.shape)}: set the "
                "data set's `views`."
            )
        views = 255 * lq_views.transpose(0, 1)
        return self.momentum_contrast(views[:1], views[1:2])

    def project_and_restore(self, lq_views: Tensor) -> tuple[Projections, Tensor]:
        """As :meth:`project`, and view 0 restored: a learning pass of the joint phase."""
        projections = self.project(lq_views)
        return projections, self.restore(lq_views[:, 0], projections.feature_map.mean(dim=(2, 3)))

    def forward(self, lq: Tensor) -> Tensor:
        """Super-resolve (N, 3, H, W) in [0, 1] to (N, 3, scale * H, scale * W), not clamped.

        Raises:
            ValueError: ``lq`` is not a float batch of RGB images.
        """
        return self.restore(lq, self.encode(lq))


def _sizes(sizes: Sizes) -> dict[str, Any]:
    options = {"type": "DASR", **sizes.network(), **sizes.start(), **sizes.groups()}
    options["num_encoder_feat"] = sizes.shape("momentum_contrast.query.encoder.layers.0.weight")[0]
    options.update(sizes.queue())
    options["reduction"] = options["num_feat"] // sizes.shape("sr.groups.0.blocks.0.aware1.gate.0.weight")[0]
    return options


def _finish(converted: dict[str, Tensor]) -> dict[str, Tensor]:
    # The published gates are 1x1 convolutions of a single pixel.
    return scalar_pointer({key: value.flatten(1) if ".gate." in key else value for key, value in converted.items()})


_TWO_DASRS = (
    "If it is called DASR: two papers call their network so. The one here is arXiv 2104.00416's; that of arXiv 2203.14216, "
    "which mixes convolution experts, is another network, and is not here."
)


def _other_dasr(state_dict: Mapping[str, Tensor]) -> str:
    """A hint if a checkpoint may belong to the other network called DASR, a mixture of experts; else empty.

    The weight names of that network are not known here. Keys that contain "expert" and stacked (5-D) weights occur in
    mixtures of experts, but also in other networks (video): so the hint names the key that was found and claims no more.
    """
    for key, value in state_dict.items():
        stacked = isinstance(value, Tensor) and value.dim() == 5
        if stacked or "expert" in key:
            found = "has stacked (5-D) weights" if stacked else "has a key that speaks of experts"
            return f" It {found} ({printable(key, 80)}), as a mixture of experts may. {_TWO_DASRS}"
    return ""


METHOD = Method(
    name="DASR",
    paper="CVPR 2021, arXiv 2104.00416",
    networks={"DASR": DASR},
    sizes=_sizes,
    published=PublishedLayout(
        rgb_mean=(255 * DIV2K_MEAN[0], 255 * DIV2K_MEAN[1], 255 * DIV2K_MEAN[2]),
        renames=renames(
            *ENDS,
            (r"G\.compress\.0\.", "sr.compress."),
            (BLOCK + r"da_conv([12])\.kernel\.", OUR_BLOCK + r"aware\3.depthwise.kernel."),
            (BLOCK + r"da_conv([12])\.conv\.", OUR_BLOCK + r"aware\3.conv."),
            (BLOCK + r"da_conv([12])\.ca\.conv_du\.", OUR_BLOCK + r"aware\3.gate."),
            (BLOCK + r"(conv[12])\.", OUR_BLOCK + r"\3."),
            *GROUPS_CONV,
            *MOMENTUM_CONTRAST,
        ),
        finish=_finish,
    ),
    namesake_hint=_other_dasr,
)
