"""From checkpoints of the published codes of LightBSR, DASR, KDSR and CdCL to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lightbsr_arch.degradation_prior import KERNEL_SIZE
from lightbsr_arch.momentum_contrast import complete_momentum_parts
from lightbsr_arch.options import infer_options, other_dasr
from lightbsr_arch.published_layouts import LIGHTBSR, PublishedLayout, find_layout

_CONSTANT = re.compile(r"G\.(sub|add)_mean\.(weight|bias)")


def is_published_state_dict(state_dict: Mapping[str, Tensor]) -> bool:
    """Tell whether a state dict has the key layout of the published code of LightBSR, DASR, KDSR or CdCL."""
    return find_layout({key.removeprefix("module."): value for key, value in state_dict.items()}) is not None


def convert_published_state_dict(
    state_dict: Mapping[str, Tensor], prior_basis: Tensor | None = None
) -> dict[str, Tensor]:
    """Convert a checkpoint of a published code, of any of the methods, student or teacher, to this package's layout.

    Args:
        state_dict: Published keys (``G.*``, ``E.*``, with or without ``module.`` before them) to tensors. The tensors
            are not copied.
        prior_basis: (441, components), the PCA basis that a teacher was trained with. Published checkpoints do not
            hold it. Without it the teacher still runs on priors that are passed to it, and refuses to make its own.

    Returns:
        A state dict for ``load_state_dict`` of the network whose type and options
        :func:`~lightbsr_arch.options.infer_options` tells.

    Raises:
        ValueError: Anything but a complete checkpoint of one of those codes; the message gives the reason.
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
    layout = find_layout(published) or LIGHTBSR
    _check_mean(published, layout)
    converted: dict[str, Tensor] = {}
    unknown = []
    for key, value in published.items():
        if _CONSTANT.fullmatch(key):
            continue
        renamed = layout.rename(key)
        if renamed is None:
            unknown.append(key)
        else:
            converted[renamed] = value
    if unknown or not converted:
        named = ", ".join(unknown[:3]) if unknown else "it is empty"
        raise ValueError(
            f"not a checkpoint of the published {layout.method} code: {len(unknown)} unknown keys ({named})."
            + other_dasr(published)
        )
    if layout.modulation is not None:
        converted = _name_plain_blocks(converted, layout.modulation)
    # DASR's gates are 1x1 convolutions of one pixel.
    converted = {key: value.flatten(1) if ".gate." in key else value for key, value in converted.items()}
    if "momentum_contrast.queue_pointer" in converted:
        converted["momentum_contrast.queue_pointer"] = converted["momentum_contrast.queue_pointer"].reshape(())
    if layout is LIGHTBSR and "momentum_contrast.query.encoder.layers.0.weight" in converted:
        converted["prior_basis"] = _basis(converted, prior_basis)
    elif prior_basis is not None:
        raise ValueError(
            f"prior_basis: only a teacher of LightBSR has a prior; this is another checkpoint of {layout.method}."
        )
    _check_complete(converted, layout)
    return converted


def _name_plain_blocks(converted: dict[str, Tensor], modulation: str) -> dict[str, Tensor]:
    """The published codes list a group's plain block last among the blocks; it is the one without modulation."""
    renamed = {}
    for key, value in converted.items():
        match = re.match(r"(sr\.groups\.\d+\.)(blocks\.\d+\.)tail\.(.*)", key)
        if match and f"{match[1]}{match[2]}{modulation}" not in converted:
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


def _check_mean(published: Mapping[str, Tensor], layout: PublishedLayout) -> None:
    mean = torch.tensor(layout.rgb_mean)
    expected = {"weight": torch.eye(3), "sub_mean": -mean, "add_mean": mean}
    for key, value in published.items():
        match = _CONSTANT.fullmatch(key)
        if match:
            wanted = expected["weight" if match[2] == "weight" else f"{match[1]}_mean"]
            flat = value.detach().float().cpu().flatten()
            close = flat.shape == wanted.flatten().shape
            if not close or not torch.allclose(flat, wanted.flatten(), atol=1e-3 * float(mean.max())):
                raise ValueError(
                    f"{key}: this checkpoint shifts colours by another mean than {layout.method}'s {layout.rgb_mean}."
                )


def _check_complete(converted: Mapping[str, Tensor], layout: PublishedLayout) -> None:
    options = infer_options(converted)
    network = layout.networks[options.pop("type")]
    with torch.device("meta"):
        net = network(**options)
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    converted = complete_momentum_parts(net, converted)
    missing = [key for key in expected if key not in converted]
    surplus = [key for key in converted if key not in expected]
    misfits = [key for key in expected if key in converted and tuple(converted[key].shape) != expected[key]]
    if missing or surplus or misfits:
        first = (missing or surplus or misfits)[0]
        raise ValueError(
            f"not a complete checkpoint of the published {layout.method} code: {len(missing)} values missing, "
            f"{len(surplus)} too many, {len(misfits)} of another shape (first: {first})."
        )
