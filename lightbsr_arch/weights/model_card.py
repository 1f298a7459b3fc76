"""What a model file says beside the weights, and the one reader of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightbsr_arch.display import printable
from lightbsr_arch.version import __version__
from lightbsr_arch.weights.degradation_probe import DegradationProbe

FORMAT = "lightbsr"
"""What the metadata of our files say under ``format``."""

NOT_STATED = "not stated"
"""The setting and the licence of a model whose maker did not say."""

_LONGEST = 256 * 1024
"""Characters of one field."""

_DEEPEST = 8
"""Number of JSON values within each other."""


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
            "setting": self.setting,
            "training": json.dumps(self.training),
            "licence": self.licence,
        }
        if "scale" in options:  # of networks that have several
            metadata["scale"] = str(options["scale"])
        if self.probe is not None:
            metadata["probe"] = self.probe.to_json()
            if self.probe.inverse is not None:
                metadata["probe_inverse"] = self.probe.inverse.to_json()
        return metadata

    @classmethod
    def of(cls, metadata: Any) -> ModelCard:
        """From a file's metadata, whatever they are.

        Raises:
            ValueError: They are no card; the message names the field.
        """
        return cls(
            setting=_text(metadata, "setting", NOT_STATED),
            training=json_object(metadata, "training", "{}"),
            licence=_text(metadata, "licence", NOT_STATED),
            probe=_probe(metadata),
            version=_text(metadata, "lightbsr_version", "unknown"),
        )


def _probe(metadata: Any) -> DegradationProbe | None:
    if "probe" not in metadata:
        return None
    inverse = json_object(metadata, "probe_inverse") if "probe_inverse" in metadata else None
    return DegradationProbe.of(json_object(metadata, "probe"), inverse)


def json_object(metadata: Any, name: str, default: str = "") -> dict[str, Any]:
    """A field of a file's metadata that is a JSON object.

    Raises:
        ValueError: It is none, or too deep or long to be one of ours; the message names it.
    """
    text = _text(metadata, name, default)
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{name}: JSON that nests beyond measure") from error
    except ValueError as error:
        raise ValueError(f"{name}: expected JSON, got '{printable(text, 60)}'") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected a JSON object, got '{printable(text, 60)}'")
    if _is_deeper_than(value, _DEEPEST):
        raise ValueError(f"{name}: JSON that nests beyond measure")
    return value


def _text(metadata: Any, name: str, default: str) -> str:
    if not isinstance(metadata, Mapping):
        raise ValueError(f"expected names and texts, got {type(metadata).__name__}")
    value = metadata.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected text, got {type(value).__name__}")
    if len(value) > _LONGEST:
        raise ValueError(f"{name}: text of {len(value)} characters, more than {_LONGEST}")
    return value


def _is_deeper_than(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(inner) and (depth == 0 or any(_is_deeper_than(one, depth - 1) for one in inner))
