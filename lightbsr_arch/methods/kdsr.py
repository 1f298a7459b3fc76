"""KDSR: knowledge distillation based degradation estimation for blind super-resolution (ICLR 2023, arXiv 2211.16928)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.blind_student import BlindStudent
from lightbsr_arch.layers.image import check_image
from lightbsr_arch.layers.predicted_convolution import PredictedDepthwiseConv
from lightbsr_arch.layers.residual_block import ResidualBlock
from lightbsr_arch.layers.residual_sr import DIV2K_MEAN, ResidualSR
from lightbsr_arch.layers.upsampling_network import TailActivation
from lightbsr_arch.methods.base import Method, Pairing
from lightbsr_arch.methods.published_layout import ENDS, PublishedLayout, renames
from lightbsr_arch.methods.sizes import Sizes

_SLOPE = 0.1


class DegradationEstimator(nn.Module):
    """Maps an image, at full resolution throughout, to the vector that is distilled (section 3.1).

    Args:
        in_channels: 3 for the student, 3 + 3 * scale^2 for the teacher.
        num_feat: Number of channels of the first layers; the vector has four times as many values.
        num_block: Number of residual blocks.
    """

    def __init__(self, in_channels: int, num_feat: int, num_block: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, num_feat, 3, 1, 1),
            nn.LeakyReLU(_SLOPE),
            *(ResidualBlock(num_feat, _SLOPE) for _ in range(num_block)),
            nn.Conv2d(num_feat, 2 * num_feat, 3, 1, 1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(2 * num_feat, 2 * num_feat, 3, 1, 1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(2 * num_feat, 4 * num_feat, 3, 1, 1),
            nn.LeakyReLU(_SLOPE),
        )
        self.mlp = nn.Sequential(
            nn.Linear(4 * num_feat, 4 * num_feat),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(4 * num_feat, 4 * num_feat),
            nn.LeakyReLU(_SLOPE),
        )
        self.compress = nn.Sequential(nn.Linear(4 * num_feat, num_feat), nn.LeakyReLU(_SLOPE))

    def forward(self, x: Tensor) -> Tensor:
        """Estimate D', (N, 4 * num_feat), from (N, in_channels, H, W)."""
        return self.mlp(self.features(x).mean(dim=(2, 3)))


class DynamicBlock(nn.Module):
    """Predicted depthwise convolution, LeakyReLU, conv3x3, with a skip connection (section 3.2)."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.depthwise = PredictedDepthwiseConv(num_feat)
        self.conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Modulate (N, num_feat, H, W) features by (N, num_feat) codes."""
        return x + self.conv(F.leaky_relu(self.depthwise(x, code), _SLOPE))


class KDSRNetwork(ResidualSR):
    """The SR network, which computes in [0, 1] and subtracts DIV2K's mean colour."""

    def __init__(self, scale: int, num_feat: int, num_block: int) -> None:
        super().__init__()
        self.build(scale, num_feat, lambda: (DynamicBlock(num_feat) for _ in range(num_block)), body="blocks")

    def forward(self, lq: Tensor, code: Tensor) -> Tensor:
        """Restore (N, 3, H, W) under (N, num_feat) codes to (N, 3, scale * H, scale * W)."""
        return self.restore(lq, code)


class _Restorer(nn.Module):
    """What student and teacher share; what their estimators see differs."""

    def __init__(
        self,
        scale: int = 4,
        num_feat: int = 64,
        num_block: int = 53,
        num_encoder_block: int = 9,
        image_skip: bool = False,
        tail_activation: TailActivation = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            "scale": scale,
            "num_feat": num_feat,
            "num_block": num_block,
            "num_encoder_block": num_encoder_block,
        }
        self.scale = scale
        self.estimator = DegradationEstimator(self.in_channels(scale), num_feat, num_encoder_block)
        self.sr = KDSRNetwork(scale, num_feat, num_block)
        self.options.update(self.sr.start_freely(image_skip, tail_activation, init_scale))

    @staticmethod
    def in_channels(scale: int) -> int:
        """Number of channels that the estimator sees."""
        raise NotImplementedError

    @property
    def encoder(self) -> nn.Module:
        """What sees the degradation: the estimator's convolutions."""
        return self.estimator

    def restore(self, lq: Tensor, representation: Tensor) -> Tensor:
        """Restore (N, 3, H, W) in [0, 1] under (N, 4 * num_feat) to (N, 3, scale * H, scale * W), not clamped."""
        check_image(lq)
        return self.sr(lq, self.estimator.compress(representation))


