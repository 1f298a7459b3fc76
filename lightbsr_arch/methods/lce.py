"""After LCE: learning correction errors via frequency-self attention (arXiv 2403.07390).

Of the paper only the abstract was available: a light corrector turns the LR image into one as if it had been downsampled by
bicubic interpolation alone, and an SR network of window attention and frequency attention restores from the LR image and the
corrected one together, since corrections err. All sizes here are this project's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.enlargement import bicubic_enlarge
from lightbsr_arch.layers.frequency_attention import FrequencyFeatures, FrequencySpatialAttention
from lightbsr_arch.layers.image import check_image, crop
from lightbsr_arch.layers.upsampling_network import UpsamplingNetwork
from lightbsr_arch.layers.window_attention import WindowAttention, pad_to_multiple, shifted_window_mask
from lightbsr_arch.methods.base import Method
from lightbsr_arch.methods.sizes import Sizes

_SLOPE = 0.1
_BRANCH_START = 0.1
"""Factor of the initial weights that end a residual block of the corrector."""


def _start_at_zero(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class CorrectorBlock(nn.Module):
    """conv3x3, ReLU, conv3x3, plus the skip."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        # A share of torch's own start, which is uniform too.
        limit = _BRANCH_START * (9 * num_feat) ** -0.5
        for values in self.conv2.parameters():
            nn.init.uniform_(values, -limit, limit)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, num_feat, H, W)."""
        return x + self.conv2(F.relu(self.conv1(x)))


class Corrector(nn.Module):
    """Adds to an LR image what makes it one of bicubic downsampling alone; a new one changes nothing."""

    def __init__(self, num_feat: int, num_block: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.blocks = nn.Sequential(*(CorrectorBlock(num_feat) for _ in range(num_block)))
        self.last = _start_at_zero(nn.Conv2d(num_feat, 3, 3, 1, 1))

    def forward(self, lq: Tensor) -> Tensor:
        """Correct (N, 3, H, W) in [0, 1]; the result is not clamped."""
        features = self.blocks(F.leaky_relu(self.head(lq), _SLOPE))
        correction: Tensor = self.last(features)
        return lq + correction


class FrequencySelfAttentionBlock(nn.Module):
    """Window attention, frequency spatial attention and an MLP, each behind a LayerNorm and in a skip connection."""

    def __init__(self, num_feat: int, num_head: int, window_size: int, shift: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(num_feat)
        self.window = WindowAttention(num_feat, num_head, window_size, shift)
        self.norm2 = nn.LayerNorm(num_feat)
        self.frequency = FrequencySpatialAttention(num_feat)
        self.norm3 = nn.LayerNorm(num_feat)
        self.mlp = nn.Sequential(nn.Linear(num_feat, 2 * num_feat), nn.GELU(), nn.Linear(2 * num_feat, num_feat))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return (N, H, W, num_feat); ``mask`` as in :class:`WindowAttention`."""
        x = x + self.window(self.norm1(x), mask)
        x = x + self.frequency(self.norm2(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.mlp(self.norm3(x))


class FrequencySelfAttentionGroup(nn.Module):
    """The corrected image's frequency features join in; then blocks and a conv3x3, in one skip connection."""

    def __init__(self, num_block: int, num_feat: int, num_head: int, window_size: int) -> None:
        super().__init__()
        self.guide = _start_at_zero(nn.Conv2d(num_feat, num_feat, 1))
        self.blocks = nn.ModuleList(
            FrequencySelfAttentionBlock(num_feat, num_head, window_size, window_size // 2 * (number % 2))
            for number in range(num_block)
        )
        self.conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor, frequency: Tensor, mask: Tensor) -> Tensor:
        """Return (N, num_feat, H, W); ``frequency`` has that shape too."""
        features = (x + self.guide(frequency)).permute(0, 2, 3, 1)
        for block in self.blocks:
            features = block(features, mask)
        return x + self.conv(features.permute(0, 3, 1, 2))


class LCENetwork(UpsamplingNetwork):
    """The SR network, in [0, 1]. Arguments as in :class:`LCE`."""

    def __init__(
        self, scale: int, num_feat: int, num_group: int, num_block: int, num_head: int, window_size: int
    ) -> None:
        super().__init__()
        self.scale, self.window_size = scale, window_size
        self.head = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.frequency = FrequencyFeatures(num_feat)
        self.merge = nn.Conv2d(2 * num_feat, num_feat, 1)
        self.groups = nn.ModuleList(
            FrequencySelfAttentionGroup(num_block, num_feat, num_head, window_size) for _ in range(num_group)
        )
        self.conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.build_end(scale, num_feat, activated=True)

    def forward(self, lq: Tensor, clr: Tensor) -> Tensor:
        """Restore (N, 3, H, W) with the corrected image of that shape to (N, 3, scale * H, scale * W)."""
        height, width = lq.shape[2:]
        frequency = self.frequency(pad_to_multiple(clr, self.window_size))
        shallow = self.merge(torch.cat([self.head(pad_to_multiple(lq, self.window_size)), frequency], dim=1))
        mask = shifted_window_mask(shallow, self.window_size, self.window_size // 2)
        features = shallow
        for group in self.groups:
            features = group(features, frequency, mask)
        restored = self.enlarge_features(shallow + self.conv(features))
        return crop(restored, self.scale * height, self.scale * width) + bicubic_enlarge(clr, self.scale)


class LCE(nn.Module):
    """Blind super-resolution from the LR image and a corrected one, after LCE.

    At the sizes of this project's recipe and x4 it has 1.45 million parameters. It estimates no degradation: there is no
    ``represent``. Attention to frequencies sees the image as a whole, so that tiles restore slightly differently.

    Args:
        scale: 2, 3 or 4.
        num_feat: Number of channels of the SR network's features.
        num_group: Number of groups of the SR network.
        num_block: Number of blocks per group; every second one attends in shifted windows.
        num_head: Number of heads of the window attention, a divisor of ``num_feat``.
        window_size: Side of a window in LR pixels, an even number; images are padded to multiples of it.
        num_corrector_feat: Number of channels of the corrector's features.
        num_corrector_block: Number of residual blocks of the corrector.
        correct: Have a corrector; without one the LR image takes the place of the corrected one.
        init_scale: Factor of Kaiming's normal distribution that the SR network's initial weights are drawn from, above 0 and at
            most 10; None is torch's own initialisation. For short trainings (docs/short_trainings.md); an image skip and
            activations in the upsampler, which go with it there, this network has always.

    Raises:
        ValueError: An argument is invalid; the message names it.
    """

    def __init__(
        self,
        scale: int = 4,
        num_feat: int = 60,
        num_group: int = 4,
        num_block: int = 6,
        num_head: int = 6,
        window_size: int = 8,
        num_corrector_feat: int = 32,
        num_corrector_block: int = 6,
        correct: bool = True,
        init_scale: float | None = None,
    ) -> None:
        super().__init__()
        if window_size < 2 or window_size % 2:
            raise ValueError(f"window_size: expected an even number >= 2, got {window_size}.")
        self.options: dict[str, Any] = {
            "scale": scale,
            "num_feat": num_feat,
            "num_group": num_group,
            "num_block": num_block,
            "num_head": num_head,
            "window_size": window_size,
            "correct": correct,
        }
        self.scale, self.window_size = scale, window_size
        self.corrector: Corrector | None = None
        if correct:
            self.options.update(num_corrector_feat=num_corrector_feat, num_corrector_block=num_corrector_block)
            self.corrector = Corrector(num_corrector_feat, num_corrector_block)
        self.sr = LCENetwork(scale, num_feat, num_group, num_block, num_head, window_size)
        self.sr.start_freely(init_scale=init_scale)

    def correct_lq(self, lq: Tensor) -> Tensor:
        """Correct LR images (N, 3, H, W) in [0, 1]: as if they had been downsampled by bicubic interpolation alone.

        Returns:
            A tensor of the same shape, not clamped; the images themselves where there is no corrector.
        """
        check_image(lq)
        return lq if self.corrector is None else self.corrector(lq)

    def restore(self, lq: Tensor, clr: Tensor) -> Tensor:
        """Restore (N, 3, H, W) in [0, 1] given :meth:`correct_lq`'s result, to (N, 3, scale * H, scale * W), not clamped.

        Raises:
            ValueError: The two differ in shape.
        """
        check_image(lq)
        if lq.shape != clr.shape:
            raise ValueError(f"clr: expected the shape of lq, {tuple(lq.shape)}, got {tuple(clr.shape)}.")
        return self.sr(lq, clr)

    def correct_and_restore(self, lq: Tensor) -> tuple[Tensor, Tensor]:
        """The corrected images and the restored ones: a learning pass of the joint phase."""
        clr = self.correct_lq(lq)
        return clr, self.restore(lq, clr)

    def forward(self, lq: Tensor) -> Tensor:
        """Super-resolve (N, 3, H, W) in [0, 1] to (N, 3, scale * H, scale * W), not clamped."""
        return self.restore(lq, self.correct_lq(lq))


def _sizes(sizes: Sizes) -> dict[str, Any]:
    places, num_head = sizes.shape("sr.groups.0.blocks.0.window.bias")
    options = {
        "type": "LCE",
        **sizes.network(),
        **sizes.groups(),
        "num_head": num_head,
        "window_size": (round(places**0.5) + 1) // 2,
        "correct": sizes.has("corrector."),
    }
    if options["correct"]:
        options["num_corrector_feat"] = sizes.shape("corrector.head.weight")[0]
        options["num_corrector_block"] = sizes.count(r"corrector\.blocks\.(\d+)\.")
    return options


METHOD = Method(name="LCE (after the paper)", paper="arXiv 2403.07390", networks={"LCE": LCE}, sizes=_sizes)
