"""How SR networks end: features are enlarged by pixel shuffles, and a convolution makes an image of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.1
"""Negative slope of the activations that :meth:`UpsamplingNetwork.start_freely` adds."""

TailActivation = Literal["lr", "hr"] | None


def enlarge(lq: Tensor, scale: int) -> Tensor:
    """Bilinear interpolation of (N, C, H, W) to (N, C, scale * H, scale * W)."""
    return F.interpolate(lq, scale_factor=scale, mode="bilinear", align_corners=False)


class PixelShuffleUpsampler(nn.Sequential):
    """conv3x3 + PixelShuffle: twice by 2 for x4, once by 2 or 3 for x2 and x3.

    Args:
        scale: 2, 3 or 4.
        num_feat: Number of channels.
        activated: Put a LeakyReLU after each pixel shuffle.

    Raises:
        ValueError: The scale is not 2, 3 or 4.
    """

    def __init__(self, scale: int, num_feat: int, activated: bool = False) -> None:
        steps = {2: (2,), 3: (3,), 4: (2, 2)}.get(scale)
        if steps is None:
            raise ValueError(f"scale: expected 2, 3 or 4, got {scale!r}.")
        shuffle = ActivatedShuffle if activated else nn.PixelShuffle
        layers: list[nn.Module] = []
        for step in steps:
            layers += [nn.Conv2d(num_feat, step**2 * num_feat, 3, 1, 1), shuffle(step)]
        super().__init__(*layers)


class ActivatedShuffle(nn.PixelShuffle):
    """PixelShuffle, then a LeakyReLU. Its slope is a buffer, so that a checkpoint shows it."""

    slope: Tensor

    def __init__(self, upscale_factor: int) -> None:
        super().__init__(upscale_factor)
        self.register_buffer("slope", torch.tensor([SLOPE]))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C * r^2, H, W) to (N, C, r * H, r * W)."""
        return F.prelu(super().forward(features), self.slope.to(features.dtype))


class UpsamplingNetwork(nn.Module):
    """How an SR network ends, and how it may start: its last layers are named ``tail``, ``upsampler`` and ``last``."""

    image_skip: Tensor | None
    last: nn.Conv2d

    def build_end(self, scale: int, num_feat: int, activated: bool = False) -> None:
        """Create the last layers; arguments as in :class:`PixelShuffleUpsampler`."""
        self.register_buffer("image_skip", None)
        self.tail: nn.Module = nn.Identity()
        self.upsampler = PixelShuffleUpsampler(scale, num_feat, activated)
        self.last = nn.Conv2d(num_feat, 3, 3, 1, 1)

    def image_layers(self) -> Iterable[nn.Module]:
        """The layers that make images of features."""
        return (self.last,)

    def enlarge_features(self, features: Tensor) -> Tensor:
        """(N, num_feat, H, W) to (N, 3, scale * H, scale * W)."""
        enlarged: Tensor = self.last(self.upsampler(self.tail(features)))
        return enlarged

    def start_freely(
        self, image_skip: bool = False, tail_activation: TailActivation = None, init_scale: float | None = None
    ) -> dict[str, Any]:
        """Change a network that was just built into one that a short training gets further with.

        As published, a network starts from the mean colour, upsamples linearly and its blocks hardly take part at first: for
        thousands of iterations it is one linear filter for every blur (docs/short_trainings.md).

        Args:
            image_skip: Add the output to the enlarged LR image instead of what the published network adds it to.
            tail_activation: ``lr`` puts LeakyReLU, conv3x3, LeakyReLU before the upsampler, at LR size; ``hr`` a LeakyReLU
                after each pixel shuffle, which learns a little faster and takes longer to run; None is as published.
            init_scale: Initialise this network's convolutions and linear layers by this factor times Kaiming's normal
                distribution, those that make images by a tenth of it, and biases by 0; None leaves torch's initialisation.
                What starts at zero stays there.

        Returns:
            The first two arguments, which a state dict shows, as part of a network's ``options``.

        Raises:
            ValueError: An argument is out of its range.
        """
        if tail_activation not in (None, "lr", "hr"):
            raise ValueError(f"tail_activation: expected lr, hr or nothing, got {tail_activation!r}.")
        if init_scale is not None and not 0 < init_scale <= 10:
            raise ValueError(f"init_scale: expected a number above 0, at most 10, or nothing, got {init_scale!r}.")
        if image_skip:
            self.image_skip = torch.tensor(True)
        if tail_activation == "lr":
            num_feat = self.last.in_channels
            conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
            self.tail = nn.Sequential(nn.LeakyReLU(SLOPE), conv, nn.LeakyReLU(SLOPE))
        elif tail_activation == "hr":
            for number in range(1, len(self.upsampler), 2):
                factor = cast(nn.PixelShuffle, self.upsampler[number]).upscale_factor
                self.upsampler[number] = ActivatedShuffle(factor)
        if init_scale is not None:
            last = list(self.image_layers())
            for layer in self.modules():
                # On meta, where files are checked, there are no values, and torch would load its compiler for a product.
                if isinstance(layer, nn.Conv2d | nn.Linear) and not layer.weight.is_meta and layer.weight.any():
                    nn.init.kaiming_normal_(layer.weight)
                    layer.weight.data.mul_(0.1 * init_scale if layer in last else init_scale)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)
        return {"image_skip": image_skip, "tail_activation": tail_activation}
