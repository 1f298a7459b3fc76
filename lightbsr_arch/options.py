"""Read a network's sizes off its state dict, so that a file can be checked before it is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from lightbsr_arch.display import printable


class _Sizes:
    """Sizes of the values of one state dict."""

    def __init__(self, state_dict: Mapping[str, Tensor]) -> None:
        self.state_dict = state_dict

    def shape(self, key: str) -> tuple[int, ...]:
        if key not in self.state_dict:
            raise ValueError(
                f"not a state dict of LightBSR or a method beside it: it has no {key!r}.{other_dasr(self.state_dict)}"
            )
        return tuple(self.state_dict[key].shape)

    def count(self, pattern: str) -> int:
        """So many different numbers stand in the keys where the pattern has a group."""
        return len({match.group(1) for match in (re.match(pattern, key) for key in self.state_dict) if match})

    def has(self, prefix: str) -> bool:
        return any(key.startswith(prefix) for key in self.state_dict)

    def network(self) -> dict[str, Any]:
        """What all of them have: the scale and the width."""
        num_feat = self.shape("sr.head.weight")[0]
        growth = self.shape("sr.upsampler.0.weight")[0] // max(num_feat, 1)
        scale = {(4, 1): 2, (9, 1): 3, (4, 2): 4}.get((growth, self.count(r"sr\.upsampler\.(\d+)\.weight")))
        if scale is None:
            raise ValueError("not a state dict of LightBSR: its upsampler is none of x2, x3, x4.")
        return {"scale": scale, "num_feat": num_feat}

    def groups(self) -> dict[str, int]:
        groups, blocks = self.count(r"sr\.groups\.(\d+)\."), self.count(r"sr\.groups\.0\.blocks\.(\d+)\.")
        if groups * blocks > len(self.state_dict):
            raise ValueError(f"not a complete state dict: {groups} groups of {blocks} blocks have more weights.")
        return {"num_group": groups, "num_block": blocks}


def other_dasr(state_dict: Mapping[str, Tensor]) -> str:
    """A sentence for who may have a checkpoint of the other network called DASR, which mixes experts; else empty.

    Its names are not known here. A key that speaks of experts, or stacked (5-D) weights, are what a mixture of experts has,
    and other networks (video) too: so the sentence names the key that was found and claims no more.
    """
    for key, value in state_dict.items():
        stacked = isinstance(value, Tensor) and value.dim() == 5
        if stacked or "expert" in key:
            found = "has stacked (5-D) weights" if stacked else "has a key that speaks of experts"
            return f" It {found} ({printable(key, 80)}), as a mixture of experts may. {TWO_DASRS}"
    return ""


TWO_DASRS = (
    "If it is called DASR: two papers call their network so. The one here is arXiv 2104.00416's; that of arXiv 2203.14216, "
    "which mixes convolution experts, is another network, and is not here."
)


def infer_options(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Tell which network a state dict belongs to, and its sizes.

    What a state dict cannot tell is left out: the start of the layer scale, momentum, temperature, the noise divisor.

    Args:
        state_dict: In this package's layout.

    Returns:
        ``type`` (``LightBSR``, ``LightBSRTeacher``, ``DASR``, ``KDSR``, ``KDSRTeacher`` or ``CdCL``) and the constructor's
        sizes by name.

    Raises:
        ValueError: The state dict is of none of them; the message names what is missing.
    """
    sizes = _Sizes(state_dict)
    method: Callable[[_Sizes], dict[str, Any]] = _lightbsr
    for key, other in (("sr.compress.weight", _dasr), ("estimator.", _kdsr), ("contrast.", _cdcl)):
        if sizes.has(key):
            method = other
    try:
        return method(sizes)
    except (IndexError, ZeroDivisionError) as error:
        raise ValueError(
            "not a state dict of LightBSR or a method beside it: a weight has too few dimensions."
        ) from error


def _lightbsr(sizes: _Sizes) -> dict[str, Any]:
    teacher = sizes.has("momentum_contrast.")
    encoder = "momentum_contrast.query.encoder" if teacher else "encoder"
    options = {
        "type": "LightBSRTeacher" if teacher else "LightBSR",
        **sizes.network(),
        **sizes.groups(),
        "num_spatial_feat": sizes.shape("sr.groups.0.blocks.0.modulation.spatial_conv.weight")[0],
        "num_channel_code": sizes.shape("converters.channel.weight")[0],
        "num_encoder_feat": sizes.shape(f"{encoder}.layers.0.weight")[0],
    }
    if teacher:
        options["prior_channels"] = sizes.shape(f"{encoder}.layers.0.weight")[1] - 3
        options["prior_components"] = sizes.shape("prior_basis")[1]
        options.update(_queue(sizes))
    return options


def _queue(sizes: _Sizes) -> dict[str, int]:
    """Some trainers leave the queue out of their checkpoints."""
    key = "momentum_contrast.queue"
    return {"queue_size": sizes.shape(key)[1]} if key in sizes.state_dict else {}


def _dasr(sizes: _Sizes) -> dict[str, Any]:
    options = {"type": "DASR", **sizes.network(), **sizes.groups()}
    options["num_encoder_feat"] = sizes.shape("momentum_contrast.query.encoder.layers.0.weight")[0]
    options.update(_queue(sizes))
    options["reduction"] = options["num_feat"] // sizes.shape("sr.groups.0.blocks.0.aware1.gate.0.weight")[0]
    return options


def _kdsr(sizes: _Sizes) -> dict[str, Any]:
    return {
        "type": "KDSR" if sizes.shape("estimator.features.0.weight")[1] == 3 else "KDSRTeacher",
        **sizes.network(),
        "num_block": sizes.count(r"sr\.blocks\.(\d+)\."),
        "num_encoder_block": sizes.count(r"estimator\.features\.(\d+)\.conv1\."),
    }


def _cdcl(sizes: _Sizes) -> dict[str, Any]:
    options = {"type": "CdCL", **sizes.network(), **sizes.groups()}
    options["num_encoder_feat"] = sizes.shape("contrast.query.encoder.layers.0.weight")[0]
    return options
