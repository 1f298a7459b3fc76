"""MRDA: meta-learning based degradation representation for blind super-resolution (TIP 2023, arXiv 2207.13963).

A small network restores images of one degradation better after a few gradient steps on it. So adapted, its features tell the
degradation: a teacher restores by them, and a student learns the teacher's code from the LR image alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lightbsr_arch.layers.blind_student import BlindStudent
from lightbsr_arch.layers.image import check_image
from lightbsr_arch.layers.inner_steps import Average, Weights
from lightbsr_arch.layers.meta_learner import RATES, MetaLearner
from lightbsr_arch.layers.predicted_convolution import PredictedDepthwiseConv
from lightbsr_arch.layers.residual_sr import DIV2K_MEAN, ResidualSR
from lightbsr_arch.layers.upsampling_network import PixelShuffleUpsampler, TailActivation
from lightbsr_arch.methods.base import Method, Pairing
from lightbsr_arch.methods.published_layout import ENDS, PublishedLayout, renames
from lightbsr_arch.methods.sizes import Sizes

_SLOPE = 0.1

_FEATURES = "feature_net."


def _conv_act(before: int, after: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, 1), nn.LeakyReLU(_SLOPE)]


class MetaLearningNetwork(MetaLearner):
    """The network that adapts: it adds a residue to the LR image that bicubic interpolation enlarged.

    Args:
        scale: 2, 3 or 4.
        num_feat: Number of channels of the features.

    Raises:
        ValueError: The scale is not 2, 3 or 4.
    """

    def __init__(self, scale: int = 4, num_feat: int = 128) -> None:
        super().__init__()
        self.options: dict[str, Any] = {"scale": scale, "num_feat": num_feat}
        self.scale = scale
        body = [layer for _ in range(6) for layer in _conv_act(num_feat, num_feat)]
        self.feature_net = nn.Sequential()
        self.feature_net.add_module("head", nn.Sequential(*_conv_act(3, num_feat)))
        self.feature_net.add_module("body", nn.Sequential(*body))
        self.upsampler = PixelShuffleUpsampler(scale, num_feat)
        self.last = nn.Conv2d(num_feat, 3, 3, 1, 1)

    def features(self, lq: Tensor, weights: Weights | None = None) -> Tensor:
        """The feature of (N, 3, H, W) in [0, 1], (N, num_feat, H, W), with these weights instead of its own."""
        check_image(lq)
        if weights is None:
            feature: Tensor = self.feature_net(lq)
        else:
            own = {key.removeprefix(_FEATURES): value for key, value in weights.items() if key.startswith(_FEATURES)}
            feature = functional_call(self.feature_net, own, (lq,))
        return feature

    def is_of_tail(self, name: str) -> bool:
        """Whether a weight lies behind the feature."""
        return not name.startswith(_FEATURES)

    def forward(self, lq: Tensor, upsampled: Tensor | None = None) -> Tensor:
        """Super-resolve (N, 3, H, W) in [0, 1] to (N, 3, scale * H, scale * W), not clamped.

        Args:
            lq: The LR images.
            upsampled: What the residue is added to; None is what :meth:`enlarge` gives.
        """
        residue: Tensor = self.last(self.upsampler(self.features(lq)))
        return residue + (self.enlarge(lq) if upsampled is None else upsampled)


class DegradationExtraction(nn.Module):
    """Six conv3x3 + LeakyReLU(0.1), two of them with stride 2, an average over the image and two linear layers: the code.

    Args:
        in_channels: 3 for the student, the width of the meta-learning network's features for the teacher.
        num_feat: Number of channels of the first two layers; the code has four times as many values.
    """

    def __init__(self, in_channels: int, num_feat: int) -> None:
        super().__init__()
        widths = (in_channels, num_feat, num_feat, 2 * num_feat, 2 * num_feat, 4 * num_feat, 4 * num_feat)
        strides = (1, 1, 2, 1, 2, 1)
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths, widths[1:], strides, strict=False):
            layers += _conv_act(before, after, stride)
        self.features = nn.Sequential(*layers)
        code = 4 * num_feat
        self.mlp = nn.Sequential(nn.Linear(code, code), nn.LeakyReLU(_SLOPE), nn.Linear(code, code))

    def forward(self, x: Tensor) -> Tensor:
        """Extract the code, (N, 4 * num_feat), from (N, in_channels, H, W)."""
        code: Tensor = self.mlp(self.features(x).mean(dim=(2, 3)))
        return code


class DegradationAttention(nn.Module):
    """Depthwise convolution predicted from the code, gated per pixel, with a skip connection."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.depthwise = PredictedDepthwiseConv(num_feat)
        self.gate = nn.Conv2d(num_feat, 1, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Modulate (N, num_feat, H, W) features by (N, num_feat) codes."""
        return F.leaky_relu(self.depthwise(x, code), _SLOPE) * torch.sigmoid(self.gate(x)) + x


class AttentionBlock(nn.Module):
    """Twice attention, LeakyReLU(0.1) and conv3x3, with a LeakyReLU between and a skip connection."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.attention1 = DegradationAttention(num_feat)
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.attention2 = DegradationAttention(num_feat)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Modulate (N, num_feat, H, W) features by (N, num_feat) codes."""
        features = F.leaky_relu(self.conv1(F.leaky_relu(self.attention1(x, code), _SLOPE)), _SLOPE)
        return x + self.conv2(F.leaky_relu(self.attention2(features, code), _SLOPE))


class DegradationAwareNetwork(ResidualSR):
    """The SR network, which computes in [0, 1] and subtracts DIV2K's mean colour."""

    def __init__(self, scale: int, num_feat: int, num_block: int, code_length: int) -> None:
        super().__init__()
        self.code_layer = nn.Linear(code_length, num_feat, bias=False)
        self.build(scale, num_feat, lambda: (AttentionBlock(num_feat) for _ in range(num_block)), body="blocks")

    def forward(self, lq: Tensor, code: Tensor) -> Tensor:
        """Restore (N, 3, H, W) under (N, code_length) codes to (N, 3, scale * H, scale * W)."""
        return self.restore(lq, F.leaky_relu(self.code_layer(code), _SLOPE))


class _Restorer(nn.Module):
    """What student and teacher share; what their codes are extracted from differs."""

    def _build(
        self,
        in_channels: int,
        sizes: dict[str, int],
        image_skip: bool,
        tail_activation: TailActivation,
        init_scale: float | None,
    ) -> None:
        self.options: dict[str, Any] = dict(sizes)
        self.scale = sizes["scale"]
        width = sizes["num_encoder_feat"]
        self.extractor = DegradationExtraction(in_channels, width)
        self.sr = DegradationAwareNetwork(self.scale, sizes["num_feat"], sizes["num_block"], 4 * width)
        self.options.update(self.sr.start_freely(image_skip, tail_activation, init_scale))

    def restore(self, lq: Tensor, code: Tensor) -> Tensor:
        """Restore (N, 3, H, W) in [0, 1] under (N, 4 * num_encoder_feat) to (N, 3, scale * H, scale * W), not clamped."""
        check_image(lq)
        return self.sr(lq, code)


class MRDA(_Restorer, BlindStudent):
    """The student, used for inference: extracts the code from the LR image alone.

    Args:
        scale: 2, 3 or 4.
        num_feat: Number of channels of the SR network.
        num_block: Number of blocks of the SR network.
        num_encoder_feat: Number of channels of the extractor's first layers; the code has four times as many values.
        image_skip: Add the output to the bilinearly enlarged LR image, instead of the mean colour. For short trainings, as are
            the next two; see :meth:`~lightbsr_arch.layers.residual_sr.ResidualSR.start_freely`.
        tail_activation: ``lr`` puts activations before the upsampler, ``hr`` into it; without, all behind the blocks is linear.
        init_scale: Factor of Kaiming's normal distribution that the SR network's initial weights are drawn from, above 0 and at
            most 10; without, torch's initialisation.

    Raises:
        ValueError: The scale is not 2, 3 or 4.
    """

    def __init__(
        self,
        scale: int = 4,
        num_feat: int = 64,
        num_block: int = 27,
        num_encoder_feat: int = 64,
        image_skip: bool = False,
        tail_activation: TailActivation = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__()
        sizes = {
            "scale": scale,
            "num_feat": num_feat,
            "num_block": num_block,
            "num_encoder_feat": num_encoder_feat,
        }
        self._build(3, sizes, image_skip, tail_activation, init_scale)

    def encode(self, lq: Tensor) -> Tensor:
        """Extract the distilled code from (N, 3, H, W) in [0, 1]: (N, 4 * num_encoder_feat)."""
        check_image(lq)
        return self.extractor(lq)

    represent = encode


class MRDATeacher(_Restorer):
    """The teacher: extracts the code from the feature of a meta-learning network that is adapted to the HR image.

    The meta-learning network, ``meta``, is frozen, and a part of the teacher's checkpoints.

    Args:
        scale, num_feat, num_block, num_encoder_feat, image_skip, tail_activation, init_scale: As in :class:`MRDA`.
        num_meta_feat: Number of channels of the meta-learning network's features.

    Raises:
        ValueError: The scale is not 2, 3 or 4.
    """

    def __init__(
        self,
        scale: int = 4,
        num_feat: int = 64,
        num_block: int = 27,
        num_encoder_feat: int = 64,
        num_meta_feat: int = 128,
        image_skip: bool = False,
        tail_activation: TailActivation = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__()
        sizes = {
            "scale": scale,
            "num_feat": num_feat,
            "num_block": num_block,
            "num_encoder_feat": num_encoder_feat,
            "num_meta_feat": num_meta_feat,
        }
        self._build(num_meta_feat, sizes, image_skip, tail_activation, init_scale)
        self.meta = MetaLearningNetwork(scale, num_meta_feat).requires_grad_(False)

    def adapt(
        self,
        lq: Tensor,
        gt: Tensor,
        upsampled: Tensor | None = None,
        tail: bool = True,
        rates: Sequence[float] = RATES,
        average: Average | None = None,
    ) -> Tensor:
        """The feature of the meta-learning network after adapting to a batch of one degradation, (N, num_meta_feat, H, W).

        Arguments as in :meth:`MetaLearningNetwork.adapt`.

        Raises:
            ValueError: The sizes of the images do not match.
        """
        adapted = self.meta.adapt(lq, gt, rates, upsampled, tail, average)
        with torch.no_grad(), torch.autocast(lq.device.type, enabled=False):
            return self.meta.features(lq.float(), adapted.weights)

    def encode_feature(self, feature: Tensor) -> Tensor:
        """Extract the code, (N, 4 * num_encoder_feat), from a feature of the meta-learning network."""
        return self.extractor(feature)

    def encode(self, lq: Tensor, gt: Tensor) -> Tensor:
        """Extract the code of (N, 3, H, W) in [0, 1] after adapting, all samples together, to their HR images."""
        return self.encode_feature(self.adapt(lq, gt))

    represent = encode

    def restore_by_feature(self, lq: Tensor, feature: Tensor) -> Tensor:
        """Super-resolve (N, 3, H, W) under what :meth:`adapt` returns: the learning pass."""
        return self.restore(lq, self.encode_feature(feature))

    def forward(self, lq: Tensor, gt: Tensor) -> Tensor:
        """Super-resolve (N, 3, H, W) in [0, 1] whose HR image is known."""
        return self.restore(lq, self.encode(lq, gt))


def _sizes(sizes: Sizes) -> dict[str, Any]:
    if sizes.has(_FEATURES):
        num_feat = sizes.shape(f"{_FEATURES}head.0.weight")[0]
        return {"type": "MetaLearningNetwork", "scale": sizes.scale(num_feat, ""), "num_feat": num_feat}
    width, channels = sizes.shape("extractor.features.0.weight")[:2]
    common = {
        **sizes.network(),
        **sizes.start(),
        "num_block": sizes.count(r"sr\.blocks\.(\d+)\."),
        "num_encoder_feat": width,
    }
    if channels == 3 and not sizes.has("meta."):
        return {"type": "MRDA", **common}
    return {"type": "MRDATeacher", **common, "num_meta_feat": channels}


_RDA = r"G\.body\.0\.body\.(\d+)\.da_conv(\d)\."

METHOD = Method(
    name="MRDA",
    paper="TIP 2023, arXiv 2207.13963",
    networks={"MRDA": MRDA, "MRDATeacher": MRDATeacher, "MetaLearningNetwork": MetaLearningNetwork},
    sizes=_sizes,
    published=PublishedLayout(
        rgb_mean=DIV2K_MEAN,
        renames=renames(
            *ENDS,
            (r"G\.compress\.0\.", "sr.code_layer."),
            (_RDA + r"kernel\.", r"sr.blocks.\1.attention\2.depthwise.kernel."),
            (_RDA + r"conv\.", r"sr.blocks.\1.attention\2.gate."),
            (r"G\.body\.0\.body\.(\d+)\.conv(\d)\.", r"sr.blocks.\1.conv\2."),
            (r"G\.body\.1\.", "sr.conv."),
            (r"E(?:_st)?\.E\.", "extractor.features."),
            (r"E(?:_st)?\.mlp\.", "extractor.mlp."),
            (r"(head|body)\.", rf"{_FEATURES}\1."),
            (r"tail\.0\.", "upsampler."),
            (r"tail\.1\.", "last."),
        ),
        apart=("meta.",),
    ),
    distils=Pairing(
        student="MRDA",
        teacher="MRDATeacher",
        code_sizes=("num_encoder_feat",),
        shared=(("sr.", "sr."),),
        recipe="options/mrda/train_teacher.yml",
        parts=("meta",),
    ),
    runs_by={"MRDATeacher": "MRDATeacherModel", "MetaLearningNetwork": "MRDABicubicModel"},
    needs={"MRDATeacher": "the GT image", "MetaLearningNetwork": "the GT image, to which it adapts,"},
)
