"""From checkpoints of the published LightBSR code to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lightbsr_arch.degradation_prior import KERNEL_SIZE
from lightbsr_arch.lightbsr import LightBSR, LightBSRTeacher
from lightbsr_arch.options import infer_options
from lightbsr_arch.sr_network import RGB_MEAN

_CONSTANT = re.compile(r"G\.(sub|add)_mean\.(weight|bias)")

_RENAMES = [
    (re.compile(pattern), ours)
    for pattern, ours in [
        (r"G\.head\.0\.", "sr.head."),
        (r"G\.compress\.0\.", "converters.channel."),
        (r"G\.afterpixshuffle\.0\.", "converters.spatial."),
        (r"G\.tail\.0\.", "sr.upsampler."),
        (r"G\.tail\.1\.", "sr.last."),
        (r"G\.body\.(\d+)\.ca_change\.avgafter\.", r"sr.groups.\1.refinement.channel."),
        (r"G\.body\.(\d+)\.xk_change\.sig1\.", r"sr.groups.\1.refinement.spatial."),
        (
            r"G\.body\.(\d+)\.body\.(\d+)\.spatial_mixing\.partial_conv3\.",
            r"sr.groups.\1.blocks.\2.modulation.spatial_conv.",
        ),
        (
            r"G\.body\.(\d+)\.body\.(\d+)\.spatial_mixing\.loc\.avgafter\.",
            r"sr.groups.\1.blocks.\2.modulation.channel_gate.",
        ),
        (
            r"G\.body\.(\d+)\.body\.(\d+)\.spatial_mixing\.spatial_attention\.",
            r"sr.groups.\1.blocks.\2.modulation.spatial_gate.",
        ),
        (
            r"G\.body\.(\d+)\.body\.(\d+)\.(gamma|dwconv\.|norm\.|pwconv1\.|pwconv2\.)",
            r"sr.groups.\1.blocks.\2.tail.\3",
        ),
        (r"G\.body\.(\d+)\.body\.\d+\.(weight|bias)", r"sr.groups.\1.conv.\2"),
        (r"G\.body\.\d+\.(weight|bias)", r"sr.conv.\1"),
        (r"E\.E\.", "encoder.layers."),
        (r"E\.encoder_q\.E\.", "momentum_contrast.query.encoder.layers."),
        (r"E\.encoder_q\.mlp\.", "momentum_contrast.query.head."),
        (r"E\.encoder_k\.E\.", "momentum_contrast.key.encoder.layers."),
        (r"E\.encoder_k\.mlp\.", "momentum_contrast.key.head."),
        (r"E\.queue_ptr$", "momentum_contrast.queue_pointer"),
        (r"E\.queue$", "momentum_contrast.queue"),
    ]
]


def is_published_state_dict(state_dict: Mapping[str, Tensor]) -> bool:
    """Tell whether a state dict has the key layout of the published LightBSR code."""
    return any(key.removeprefix("module.") == "G.afterpixshuffle.0.weight" for key in state_dict)


def convert_published_state_dict(
    state_dict: Mapping[str, Tensor], prior_basis: Tensor | None = None
) -> dict[str, Tensor]:
    """Convert a checkpoint of the published code, student or teacher, to this package's layout.

    Args:
        state_dict: Published keys (``G.*``, ``E.*``, with or without ``module.`` before them) to tensors. The tensors
            are not copied.
        prior_basis: (441, components), the PCA basis that a teacher was trained with. Published checkpoints do not
            hold it. Without it the teacher still runs on priors that are passed to it, and refuses to make its own.

    Returns:
        A state dict for ``load_state_dict`` of the :class:`LightBSR` or :class:`LightBSRTeacher` whose options
        :func:`~lightbsr_arch.options.infer_options` tells.

    Raises:
        ValueError: Anything but a complete checkpoint of that code; the message gives the reason.
    """
    if not isinstance(state_dict, Mapping):
        raise ValueError(f"expected a state dict (a mapping of names to tensors), got {type(state_dict).__name__}.")
    published = {key.removeprefix("module."): value for key, value in state_dict.items()}
    not_tensors = [key for key, value in published.items() if not isinstance(value, Tensor)]
    if not_tensors:
        raise ValueError(
            f"expected tensors only, but {not_tensors[0]!r} is a {type(published[not_tensors[0]]).__name__}: "
            "pass the state dict itself, not the dictionary around it."
        )
    _check_mean(published)
    converted: dict[str, Tensor] = {}
    unknown = []
    for key, value in published.items():
        if _CONSTANT.fullmatch(key):
            continue
        renamed = _rename(key)
        if renamed is None:
            unknown.append(key)
        else:
            converted[renamed] = value
    if unknown or not converted:
        named = ", ".join(unknown[:3]) if unknown else "it is empty"
        raise ValueError(f"not a checkpoint of the published LightBSR code: {len(unknown)} unknown keys ({named}).")
    converted = _name_plain_blocks(converted)
    if "momentum_contrast.queue_pointer" in converted:
        converted["momentum_contrast.queue_pointer"] = converted["momentum_contrast.queue_pointer"].reshape(())
        converted["prior_basis"] = _basis(converted, prior_basis)
    elif prior_basis is not None:
        raise ValueError("prior_basis: this is a student's checkpoint; only a teacher has a prior.")
    _check_complete(converted)
    return converted


def _rename(key: str) -> str | None:
    for pattern, ours in _RENAMES:
        match = pattern.match(key)
        if match:
            return match.expand(ours) + key[match.end() :]
    return None


def _name_plain_blocks(converted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published code lists a group's plain block last among the blocks; it is the one without modulation."""
    renamed = {}
    for key, value in converted.items():
        match = re.match(r"(sr\.groups\.\d+\.)(blocks\.\d+\.)tail\.(.*)", key)
        if match and f"{match[1]}{match[2]}modulation.spatial_conv.weight" not in converted:
            key = f"{match[1]}plain_block.{match[3]}"
        renamed[key] = value
    return renamed


