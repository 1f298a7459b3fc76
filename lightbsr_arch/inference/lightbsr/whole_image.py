"""What the tiles of one image share: the representation of its degradation, and the averages that channel gates see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightbsr_arch.inference.lightbsr.network import InferenceLightBSR
from lightbsr_arch.inference.parts import parts, sample
from lightbsr_arch.inference.source import Source
from lightbsr_arch.inference.tiles import ALIGNMENT
from lightbsr_arch.layers.codes import Codes

_CONTEXT = 12
"""LR pixels around a part of an image that its representation depends on (11), as a multiple of the encoder's stride."""


@dataclass(frozen=True)
class WholeImage:
    """What a network makes of an image as a whole."""

    representation: Tensor
    """The implicit degradation representation, (1, 4 * num_encoder_feat), shifted where a shift was given."""
    channel_code: Tensor
    """(1, num_channel_code)."""
    feature_means: list[Tensor]
    """One a modulated block."""


def represent(net: InferenceLightBSR, source: Source, tile: int) -> Tensor:
    """The representation of a whole image, computed part by part: exact, as the encoder sees 11 pixels far.

    Args:
        net: The network.
        source: The image.
        tile: Side of the parts, in LR pixels.

    Returns:
        (1, 4 * num_encoder_feat).
    """
    total, cells = torch.zeros(()), 0
    for part in parts(source, tile, _CONTEXT, ALIGNMENT):
        idr = part.inner(net.idr(part.pixels))
        total = total + idr.sum(dim=(2, 3), dtype=torch.float32).cpu()
        cells += idr.shape[2] * idr.shape[3]
    return (total / cells).to(source.device, net.dtype)


def look_at(net: InferenceLightBSR, source: Source, tile: int, shift: Tensor | None = None) -> WholeImage:
    """What the tiles of an image share.

    The averages are those of the whole image where it has no more pixels than a tile, else of as many patches spread over it.

    Args:
        net: The network.
        source: The image.
        tile: Side of a tile, in LR pixels: so much is computed at a time.
        shift: (1, 4 * num_encoder_feat), added to the representation.
    """
    representation = represent(net, source, tile)
    if shift is not None:
        representation = representation + shift.to(net.dtype)
    channel = net.channel_code(representation)
    patches = torch.cat([part.pixels for part in sample(source, tile)])
    idr = net.idr(patches, shift)
    spatial = net.spatial_code(idr, (patches.shape[2], patches.shape[3]))
    codes = Codes(channel.expand(len(patches), -1), spatial)
    return WholeImage(representation, channel, net.feature_means(patches, codes))
