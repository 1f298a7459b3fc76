"""Model files: one ``.safetensors`` that tells all about a network, and loads without pickle or YAML."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lightbsr_arch.display import printable
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.methods.lightbsr import LightBSR
from lightbsr_arch.saving import write_whole
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_arch.weights.containers import check_safetensors, is_regular_file
from lightbsr_arch.weights.identify import infer_options
from lightbsr_arch.weights.model_card import FORMAT, ModelCard

_LOGGER = logging.getLogger(__name__)

DEFAULT_MODEL = "lightbsr_small_x4"
"""Name of the model that comes with the package."""


@dataclass(frozen=True)
class Model:
    """A network that was loaded, and what its file says of it."""

    net: LightBSR
    """In evaluation mode, on the CPU, in float32."""
    card: ModelCard
    """Empty for files that are not ours, and where it is damaged."""
    damage: str | None = None
    """Why what the file says of itself cannot be read, although its weights are whole."""


def save_model(path: str | Path, state_dict: Mapping[str, Tensor], card: ModelCard) -> None:
    """Write a student of LightBSR as a model file; what was there before is replaced when the new file is whole.

    Args:
        path: A ``.safetensors``.
        state_dict: In this package's layout.
        card: What to say of it.

    Raises:
        ValueError: No state dict of ``LightBSR``.
    """
    options = infer_options(state_dict)
    _build(state_dict, options)
    tensors = {key: value.detach().cpu().contiguous() for key, value in state_dict.items()}
    write_whole(Path(path), save(tensors, metadata=card.metadata(options)))


def bundled_model(name: str) -> Path | None:
    """The file of a model that comes with the package; None if there is none of that name."""
    path = Path(str(resources.files("lightbsr_arch"))) / "pretrained" / f"{name}.safetensors"
    return path if "/" not in name and is_regular_file(path) else None


def read_card(path: str | Path, options: Mapping[str, Any] | None = None) -> ModelCard | None:
    """What a safetensors file says of itself; None if it is not one of ours.

    Args:
        path: Of the file.
        options: Those of the student that its weights are, which a probe must fit; None does not look.

    Raises:
        OptionError: It says that it is ours, and is damaged; the message names it.
    """
    metadata = read_metadata(Path(path))
    if metadata.get("format") != FORMAT:
        return None
    try:
        card = ModelCard.of(metadata)
        if card.probe is not None and options is not None and not card.probe.fits(4 * options["num_encoder_feat"]):
            raise ValueError("probe: its probe is of another network")
        return card
    except ValueError as error:
        raise OptionError(f"{path}: its metadata cannot be read ({str(error).rstrip('.')}).") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The texts beside the weights of a safetensors file; empty for any other file."""
    try:
        check_safetensors(path)
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError):
        return {}


def load_model(path: str | Path) -> Model:
    """Load a student of LightBSR from any file that holds one, without running code in it.

    Args:
        path: A ``.safetensors``, a BasicSR checkpoint (``params_ema`` is preferred), a bare state dict or a checkpoint of
            the published code; or the name of a model that comes with the package.

    Raises:
        FileNotFoundError: No such file, and no such name.
        OptionError: Another network, or none; the message names the file.
    """
    if not is_regular_file(Path(path)):
        bundled = bundled_model(str(path))
        if bundled is None:
            raise MissingFileError(
                f"there is no model {path}: expected a file (.safetensors or .pth), or the name of the model that comes "
                f"with the package, {DEFAULT_MODEL}."
            )
        path = bundled
    try:
        state_dict = load_state_dict(path)
        options = infer_options(state_dict)
        net = _build(state_dict, options)
    except ValueError as error:
        message = str(error)
        raise OptionError(message if message.startswith(str(path)) else f"{path}: {message}") from error
    try:
        return Model(net, read_card(path, options) or ModelCard())
    except OptionError as error:
        _LOGGER.warning("%s Its weights are whole and are used; what it says of itself is not.", error)
        return Model(net, ModelCard(), str(error))


def _build(state_dict: Mapping[str, Tensor], options: Mapping[str, Any]) -> LightBSR:
    arguments = dict(options)
    kind = arguments.pop("type")
    if kind == "LightBSRTeacher":
        raise ValueError(
            "this is a teacher, which needs to be told the degradation; a student is what restores pictures."
        )
    if kind != "LightBSR":
        raise ValueError(f"this is {kind}; only LightBSR runs here. `lightbsr compare` runs the methods beside it.")
    # Sizes are read off the weights: memory is taken only when all of them are there and fit.
    try:
        with torch.device("meta"):
            expected = {key: value.shape for key, value in LightBSR(**arguments).state_dict().items()}
    except (RuntimeError, ZeroDivisionError) as error:
        raise ValueError("its weights have sizes that no LightBSR has.") from error
    missing = [key for key in expected if key not in state_dict]
    surplus = [key for key in state_dict if key not in expected]
    misfits = [key for key in expected if key in state_dict and state_dict[key].shape != expected[key]]
    for keys, what in ((missing, "missing"), (surplus, "too many"), (misfits, "of another shape than the others tell")):
        if keys:
            raise ValueError(f"not a complete LightBSR: {len(keys)} values {what}, first {printable(keys[0], 80)}.")
    net = LightBSR(**arguments)
    net.load_state_dict(dict(state_dict))
    damaged = [key for key, value in net.state_dict().items() if not bool(value.isfinite().all())]
    if damaged:
        raise ValueError(f"{len(damaged)} of its weights hold NaN or infinity, first {damaged[0]}.")
    return net.eval()
