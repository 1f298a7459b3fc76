"""Degradations that are learnt from LR images, and what they all have in common."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods import registry
from lightbsr_model.adaptation.targets import TargetImages
from lightbsr_model.degradation.jpeg import compress_jpeg
from lightbsr_model.degradation.noise import add_gaussian_noise, quantise

MOST_NOISE = 25.0
"""Standard deviation in grey levels of the strongest noise that the reconstructor was trained for."""


class Degrader(Protocol):
    """What blur and downsampling did to LR images."""

    def shrink(self, hr: Tensor, images: Tensor) -> Tensor:
        """Shrink HR images as LR images were, with gradients for the images.

        Args:
            hr: (N, 3, scale * H, scale * W) in [0, 1].
            images: (N,): the numbers of the LR images whose degradation is meant.

        Returns:
            (N, 3, H, W), without noise, not rounded.
        """
        ...


def learn_degrader(name: str, net: Any, targets: TargetImages, seed: int, **arguments: Any) -> Degrader:
    """Learn the degradation of LR images.

    Args:
        name: Under which a method registers it.
        net: The network that is to be adapted, in evaluation mode.
        targets: The LR images.
        seed: Of all that is drawn.
        arguments: Others that it takes.

    Raises:
        OptionError: No such degradation, or it cannot be learnt here.
    """
    make = registry.degrader(name)
    if make is None:
        raise OptionError(f"degrader: no method learns a degradation called {name!r}.")
    found: Degrader = make(net, targets, seed, **arguments)
    return found


def check_degrader(name: str, scale: int, **arguments: Any) -> None:
    """Check that a degradation can be learnt at a scale, where that is known without LR images.

    Args:
        name: Under which a method registers it.
        scale: Of the network that is to be adapted.
        arguments: As for :func:`learn_degrader`.

    Raises:
        OptionError: It cannot: a file that it needs is missing, or of another scale.
    """
    check = getattr(registry.degrader(name), "check", None)
    if check is not None:
        check(scale, **arguments)


@torch.no_grad()
def degrade(
    degrader: Degrader, targets: TargetImages, hr: Tensor, images: Tensor, generator: torch.Generator
) -> Tensor:
    """Degrade HR images as LR images were: shrunk, with noise as strong as theirs, rounded to 8 bits, compressed as they were.

    Args:
        degrader: What shrinks them.
        targets: The LR images, whose noise was estimated, and whose JPEG quality is known.
        hr: (N, 3, scale * H, scale * W) in [0, 1].
        images: (N,): the numbers of the LR images.
        generator: On the CPU.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    low = 255 * degrader.shrink(hr, images)
    levels = torch.tensor([targets.noise[number] for number in images.tolist()])
    if bool((levels > 0).any()):
        noise = torch.zeros(low.shape)
        noise = add_gaussian_noise(noise, levels, generator)
        low = low + noise.to(low)
    result = quantise(low)
    qualities = torch.tensor([targets.jpeg[number] for number in images.tolist()])
    if bool((qualities > 0).any()):
        result = quantise(compress_jpeg(255 * result, qualities.to(result.device)))
    return result
