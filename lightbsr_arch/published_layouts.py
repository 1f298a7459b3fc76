"""Which names the published codes of the methods give their weights, and which names these have here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from lightbsr_arch.baselines import DASR, KDSR, CdCL, KDSRTeacher
from lightbsr_arch.baselines.cdcl import RGB_MEAN as CDCL_MEAN
from lightbsr_arch.lightbsr import LightBSR, LightBSRTeacher
from lightbsr_arch.sr_network import RGB_MEAN

Rename = tuple[re.Pattern[str], str]


@dataclass(frozen=True)
class PublishedLayout:
    """One method's published state dict."""

    method: str
    """As its paper calls it."""
    signature: tuple[str, ...]
    """A key that each of its state dicts has, and no other method's; several where teacher and student differ."""
    networks: Mapping[str, type[nn.Module]]
    """The networks of ours that it may be, by the names that ``infer_options`` gives."""
    rgb_mean: tuple[float, float, float]
    """The mean colour that its fixed layers shift by, in the units that it computes in."""
    renames: Sequence[Rename]
    """Patterns of published prefixes, and ours; the rest of a key is kept."""
    modulation: str | None = None
    """The key within a block that tells a modulated block from the plain one behind it, where there is one."""

    def rename(self, key: str) -> str | None:
        """Our name of a published key; None if it is unknown."""
        for pattern, ours in self.renames:
            match = pattern.match(key)
            if match:
                return match.expand(ours) + key[match.end() :]
        return None


def _renames(*pairs: tuple[str, str]) -> tuple[Rename, ...]:
    return tuple((re.compile(pattern), ours) for pattern, ours in pairs)


_GROUP = r"G\.body\.(\d+)\."
_BLOCK = r"G\.body\.(\d+)\.body\.(\d+)\."
_OUR_BLOCK = r"sr.groups.\1.blocks.\2."

_ENDS = (
    (r"G\.head\.0\.", "sr.head."),
    (r"G\.tail\.0\.", "sr.upsampler."),
    (r"G\.tail\.1\.", "sr.last."),
)
_CONVNEXT = ((_BLOCK + r"(gamma|dwconv\.|norm\.|pwconv1\.|pwconv2\.)", _OUR_BLOCK + r"tail.\3"),)
_GROUPS_CONV = (
    (_GROUP + r"body\.\d+\.(weight|bias)", r"sr.groups.\1.conv.\2"),
    (r"G\.body\.\d+\.(weight|bias)", r"sr.conv.\1"),
)
_MOMENTUM_CONTRAST = (
    (r"E\.encoder_q\.E\.", "momentum_contrast.query.encoder.layers."),
    (r"E\.encoder_q\.mlp\.", "momentum_contrast.query.head."),
    (r"E\.encoder_k\.E\.", "momentum_contrast.key.encoder.layers."),
    (r"E\.encoder_k\.mlp\.", "momentum_contrast.key.head."),
    (r"E\.queue_ptr$", "momentum_contrast.queue_pointer"),
    (r"E\.queue$", "momentum_contrast.queue"),
)

LIGHTBSR = PublishedLayout(
    method="LightBSR",
    signature=("G.body.0.xk_change.sig1.0.weight",),
    networks={"LightBSR": LightBSR, "LightBSRTeacher": LightBSRTeacher},
    rgb_mean=RGB_MEAN,
    renames=_renames(
        *_ENDS,
        (r"G\.compress\.0\.", "converters.channel."),
        (r"G\.afterpixshuffle\.0\.", "converters.spatial."),
        (_GROUP + r"ca_change\.avgafter\.", r"sr.groups.\1.refinement.channel."),
        (_GROUP + r"xk_change\.sig1\.", r"sr.groups.\1.refinement.spatial."),
        (_BLOCK + r"spatial_mixing\.partial_conv3\.", _OUR_BLOCK + "modulation.spatial_conv."),
        (_BLOCK + r"spatial_mixing\.loc\.avgafter\.", _OUR_BLOCK + "modulation.channel_gate."),
        (_BLOCK + r"spatial_mixing\.spatial_attention\.", _OUR_BLOCK + "modulation.spatial_gate."),
        *_CONVNEXT,
        *_GROUPS_CONV,
        (r"E\.E\.", "encoder.layers."),
        *_MOMENTUM_CONTRAST,
    ),
    modulation="modulation.spatial_conv.weight",
)