class KDSR(_Restorer, BlindStudent):
    """The student, used for inference: estimates the degradation from the LR image alone.

    Args:
        scale: 2, 3 or 4.
        num_feat: Number of channels of the SR network and of the estimator's first layers: 64 in size M, 128 in L.
        num_block: Number of blocks of the SR network: 53 in M, 28 in L.
        num_encoder_block: Number of residual blocks of the estimator: 9 in M, 5 in L.
        image_skip: Add the output to the bilinearly enlarged LR image, instead of the mean colour. For short trainings, as are
            the next two; see :meth:`~lightbsr_arch.layers.residual_sr.ResidualSR.start_freely`.
        tail_activation: ``lr`` puts activations before the upsampler, ``hr`` into it; without, all behind the blocks is linear.
        init_scale: Factor of Kaiming's normal distribution that the SR network's initial weights are drawn from, above 0 and at
            most 10; without, torch's initialisation.

    Raises:
        ValueError: The scale is not 2, 3 or 4.
    """

    @staticmethod
    def in_channels(scale: int) -> int:
        """The LR image's."""
        return 3

    def encode(self, lq: Tensor) -> Tensor:
        """Estimate the degradation from (N, 3, H, W) in [0, 1]: the distilled vector D', (N, 4 * num_feat)."""
        check_image(lq)
        return self.estimator(lq)

    represent = encode


class KDSRTeacher(_Restorer):
    """The teacher: its estimator also sees the HR image, pixel-unshuffled to LR size. Arguments as in :class:`KDSR`."""

    @staticmethod
    def in_channels(scale: int) -> int:
        """The LR image's, and the HR image's folded to its size."""
        return 3 + 3 * scale**2

    def encode(self, lq: Tensor, gt: Tensor) -> Tensor:
        """Estimate the degradation from an LR image and its HR image.

        Args:
            lq: (N, 3, H, W) in [0, 1].
            gt: (N, 3, scale * H, scale * W) in [0, 1].

        Returns:
            D', (N, 4 * num_feat).

        Raises:
            ValueError: The sizes of the images do not match.
        """
        check_image(lq)
        expected = (lq.shape[0], 3, self.scale * lq.shape[2], self.scale * lq.shape[3])
        if tuple(gt.shape) != expected:
            raise ValueError(f"gt: expected {expected}, the LR image's size times the scale, got {tuple(gt.shape)}.")
        return self.estimator(torch.cat([lq, F.pixel_unshuffle(gt, self.scale)], dim=1))

    represent = encode

    def forward(self, lq: Tensor, gt: Tensor) -> Tensor:
        """Super-resolve (N, 3, H, W) in [0, 1] whose HR image is known."""
        return self.restore(lq, self.encode(lq, gt))


def _sizes(sizes: Sizes) -> dict[str, Any]:
    return {
        "type": "KDSR" if sizes.shape("estimator.features.0.weight")[1] == 3 else "KDSRTeacher",
        **sizes.network(),
        **sizes.start(),
        "num_block": sizes.count(r"sr\.blocks\.(\d+)\."),
        "num_encoder_block": sizes.count(r"estimator\.features\.(\d+)\.conv1\."),
    }


METHOD = Method(
    name="KDSR",
    paper="ICLR 2023, arXiv 2211.16928",
    networks={"KDSR": KDSR, "KDSRTeacher": KDSRTeacher},
    sizes=_sizes,
    published=PublishedLayout(
        rgb_mean=DIV2K_MEAN,
        renames=renames(
            *ENDS,
            (r"G\.body\.0\.body\.(\d+)\.da_conv1\.kernel\.", r"sr.blocks.\1.depthwise.kernel."),
            (r"G\.body\.0\.body\.(\d+)\.conv1\.", r"sr.blocks.\1.conv."),
            (r"G\.body\.1\.", "sr.conv."),
            (r"E(?:_st)?\.E\.(\d+)\.body\.0\.", r"estimator.features.\1.conv1."),
            (r"E(?:_st)?\.E\.(\d+)\.body\.2\.", r"estimator.features.\1.conv2."),
            (r"E(?:_st)?\.E\.", "estimator.features."),
            (r"E(?:_st)?\.(mlp|compress)\.", r"estimator.\1."),
        ),
    ),
    distils=Pairing(
        student="KDSR",
        teacher="KDSRTeacher",
        code_sizes=("num_feat",),
        shared=(("sr.", "sr."),),
        fresh_sizes=("num_encoder_block",),
        recipe="options/kdsr/train_m_teacher.yml",
    ),
    runs_by={"KDSRTeacher": "KDSRTeacherModel"},
    needs={"KDSRTeacher": "the GT image"},
)
