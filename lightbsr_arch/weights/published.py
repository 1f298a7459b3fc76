"""From checkpoints of the authors' codes to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lightbsr_arch.layers.momentum_contrast import complete_momentum_parts
from lightbsr_arch.methods.base import Method
from lightbsr_arch.methods.registry import METHODS, method_of_published_weights
from lightbsr_arch.weights.fit import differences
from lightbsr_arch.weights.identify import infer_options, namesake_hint

_CONSTANT = re.compile(r"G\.(sub|add)_mean\.(weight|bias)")


def is_published_state_dict(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the names of the published code of one of the methods."""
    return method_of_published_weights({key.removeprefix("module.") for key in state_dict}) is not None


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
        :func:`~lightbsr_arch.infer_options` gives.

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
    method = method_of_published_weights(published) or METHODS[0].load()
    layout = method.published
    if layout is None:
        raise ValueError(f"checkpoints of the published {method.name} code cannot be converted.")
    _check_mean(published, method.name, layout.rgb_mean)
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
            f"not a checkpoint of the published {method.name} code: {len(unknown)} unknown keys ({named})."
            + namesake_hint(published)
        )
    if layout.modulation is not None:
        converted = _name_plain_blocks(converted, layout.modulation)
    if layout.finish is not None:
        converted = layout.finish(converted)
    if layout.add_prior_basis is not None:
        converted = layout.add_prior_basis(converted, prior_basis)
    elif prior_basis is not None:
        raise ValueError(f"prior_basis: only a teacher with a prior takes one; this is a checkpoint of {method.name}.")
    _check_complete(converted, method)
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


def _check_mean(published: Mapping[str, Tensor], name: str, rgb_mean: tuple[float, float, float]) -> None:
    mean = torch.tensor(rgb_mean)
    expected = {"weight": torch.eye(3), "sub_mean": -mean, "add_mean": mean}
    for key, value in published.items():
        match = _CONSTANT.fullmatch(key)
        if match:
            wanted = expected["weight" if match[2] == "weight" else f"{match[1]}_mean"]
            flat = value.detach().float().cpu().flatten()
            close = flat.shape == wanted.flatten().shape
            if not close or not torch.allclose(flat, wanted.flatten(), atol=1e-3 * float(mean.max())):
                raise ValueError(f"{key}: this checkpoint shifts colours by another mean than {name}'s {rgb_mean}.")


def _check_complete(converted: Mapping[str, Tensor], method: Method) -> None:
    options = infer_options(converted)
    network = method.classes[options.pop("type")]
    with torch.device("meta"):
        net = network(**options)
    apart = () if method.published is None else method.published.apart
    expected = {key: value for key, value in net.state_dict().items() if not key.startswith(apart)}
    found = differences(expected, complete_momentum_parts(net, converted))
    if found:
        raise ValueError(f"not a complete checkpoint of the published {method.name} code: {found}.")
