"""RBSR: recurrent burst super-resolution (PRCV 2023, arXiv 2306.17595)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.camera import colours_of_packed
from lightbsr_arch.layers.deformable_alignment import PER_GROUP, DeformableAlignment
from lightbsr_arch.layers.optical_flow import SpyNet
from lightbsr_arch.layers.registration import AffineMotion, register_affine
from lightbsr_arch.layers.residual_block import ResidualBlock
from lightbsr_arch.methods.base import Method
from lightbsr_arch.methods.published_layout import PublishedLayout, renames
from lightbsr_arch.methods.sizes import Sizes

SCALE = 8
"""Of the sides of a packed frame; of the Bayer frame that it is packed from, 4."""
FLOW_NETS = ("spynet", "affine")


class Trunk(nn.Module):
    """A convolution and residual blocks."""

    def __init__(self, num_in: int, num_feat: int, num_block: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(num_in, num_feat, 3, 1, 1)
        self.blocks = nn.Sequential(*(_block(num_feat) for _ in range(num_block)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_in, h, w) to (N, num_feat, h, w)."""
        features: Tensor = self.blocks(F.leaky_relu(self.first(x), 0.1))
        return features


class Shuffle(nn.Module):
    """A convolution and a pixel shuffle, which double the sides."""

    def __init__(self, num_in: int, num_feat: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_in, 4 * num_feat, 3, 1, 1)
        _start(self.conv, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_in, h, w) to (N, num_feat, 2h, 2w)."""
        return F.pixel_shuffle(self.conv(x), 2)


class RBSR(nn.Module):
    """Makes one image of a burst of RAW frames.

    A burst is (N, T, 4, h, w), T >= 1: packed R, Gr, Gb, B of RGGB frames of 2h x 2w, linear, in [0, 1]; frame 0 is the base,
    whose place the image has: (N, 3, 8h, 8w), linear camera RGB, not clamped.

    Args:
        num_feat: Number of channels.
        num_feat_block: Number of residual blocks that look at each frame.
        num_block: Number of residual blocks of the recurrence, which take up one frame after the other.
        num_reconstruction_block: Number of residual blocks that make the image of a state.
        deform_groups: Groups of channels with offsets of their own; a divisor of ``num_feat``.
        max_residue: Largest correction of the flow, in packed pixels.
        flow_net: ``affine`` registers the frames without weights (:mod:`lightbsr_arch.layers.registration`); ``spynet``, as
            published, has weights that must be learnt. A flow that is passed replaces either.

    Raises:
        ValueError: An unknown ``flow_net``, or groups that do not divide the channels.
    """

    def __init__(
        self,
        num_feat: int = 64,
        num_feat_block: int = 5,
        num_block: int = 40,
        num_reconstruction_block: int = 5,
        deform_groups: int = 8,
        max_residue: float = 10.0,
        flow_net: str = "affine",
    ) -> None:
        super().__init__()
        if flow_net not in FLOW_NETS:
            raise ValueError(f"flow_net: expected {' or '.join(FLOW_NETS)}, got {flow_net!r}.")
        self.options: dict[str, Any] = {
            **{"num_feat": num_feat, "num_feat_block": num_feat_block, "num_block": num_block},
            **{"num_reconstruction_block": num_reconstruction_block, "deform_groups": deform_groups},
            **{"max_residue": float(max_residue), "flow_net": flow_net},
        }
        self.scale = SCALE
        self.flow_net = SpyNet() if flow_net == "spynet" else None
        self.features = Trunk(4, num_feat, num_feat_block)
        self.alignment = DeformableAlignment(num_feat, deform_groups, max_residue)
        self.recurrence = Trunk(3 * num_feat, num_feat, num_block)
        self.reconstruction = Trunk(2 * num_feat, num_feat, num_reconstruction_block)
        self.skips = nn.ModuleList(Shuffle(4 if number == 0 else num_feat, num_feat) for number in range(3))
        self.upsamplers = nn.ModuleList(Shuffle(num_feat, num_feat) for _ in range(3))
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_last = nn.Conv2d(num_feat, 3, 3, 1, 1)

    def forward(self, burst: Tensor, flow: Tensor | None = None) -> Tensor:
        """Return the image (N, 3, 8h, 8w) of a burst (N, T, 4, h, w); one frame after the other, in the memory of one.

        Args:
            burst: See the class.
            flow: Where the base's pixels are found in the other frames, (N, T - 1, 2, h, w), x, then y, in packed pixels;
                None estimates it.

        Raises:
            ValueError: Other shapes.
        """
        _check(burst, flow)
        base = self.features(burst[:, 0])
        state = self.take_up(base, base, torch.zeros_like(base))
        for number in range(1, burst.shape[1]):
            pair = burst[:, [0, number]]
            along = self.estimate_flow(pair) if flow is None else flow[:, number - 1 : number]
            aligned = self.alignment(self.features(burst[:, number]), base, along[:, 0])
            state = self.take_up(base, aligned, state)
        return self.reconstruct(burst, base, state)

    def outputs(self, burst: Tensor, flow: Tensor | None, *after: int) -> tuple[Tensor, ...]:
        """The image after all frames, and that after each frame of ``after`` (counted from 0), as the training sees them.

        Returns:
            The images, (N, 3, 8h, 8w) each, and last the flow, (N, T - 1, 2, h, w).
        """
        features, flow = self.align(burst, flow)
        states = self.accumulate(features)
        images = (self.reconstruct(burst, features[:, 0], states[:, number]) for number in (-1, *after))
        return (*images, flow)

    def motion(self, burst: Tensor) -> AffineMotion:
        """The affine motion of the frames after the base, N * (T - 1) of them, without weights."""
        # Square roots even out the noise of dark and bright pixels.
        seen = burst.float().clamp_min(0).sqrt()
        return register_affine(*_pairs(seen))

    def estimate_flow(self, burst: Tensor) -> Tensor:
        """Where the base's pixels are found in the other frames, (N, T - 1, 2, h, w), x, then y, in packed pixels."""
        number, frames, _, height, width = burst.shape
        if frames == 1:
            return burst.new_zeros(number, 0, 2, height, width)
        if self.flow_net is None:
            flow = self.motion(burst).flow(height, width).to(burst.dtype)
        else:
            with torch.autocast(burst.device.type, enabled=False):
                flow = self.flow_net(*(colours_of_packed(images).float() for images in _pairs(burst)))
        return flow.view(number, frames - 1, 2, height, width)

    def align(self, burst: Tensor, flow: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The features of all frames at the base's places, (N, T, C, h, w), and the flow, (N, T - 1, 2, h, w).

        Raises:
            ValueError: Other shapes than those of :meth:`forward`.
        """
        _check(burst, flow)
        features = self.features(burst.flatten(0, 1)).unflatten(0, burst.shape[:2])
        flow = self.estimate_flow(burst) if flow is None else flow.to(burst.dtype)
        if burst.shape[1] == 1:
            return features, flow
        base = features[:, :1].expand_as(features[:, 1:])
        aligned = self.alignment(*(values.flatten(0, 1) for values in (features[:, 1:], base, flow)))
        return torch.cat([features[:, :1], aligned.unflatten(0, base.shape[:2])], dim=1), flow

    def take_up(self, base: Tensor, aligned: Tensor, state: Tensor) -> Tensor:
        """The state (N, C, h, w) after a frame's features."""
        seen: Tensor = self.recurrence(torch.cat([base, aligned, state], dim=1))
        return state + seen

    def accumulate(self, features: Tensor) -> Tensor:
        """The states after each frame, (N, T, C, h, w), of aligned features of the same shape."""
        state, states = torch.zeros_like(features[:, 0]), []
        for number in range(features.shape[1]):
            state = self.take_up(features[:, 0], features[:, number], state)
            states.append(state)
        return torch.stack(states, dim=1)

    def reconstruct(self, burst: Tensor, base: Tensor, state: Tensor) -> Tensor:
        """The image (N, 3, 8h, 8w) of a state (N, C, h, w), the base's features and the burst, of which frame 0 counts."""
        skip, image = burst[:, 0], self.reconstruction(torch.cat([base, state], dim=1))
        for skipping, upsampling in zip(self.skips, self.upsamplers, strict=True):
            skip = skipping(skip)
            image = F.leaky_relu(upsampling(image), 0.1) + skip
        image = self.conv_last(F.leaky_relu(self.conv_hr(image), 0.1))
        return image


def _check(burst: Tensor, flow: Tensor | None) -> None:
    if burst.dim() != 5 or burst.shape[2] != 4 or not burst.is_floating_point() or 0 in burst.shape:
        raise ValueError(
            "burst: expected float frames (N, T, 4, h, w) with T, h and w >= 1, packed R, Gr, Gb, B, "
            f"got {tuple(burst.shape)} of {burst.dtype}."
        )
    number, frames, _, height, width = burst.shape
    if flow is not None and flow.shape != (number, frames - 1, 2, height, width):
        expected = (number, frames - 1, 2, height, width)
        raise ValueError(f"flow: expected {expected} for this burst, got {tuple(flow.shape)}.")


def _pairs(burst: Tensor) -> tuple[Tensor, Tensor]:
    """The base beside each other frame, (N * (T - 1), 4, h, w) both."""
    others = burst[:, 1:]
    return burst[:, :1].expand_as(others).flatten(0, 1), others.flatten(0, 1)


def _block(num_feat: int) -> ResidualBlock:
    block = ResidualBlock(num_feat)
    for conv in (block.conv1, block.conv2):
        _start(conv, 0.1)
    return block


def _start(conv: nn.Conv2d, gain: float) -> None:
    nn.init.kaiming_normal_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    with torch.no_grad():
        conv.weight.mul_(gain)


def _sizes(sizes: Sizes) -> dict[str, Any]:
    residue = sizes.state_dict.get("alignment.max_residue")
    return {
        "type": "RBSR",
        "num_feat": sizes.shape("alignment.weight")[0],
        "num_feat_block": sizes.count(r"features\.blocks\.(\d+)\."),
        "num_block": sizes.count(r"recurrence\.blocks\.(\d+)\."),
        "num_reconstruction_block": sizes.count(r"reconstruction\.blocks\.(\d+)\."),
        "deform_groups": sizes.shape("alignment.offsets.6.weight")[0] // PER_GROUP,
        "max_residue": 10.0 if residue is None else float(residue),
        "flow_net": "spynet" if sizes.has("flow_net.") else "affine",
    }


def _with_residue(converted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published checkpoints do not say it."""
    return {**converted, "alignment.max_residue": torch.tensor(10.0)}


METHOD = Method(
    name="RBSR",
    paper="PRCV 2023, arXiv 2306.17595",
    networks={"RBSR": RBSR},
    sizes=_sizes,
    published=PublishedLayout(
        rgb_mean=(0.0, 0.0, 0.0),  # no layer of it shifts colours
        renames=renames(
            # The published code's layers lie in wrappers, which have the activations too.
            *(
                (
                    rf"spynet\.basic_module\.(\d)\.basic_module\.{number}\.conv\.",
                    rf"flow_net.basic_module.\1.basic_module.{2 * number}.",
                )
                for number in range(5)
            ),
            (r"spynet\.", "flow_net."),
            (r"dcn_alignment\.conv_offset\.", "alignment.offsets."),
            (r"dcn_alignment\.", "alignment."),
            *(
                pair
                for theirs, ours in (
                    ("feat_extract", "features"),
                    (r"backbone\.backward_1", "recurrence"),
                    ("reconstruction", "reconstruction"),
                )
                for pair in ((rf"{theirs}\.main\.0\.", f"{ours}.first."), (rf"{theirs}\.main\.2\.", f"{ours}.blocks."))
            ),
            *((rf"upsample{number}\.upsample_conv\.", f"upsamplers.{number - 1}.conv.") for number in (1, 2, 3)),
            *((rf"skipup{number}\.upsample_conv\.", f"skips.{number - 1}.conv.") for number in (1, 2, 3)),
            (r"conv_(hr|last)\.", r"conv_\1."),
        ),
        finish=_with_residue,
    ),
    runs_by={"RBSR": "BurstSRModel"},
    needs={"RBSR": "a burst of frames"},
    command={"RBSR": "burst"},
)
