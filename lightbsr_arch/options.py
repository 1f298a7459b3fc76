"""Read a network's sizes off its state dict, so that a file can be checked before it is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def infer_options(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Tell the sizes of the :class:`LightBSR` or :class:`LightBSRTeacher` that a state dict belongs to.

    What a state dict cannot tell is left out: the start of the layer scale, momentum, temperature, the noise divisor.

    Args:
        state_dict: In this package's layout.

    Returns:
        ``type`` (``LightBSR`` or ``LightBSRTeacher``) and the constructor's sizes by name.

    Raises:
        ValueError: The state dict is not of either network; the message names what is missing.
    """

    def shape(key: str) -> tuple[int, ...]:
        if key not in state_dict:
            raise ValueError(f"not a state dict of LightBSR or LightBSRTeacher: it has no {key!r}.")
        return tuple(state_dict[key].shape)

    def count(pattern: str) -> int:
        return len({match.group(1) for match in (re.match(pattern, key) for key in state_dict) if match})

    teacher = any(key.startswith("momentum_contrast.") for key in state_dict)
    encoder = "momentum_contrast.query.encoder" if teacher else "encoder"
    num_feat = shape("sr.head.weight")[0]
    growth = shape("sr.upsampler.0.weight")[0] // num_feat
    scale = {(4, 1): 2, (9, 1): 3, (4, 2): 4}.get((growth, count(r"sr\.upsampler\.(\d+)\.weight")))
    if scale is None:
        raise ValueError("not a state dict of LightBSR: its upsampler is none of x2, x3, x4.")
    options: dict[str, Any] = {
        "type": "LightBSRTeacher" if teacher else "LightBSR",
        "scale": scale,
        "num_feat": num_feat,
        "num_group": count(r"sr\.groups\.(\d+)\."),
        "num_block": count(r"sr\.groups\.0\.blocks\.(\d+)\."),
        "num_spatial_feat": shape("sr.groups.0.blocks.0.modulation.spatial_conv.weight")[0],
        "num_channel_code": shape("converters.channel.weight")[0],
        "num_encoder_feat": shape(f"{encoder}.layers.0.weight")[0],
    }
    if teacher:
        options["prior_channels"] = shape(f"{encoder}.layers.0.weight")[1] - 3
        options["prior_components"] = shape("prior_basis")[1]
        options["queue_size"] = shape("momentum_contrast.queue")[1]
    return options
