"""Model files: one ``.safetensors`` that tells all about a network, and loads without pickle or YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lightbsr_arch.checkpoints import load_state_dict
from lightbsr_arch.degradation_probe import DegradationProbe
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.lightbsr import LightBSR
from lightbsr_arch.options import infer_options
from lightbsr_arch.saving import write_whole
from lightbsr_arch.version import __version__

FORMAT = "lightbsr"
"""What the metadata of our files say under ``format``."""

NOT_STATED = "not stated"
"""The setting and the licence of a model whose maker did not say."""

DEFAULT_MODEL = "lightbsr_small_x4"
"""Name of the model that comes with the package."""


@dataclass(frozen=True)
class ModelCard:
    """What a model file says beside the weights."""

    setting: str = NOT_STATED
    """The degradation that it was trained for: a preset's name, with overrides."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """A summary of the training: data, iterations, batch and patch sizes, the teacher."""
    licence: str = NOT_STATED
    """Of the weights."""
    probe: DegradationProbe | None = None
    """Reads degradations off the network's representation."""
    version: str = __version__
    """Of the package that wrote the file."""

    def metadata(self, options: Mapping[str, Any]) -> dict[str, str]:
        """As the strings that a safetensors file holds.

        Args:
            options: The network's, with its ``type``.
        """
        metadata = {
            "format": FORMAT,
            "lightbsr_version": self.version,
            "network": json.dumps(options),
            "scale": str(options["scale"]),
            "setting": self.setting,
            "training": json.dumps(self.training),
            "licence": self.licence,
        }
        return metadata if self.probe is None else {**metadata, "probe": self.probe.to_json()}

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> ModelCard:
        """From a file's metadata.

        Raises:
            ValueError: What ought to be JSON is none.
        """
        training = json.loads(metadata.get("training", "{}"))
        if not isinstance(training, dict):
            raise ValueError(f"training: expected a JSON object, got {metadata['training'][:60]!r}.")
        return cls(
            setting=metadata.get("setting", NOT_STATED),
            training=training,
            licence=metadata.get("licence", NOT_STATED),
            probe=DegradationProbe.from_json(metadata["probe"]) if "probe" in metadata else None,
            version=metadata.get("lightbsr_version", "unknown"),
        )


@dataclass(frozen=True)
class Model:
    """A network that was loaded, and what its file says of it."""

    net: LightBSR
    """In evaluation mode, on the CPU, in float32."""
    card: ModelCard
    """Empty for files that are not ours."""


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
    return path if "/" not in name and path.is_file() else None


def read_card(path: str | Path) -> ModelCard | None:
    """What a file says of itself; None if it is not one of ours.

    Raises:
        ValueError: It says that it is ours, and is damaged; the message names it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError):
        return None
    if metadata.get("format") != FORMAT:
        return None
    try:
        return ModelCard.of(metadata)
    except ValueError as error:
        raise ValueError(f"{path}: its metadata cannot be read ({error}).") from error


def load_model(path: str | Path) -> Model:
    """Load a student of LightBSR from any file that holds one, without running code in it.

    Args:
        path: A ``.safetensors``, a BasicSR checkpoint (``params_ema`` is preferred), a bare state dict or a checkpoint of
            the published code; or the name of a model that comes with the package.

    Raises:
        FileNotFoundError: No such file, and no such name.
        OptionError: Another network, or none; the message names the file.
    """
    if not Path(path).is_file():
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
        return Model(net, read_card(path) or ModelCard())
    except ValueError as error:
        message = str(error)
        raise OptionError(message if message.startswith(str(path)) else f"{path}: {message}") from error


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
    with torch.device("meta"):
        expected = {key: value.shape for key, value in LightBSR(**arguments).state_dict().items()}
    missing = [key for key in expected if key not in state_dict]
    surplus = [key for key in state_dict if key not in expected]
    misfits = [key for key in expected if key in state_dict and state_dict[key].shape != expected[key]]
    for keys, what in ((missing, "missing"), (surplus, "too many"), (misfits, "of another shape than the others tell")):
        if keys:
            raise ValueError(f"not a complete LightBSR: {len(keys)} values {what}, first {keys[0]}.")
    net = LightBSR(**arguments)
    net.load_state_dict(dict(state_dict))
    damaged = [key for key, value in net.state_dict().items() if not bool(value.isfinite().all())]
    if damaged:
        raise ValueError(f"{len(damaged)} of its weights hold NaN or infinity, first {damaged[0]}.")
    return net.eval()