_DASR = PublishedLayout(
    method="DASR",
    signature=("G.body.0.body.0.da_conv2.conv.weight",),
    networks={"DASR": DASR},
    rgb_mean=(255 * RGB_MEAN[0], 255 * RGB_MEAN[1], 255 * RGB_MEAN[2]),
    renames=_renames(
        *_ENDS,
        (r"G\.compress\.0\.", "sr.compress."),
        (_BLOCK + r"da_conv([12])\.kernel\.", _OUR_BLOCK + r"aware\3.depthwise.kernel."),
        (_BLOCK + r"da_conv([12])\.conv\.", _OUR_BLOCK + r"aware\3.conv."),
        (_BLOCK + r"da_conv([12])\.ca\.conv_du\.", _OUR_BLOCK + r"aware\3.gate."),
        (_BLOCK + r"(conv[12])\.", _OUR_BLOCK + r"\3."),
        *_GROUPS_CONV,
        *_MOMENTUM_CONTRAST,
    ),
)

_KDSR = PublishedLayout(
    method="KDSR",
    signature=("E_st.compress.0.weight", "E.compress.0.weight"),
    networks={"KDSR": KDSR, "KDSRTeacher": KDSRTeacher},
    rgb_mean=RGB_MEAN,
    renames=_renames(
        *_ENDS,
        (r"G\.body\.0\.body\.(\d+)\.da_conv1\.kernel\.", r"sr.blocks.\1.depthwise.kernel."),
        (r"G\.body\.0\.body\.(\d+)\.conv1\.", r"sr.blocks.\1.conv."),
        (r"G\.body\.1\.", "sr.conv."),
        (r"E(?:_st)?\.E\.(\d+)\.body\.0\.", r"estimator.features.\1.conv1."),
        (r"E(?:_st)?\.E\.(\d+)\.body\.2\.", r"estimator.features.\1.conv2."),
        (r"E(?:_st)?\.E\.", "estimator.features."),
        (r"E(?:_st)?\.(mlp|compress)\.", r"estimator.\1."),
    ),
)

_CDCL = PublishedLayout(
    method="CdCL",
    signature=("G.afterpixshuffle.2.weight",),
    networks={"CdCL": CdCL},
    rgb_mean=CDCL_MEAN,
    renames=_renames(
        *_ENDS,
        (r"G\.compress\.0\.", "converters.channel."),
        (r"G\.afterpixshuffle\.", "converters.spatial."),
        (_BLOCK + r"da_conv\.loc\.avgafter\.", _OUR_BLOCK + "channel_gate."),
        (_BLOCK + r"da_conv\.sig1\.", _OUR_BLOCK + "spatial_gate."),
        (_BLOCK + r"da_conv\.conv\.", _OUR_BLOCK + "conv."),
        *_CONVNEXT,
        *_GROUPS_CONV,
        *(
            pair
            for theirs, ours in (("encoder", "query"), ("encoder_ema", "key"))
            for pair in (
                (rf"E\.{theirs}\.0\.E\.", f"contrast.{ours}.encoder.layers."),
                (rf"E\.{theirs}\.1\.linear1\.", f"contrast.{ours}.projector.0."),
                (rf"E\.{theirs}\.1\.bn1\.", f"contrast.{ours}.projector.1."),
                (rf"E\.{theirs}\.1\.linear2\.", f"contrast.{ours}.projector.3."),
                (rf"E\.{theirs}\.1\.bn2\.", f"contrast.{ours}.projector.4."),
            )
        ),
        (r"E\.predictor\.linear1\.", "contrast.predictor.0."),
        (r"E\.predictor\.bn1\.", "contrast.predictor.1."),
        (r"E\.predictor\.layer2\.", "contrast.predictor.3."),
    ),
    modulation="channel_gate.0.weight",
)

LAYOUTS = (LIGHTBSR, _DASR, _KDSR, _CDCL)
"""Every published layout that can be converted."""


def find_layout(state_dict: Mapping[str, Tensor]) -> PublishedLayout | None:
    """The method whose published code wrote a state dict, without ``module.`` before its keys; None if none of ours."""
    for layout in LAYOUTS:
        if any(key in state_dict for key in layout.signature):
            return layout
    return None
