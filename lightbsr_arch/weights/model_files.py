"""Model files: one ``.safetensors`` that describes its network, and loads without pickle or YAML."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lightbsr_arch.display import printable
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.layers.momentum_contrast import complete_momentum_parts
from lightbsr_arch.methods.registry import helper, method_with
from lightbsr_arch.saving import write_whole
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_arch.weights.containers import check_safetensors, is_regular_file
from lightbsr_arch.weights.fit import differences
from lightbsr_arch.weights.identify import infer_options
from lightbsr_arch.weights.model_card import FORMAT, ModelCard

_LOGGER = logging.getLogger(__name__)

_RESTORING = ("lightbsr_photo", "lightbsr_small")
"""What the names of models begin with that restore where none is named, best first."""

DEFAULT_MODEL = "lightbsr_photo_x4"
"""Name of the model that restores where neither a model nor a scale is named."""

SMALL_MODEL = "lightbsr_small_x4"
"""Name of the model of setting 1: blur without noise."""


@dataclass(frozen=True)
class Model:
    """A network that was loaded, and what its file says of it."""

    net: nn.Module
    """In evaluation mode, on the CPU, in float32."""
    options: Mapping[str, Any]
    """The network's ``type`` and sizes, as an option file names them."""
    card: ModelCard
    """Empty for files that are not ours, and where it is damaged."""
    damage: str | None = None
    """Why what the file says of itself cannot be read, although its weights are whole."""


def save_model(path: str | Path, state_dict: Mapping[str, Tensor], card: ModelCard) -> None:
    """Write a network as a model file; what was there before is replaced when the new file is whole.

    Args:
        path: A ``.safetensors``.
        state_dict: In this package's layout.
        card: What to say of it.

    Raises:
        ValueError: No state dict of a network that restores images without more being known, or helps others to learn.
    """
    options = infer_options(state_dict)
    _build(state_dict, options, helpers=True)
    tensors = {key: value.detach().cpu().contiguous() for key, value in state_dict.items()}
    write_whole(Path(path), save(tensors, metadata=card.metadata(options)))


def bundled_models() -> tuple[str, ...]:
    """The names of the models that come with the package."""
    return tuple(sorted(path.stem for path in _bundled_folder().glob("*.safetensors")))


def bundled_model(name: str) -> Path | None:
    """The file of a model that comes with the package; None if there is none of that name."""
    path = _bundled_folder() / f"{name}.safetensors"
    return path if "/" not in name and is_regular_file(path) else None


def default_model(scale: int) -> str:
    """The name of the model of a scale that restores where none is named.

    Raises:
        OptionError: No model of that scale comes with the package.
    """
    for family in _RESTORING:
        if bundled_model(f"{family}_x{scale}") is not None:
            return f"{family}_x{scale}"
    raise OptionError(
        f"no model that enlarges by {scale} comes with the package; {', '.join(bundled_models())} do. Name a file of one."
    )


def _bundled_folder() -> Path:
    return Path(str(resources.files("lightbsr_arch"))) / "pretrained"


def read_card(path: str | Path, options: Mapping[str, Any] | None = None) -> ModelCard | None:
    """What a safetensors file says of itself; None if it is not one of ours.

    Args:
        path: Of the file.
        options: Those of the network that its weights are of, which a probe must fit; None does not look.

    Raises:
        OptionError: It says that it is ours, and is damaged; the message names it.
    """
    metadata = read_metadata(Path(path))
    if metadata.get("format") != FORMAT:
        return None
    try:
        card = ModelCard.of(metadata)
        if card.probe is not None and options is not None and not card.probe.fits(_representation_length(options)):
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


def load_model(path: str | Path, command: str = "", helpers: bool = False) -> Model:
    """Load a network of any method that is here from any file that holds one, without running code in it.

    Args:
        path: A ``.safetensors``, a BasicSR checkpoint (``params_ema`` is preferred), a bare state dict or a checkpoint of
            a published code; or the name of a model that comes with the package.
        command: Of ``lightbsr``: load only networks that restore by it, see :attr:`Method.command`; empty for those that
            restore single images.
        helpers: Take networks too that restore no images but help others to learn, and those of other commands.

    Raises:
        FileNotFoundError: No such file, and no such name.
        OptionError: Another network, one that needs more than an LR image, or none; the message names the file.
    """
    if not is_regular_file(Path(path)):
        bundled = bundled_model(str(path))
        if bundled is None:
            raise MissingFileError(
                f"there is no model {path}: expected a file (.safetensors or .pth), or the name of a model that comes "
                f"with the package: {', '.join(bundled_models())}."
            )
        path = bundled
    with _naming(path):
        state_dict = load_state_dict(path)
        options = infer_options(state_dict)
        net = _build(state_dict, options, command, helpers)
    try:
        return Model(net, options, read_card(path, options) or ModelCard())
    except OptionError as error:
        _LOGGER.warning("%s Its weights are whole and are used; what it says of itself is not.", error)
        return Model(net, options, ModelCard(), str(error))