def _basis(converted: Mapping[str, Tensor], prior_basis: Tensor | None) -> Tensor:
    channels = converted["momentum_contrast.query.encoder.layers.0.weight"].shape[1] - 3
    if prior_basis is None:
        return torch.full((KERNEL_SIZE**2, min(15, channels)), float("nan"))
    if prior_basis.dim() != 2 or prior_basis.shape[0] != KERNEL_SIZE**2 or prior_basis.shape[1] > channels:
        raise ValueError(f"prior_basis: expected ({KERNEL_SIZE**2}, up to {channels}), got {tuple(prior_basis.shape)}.")
    return prior_basis


def _check_mean(published: Mapping[str, Tensor]) -> None:
    mean = torch.tensor(RGB_MEAN)
    expected = {"weight": torch.eye(3), "sub_mean": -mean, "add_mean": mean}
    for key, value in published.items():
        match = _CONSTANT.fullmatch(key)
        if match:
            wanted = expected["weight" if match[2] == "weight" else f"{match[1]}_mean"]
            flat = value.detach().float().cpu().flatten()
            if flat.shape != wanted.flatten().shape or not torch.allclose(flat, wanted.flatten(), atol=1e-3):
                raise ValueError(f"{key}: this checkpoint shifts colours by another mean than LightBSR's {RGB_MEAN}.")


def _check_complete(converted: Mapping[str, Tensor]) -> None:
    options = infer_options(converted)
    network = {"LightBSR": LightBSR, "LightBSRTeacher": LightBSRTeacher}[options.pop("type")]
    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in network(**options).state_dict().items()}
    missing = [key for key in expected if key not in converted]
    surplus = [key for key in converted if key not in expected]
    misfits = [key for key in expected if key in converted and tuple(converted[key].shape) != expected[key]]
    if missing or surplus or misfits:
        first = (missing or surplus or misfits)[0]
        raise ValueError(
            f"not a complete checkpoint of the published LightBSR code: {len(missing)} values missing, "
            f"{len(surplus)} too many, {len(misfits)} of another shape (first: {first})."
        )
