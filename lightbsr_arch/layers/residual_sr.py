"""The body of all SR networks: a conv3x3, blocks, a conv3x3, a long skip connection, upsampling, a conv3x3."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""DIV2K's mean colour in [0, 1], which most of the networks subtract."""

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


class ResidualSR(UpsamplingNetwork):
    """An SR network that subtracts the mean colour, and whose blocks are given the degradation's code.

    A subclass calls :meth:`build` in its constructor, after any layers that come before the body, and passes the code of its
    blocks in :meth:`forward`. Weights are named ``head``, ``<body>.<number>``, ``conv``, ``upsampler``, ``last``.
    """

    rgb_mean: Tensor

    def build(
        self,
        scale: int,
        num_feat: int,
        blocks: Callable[[], Iterable[nn.Module]],
        body: str = "groups",
        rgb_mean: tuple[float, float, float] = DIV2K_MEAN,
        white: int = 1,
    ) -> None:
        """Create the layers, in the order of their use.

        Args:
            scale: 2, 3 or 4.
            num_feat: Number of channels of the features.
            blocks: Creates the blocks; each takes features (N, num_feat, H, W) and a code.
            body: Name of the list of blocks.
            rgb_mean: Mean colour in [0, 1].
            white: The value of white inside the network: 1, or 255 if it computes in 0..255.

        Raises:
            ValueError: The scale is not 2, 3 or 4.
        """
        self.scale, self.white, self.body = scale, white, body
        # A constant of the method, not stored in checkpoints.
        # Multiplied on the CPU: on meta, where files are checked, torch would load its compiler for a product (seconds).
        mean = (white * torch.tensor(rgb_mean, device="cpu")).tolist()
        self.register_buffer("rgb_mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.head = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.add_module(body, nn.ModuleList(blocks()))
        self.conv = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.build_end(scale, num_feat)

    def restore(self, lq: Tensor, code: Any) -> Tensor:
        """Restore (N, 3, H, W) in [0, 1] under a code to (N, 3, scale * H, scale * W), not clamped."""
        shallow = self.head((lq if self.white == 1 else self.white * lq) - self.rgb_mean)
        features = self.conv(self.run_blocks(shallow, code)) + shallow
        restored = self.enlarge_features(features)
        if self.image_skip is None:
            restored = restored + self.rgb_mean
        restored = restored if self.white == 1 else restored / self.white
        return restored if self.image_skip is None else restored + enlarge(lq, self.scale)

    def run_blocks(self, features: Tensor, code: Any) -> Tensor:
        """Pass features through the blocks, (N, num_feat, H, W)."""
        for block in self.get_submodule(self.body).children():
            features = block(features, code)
        return features