def load_helper(name: str, scale: int, path: str | Path | None = None) -> nn.Module:
    """Load a network that helps others to learn.

    Args:
        name: Its name in option files.
        scale: What its scale must be.
        path: A checkpoint or ``.safetensors``; None takes the one that comes with the package.

    Returns:
        The network, in evaluation mode, on the CPU.

    Raises:
        MissingFileError: There is no such file, or none of this scale comes with the package.
        OptionError: It is of another network or scale; the message names the file.
    """
    if path is None:
        path = _bundled_folder() / "helpers" / f"{name}_x{scale}.safetensors"
        if not is_regular_file(path):
            raise MissingFileError(f"no {name} of x{scale} comes with the package: train one, and name its file.")
    with _naming(path):
        state_dict = load_state_dict(path)
        options = infer_options(state_dict)
        if options["type"] != name or options.get("scale", scale) != scale:
            raise ValueError(f"expected {name} of x{scale}, got {options['type']} of x{options.get('scale')}.")
        return _build(state_dict, options, helpers=True)


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Name the file in what is wrong with it."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        raise OptionError(message if message.startswith(str(path)) else f"{path}: {message}") from error


def _build(
    state_dict: Mapping[str, Tensor], options: Mapping[str, Any], command: str = "", helpers: bool = False
) -> nn.Module:
    arguments = dict(options)
    kind = arguments.pop("type")
    method, cls = method_with(kind), helper(kind)
    if cls is not None and not helpers:
        raise ValueError(f"this is {kind}, which helps other networks to learn and restores no images.")
    if method is not None:
        cls = method.networks[kind]
    if cls is None:
        raise ValueError(f"this is {kind}, a network that is not here.")
    if command and (method is None or method.command.get(kind) != command):
        raise ValueError(f"this is {kind}, which `lightbsr {command}` cannot run.")
    if method is not None and kind in method.needs and not command and not (helpers and kind in method.command):
        raise ValueError(
            f"this is {kind}, which needs {method.needs[kind]} besides the LR image; {method.who_restores}."
        )
    # Sizes are read off the weights: memory is taken only when all of them are there and fit.
    try:
        with torch.device("meta"):
            on_meta = cls(**arguments)
    except (RuntimeError, ZeroDivisionError) as error:
        raise ValueError(f"its weights have sizes that no {kind} has.") from error
    state_dict = complete_momentum_parts(on_meta, state_dict)
    _check_fit(state_dict, on_meta.state_dict(), kind)
    return with_weights(cls(**arguments), state_dict)


def with_weights(net: nn.Module, state_dict: Mapping[str, Tensor]) -> nn.Module:
    """Load weights into a network, all that it has and no others.

    Returns:
        The network, in evaluation mode.

    Raises:
        ValueError: Weights are missing, too many, of another shape or not finite; the message names the first.
    """
    _check_fit(state_dict, net.state_dict(), type(net).__name__)
    net.load_state_dict(dict(state_dict))
    damaged = [key for key, value in net.state_dict().items() if not bool(value.isfinite().all())]
    if damaged:
        raise ValueError(f"{len(damaged)} of its weights hold NaN or infinity, first {printable(damaged[0], 80)}.")
    return net.eval()


def _check_fit(state_dict: Mapping[str, Tensor], expected: Mapping[str, Tensor], kind: str) -> None:
    if found := differences(expected, state_dict):
        raise ValueError(f"not a complete {kind}: {found}.")


def _representation_length(options: Mapping[str, Any]) -> int:
    """Values of the representation that a network makes of an image; 0 for one that sees more than an image, or makes none."""
    arguments = dict(options)
    kind = arguments.pop("type")
    method = method_with(kind)
    if method is None or kind in method.needs or not hasattr(method.networks[kind], "represent"):
        return 0
    net: Any = method.networks[kind](**arguments).eval()
    with torch.inference_mode():
        return int(net.represent(torch.zeros(1, 3, 4, 4)).shape[1])
