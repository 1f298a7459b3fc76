"""Weights of the published code as they were for the golden recording: a function of each name and shape."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from lightbsr_arch import convert_published_state_dict

GOLDEN = Path(__file__).parents[1] / "golden"
RGB_MEAN = torch.tensor([0.4488, 0.4371, 0.4040])
KEPT = {"spynet.mean": [0.485, 0.456, 0.406], "spynet.std": [0.229, 0.224, 0.225]}
"""Buffers that kept their value."""
OTHER_MEANS = {"dasr": 255 * RGB_MEAN, "cdcl": torch.tensor([0.4680, 0.4484, 0.4029])}


def filled_state_dict(name: str, gain: float = 1.0) -> dict[str, torch.Tensor]:
    """The weights of a recorded network whose name in the list of shapes is given whole, in the published layout."""
    shapes = json.loads((GOLDEN / "state_dict_shapes.json").read_text())[name]
    return {key: _fill(key, shape, gain, RGB_MEAN) for key, shape in shapes.items()}


Gain = float | Mapping[str, float]
"""Of all weights, or by the prefix of their keys; 1 for those without."""


def published_state_dict(
    network: str, gain: Gain = 1.0, prior_channels: int = 15, scale: int = 4
) -> dict[str, torch.Tensor]:
    """A state dict in the published layout; ``network`` is LightBSR's student or teacher, dasr, kdsr_student,
    kdsr_teacher, cdcl, dssr, mrda_mln, mrda_teacher, mrda_student, mimicked_mim or rbsr."""
    method = f"lightbsr_{network}" if network in ("student", "teacher") else network
    of_all = json.loads((GOLDEN / "state_dict_shapes.json").read_text())
    shapes = of_all.get(f"{method}_x{scale}") or of_all[method]  # one network serves all scales
    state_dict = {}
    for key, shape in shapes.items():
        if network == "teacher" and key.startswith("E.encoder_") and key.endswith(".E.0.weight"):
            shape = [shape[0], 3 + prior_channels, *shape[2:]]
        state_dict[key] = _fill(key, shape, _gain_of(key, gain), OTHER_MEANS.get(network, RGB_MEAN))
    return state_dict


def in_published_layout(network: str, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give a state dict of ours, smaller than the published network, the published names and numbers of dimensions.

    The names are those that conversion maps to ours: it keeps the tensors, so that their places in memory tell.
    """
    full = published_state_dict(network)
    names = {value.data_ptr(): key for key, value in full.items()}
    constants = {key: value for key, value in full.items() if key.startswith(("G.sub_mean", "G.add_mean"))}
    converted = convert_published_state_dict(full)
    renamed = {}
    for key, value in state_dict.items():
        if key != "prior_basis":
            theirs = names[converted[key].data_ptr()]
            renamed[theirs] = value.reshape(value.shape + (1,) * (full[theirs].dim() - value.dim()))
    return {**constants, **renamed}


def _gain_of(key: str, gain: Gain) -> float:
    return gain if isinstance(gain, float | int) else next((gain[part] for part in gain if key.startswith(part)), 1.0)


def _fill(key: str, shape: list[int], gain: float, mean: torch.Tensor) -> torch.Tensor:
    if "sub_mean" in key or "add_mean" in key:
        if key.endswith("weight"):
            return torch.eye(3).view(3, 3, 1, 1)
        return -mean if "sub_mean" in key else mean.clone()
    if key in KEPT:
        return torch.tensor(KEPT[key]).view(shape)
    if key.endswith(("num_batches_tracked", "queue_ptr")):
        return torch.zeros(shape, dtype=torch.long)
    if key.endswith("queue"):
        queue = np.random.default_rng(zlib.crc32(b"queue")).standard_normal(shape)
        return torch.tensor((queue / np.linalg.norm(queue, axis=0)).astype(np.float32))
    z = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        z = 1 + 0.2 * np.abs(z)
    elif key.endswith(("running_mean", "gamma", "bias")):
        z = 0.1 * z
    elif len(shape) == 1:
        z = 1 + 0.1 * z
    else:
        z = gain * z / np.sqrt(np.prod(shape[1:]))
    return torch.tensor(np.float32(z))
