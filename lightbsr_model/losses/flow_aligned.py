"""L1 distance to an image that lies somewhere else: it is warped into place first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from basicsr.archs.spynet_arch import SpyNet
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.layers.registration import register_affine, warp, with_colours_of
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_model.degradation.resize import bicubic_downsample

Flow = Literal["affine", "spynet"]

_SMALLEST_FOR_SPYNET = 64
_LUMA = (0.299, 0.587, 0.114)
_CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@LOSS_REGISTRY.register()
class FlowAlignedL1Loss(nn.Module):
    """L1 distance of images at the HR image's place from LR images warped there, over the pixels that the warp finds.

    The flow leads from the downsampled HR image to the LR image. No gradient goes through it. The sum over the pixels found
    is divided by the number of all. A sample whose images have no content in common adds nothing.

    Args:
        loss_weight: Multiplies the loss.
        flow: ``affine`` registers the pair without weights, :mod:`lightbsr_arch.layers.registration`; ``spynet`` is
            BasicSR's SpyNet, for local motion.
        flow_path: File of SpyNet's weights, which must be on this machine.
        colour_match: Give the warped LR image gain and offset of the HR image, per channel. Default: not with
            ``published``.
        min_agreement: Correlation of the registered images, 0 to 1, below which a sample has no content in common; for
            ``affine``.
        luminance: Compare luma with the warped image, and chroma with the HR image, as the published code can.
        published: The published code's warp, which stretches the flow by w / (w - 1), and its view of the HR image, whose
            corner pixels lie over those of the LR image.

    Raises:
        OptionError: An unknown flow, or no weights of SpyNet.
    """

    @staticmethod
    def problem_with(section: Mapping[str, Any]) -> tuple[str, str] | None:
        """What the check of an option file says of the loss's section before a start: a key, and what is wrong."""
        return flow_problem(section)

    def __init__(
        self,
        loss_weight: float = 1.0,
        flow: Flow = "affine",
        flow_path: str | None = None,
        colour_match: bool | None = None,
        min_agreement: float = 0.5,
        luminance: bool = False,
        published: bool = False,
    ) -> None:
        super().__init__()
        problem = flow_problem({"flow": flow, "flow_path": flow_path})
        if problem is not None:
            raise (MissingFileError if "no file" in problem[1] else OptionError)(*problem)
        self.loss_weight, self.min_agreement = loss_weight, min_agreement
        self.colour_match = not published if colour_match is None else colour_match
        self.luminance, self.published = luminance, published
        self.flow_net = None if flow_path is None or flow != "spynet" else load_spynet(flow_path)

    def forward(self, images: Tensor, lq: Tensor, gt: Tensor) -> Tensor:
        """Return the loss.

        Args:
            images: What is learnt, (N, 3, h, w) in [0, 1], at the HR image's place.
            lq: LR images (N, 3, h, w) in [0, 1], which may be somewhere else.
            gt: HR images (N, 3, scale * h, scale * w) in [0, 1].
        """
        with torch.no_grad():
            low = self.seen_of_gt(gt, lq)
            flow, is_found = self.flow(low, lq)
            warped, mask = warp(lq, flow, self.published)
            mask = mask * is_found.view(-1, 1, 1, 1)
            if self.colour_match:
                warped = with_colours_of(warped, low, mask)
        return self.compare(images, warped, mask, low)

    def compare(self, images: Tensor, warped: Tensor, mask: Tensor, low: Tensor) -> Tensor:
        """The loss of images (N, 3, h, w) against warped ones, by a mask (N, 1, h, w) and the downsampled HR image."""
        if not self.luminance:
            return self.loss_weight * ((images - warped) * mask).abs().mean()
        luma, chroma = (images.new_tensor(rows).view(-1, 3) for rows in (_LUMA, _CHROMA))
        bright = torch.einsum("kc,nchw->nkhw", luma, (images - warped) * mask).abs().mean()
        # The mean over one of the two planes each.
        coloured = torch.einsum("kc,nchw->nkhw", chroma, images - low).abs().mean(dim=(0, 2, 3)).sum()
        return self.loss_weight * (bright + coloured)

    def seen_of_gt(self, gt: Tensor, lq: Tensor) -> Tensor:
        """The HR image at the LR image's size, (N, 3, h, w).

        Raises:
            OptionError: The sizes are those of no scale.
        """
        scale = gt.shape[-1] // lq.shape[-1]
        if gt.shape != (*lq.shape[:2], scale * lq.shape[2], scale * lq.shape[3]) or scale < 1:
            raise OptionError(
                f"FlowAlignedL1Loss: HR images of {gt.shape[3]}x{gt.shape[2]} and LR images of {lq.shape[3]}x{lq.shape[2]}: "
                "expected one integer factor between them."
            )
        if self.published:
            return F.interpolate(gt, size=lq.shape[2:], mode="bilinear", align_corners=True)
        return bicubic_downsample(gt, scale)

    def flow(self, low: Tensor, lq: Tensor) -> tuple[Tensor, Tensor]:
        """The flow from the downsampled HR image to the LR image, (N, 2, h, w), and which samples have one, (N,) of 0 and 1."""
        if self.flow_net is None:
            motion = register_affine(low, lq)
            return motion.flow(*lq.shape[2:]), (motion.agreement >= self.min_agreement).float()
        # SpyNet halves its images five times, and needs two pixels then.
        enlarged = -(-_SMALLEST_FOR_SPYNET // min(lq.shape[2:]))
        with torch.autocast(lq.device.type, enabled=False):
            pair = (F.interpolate(x.float(), scale_factor=enlarged, mode="bilinear") for x in (low, lq))
            flow = F.interpolate(self.flow_net(*pair), size=lq.shape[2:], mode="bilinear") / enlarged
        # A flow that is no number leads out of the image: nothing is found there.
        return flow.nan_to_num(1e4, 1e4, -1e4), torch.ones_like(lq[:, 0, 0, 0])


def flow_problem(section: Mapping[str, Any]) -> tuple[str, str] | None:
    """What keeps a section of FlowAlignedL1Loss from finding its flow, by key; None if nothing does."""
    flow, path = section.get("flow", "affine"), section.get("flow_path")
    if flow not in get_args(Flow):
        return "flow", f"expected affine or spynet, got {flow!r}."
    if flow == "affine":
        return None if path is None else ("flow_path", "has no effect with flow: affine; leave it out, or take spynet.")
    if path is None:
        return (
            "flow_path",
            "missing; flow: spynet needs a file of BasicSR's SpyNet, or take flow: affine, which needs none.",
        )
    if not Path(path).expanduser().is_file():
        return (
            "flow_path",
            f"there is no file {path}; put SpyNet's weights there, or take flow: affine, which needs none.",
        )
    return None


def load_spynet(path: str) -> nn.Module:
    """BasicSR's SpyNet with the weights of a file, frozen.

    Raises:
        OptionError: The file is not one of SpyNet's weights.
    """
    net = SpyNet()
    try:
        weights = load_state_dict(Path(path).expanduser())
        missing, unknown = net.load_state_dict(dict(weights), strict=False)
    except (ValueError, RuntimeError) as error:
        raise OptionError("flow_path", f"{path} has no weights of SpyNet ({error}).") from error
    # Its files leave out the mean colour, which is fixed.
    if absent := [*(name for name in missing if name not in ("mean", "std")), *unknown]:
        raise OptionError(
            "flow_path", f"{path} has no weights of SpyNet: {len(absent)} are missing or unknown, first {absent[0]}."
        )
    return net.eval().requires_grad_(False)
