"""A model card of what a training's checkpoint says: its option file is a text of whoever made the checkpoint."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from lightbsr_arch.weights.model_card import NOT_STATED, ModelCard

_LONGEST_FILE = 64 * 1024
"""Characters of an option file; those that come with the package have up to 6,500."""

_LONGEST_TEXT = 500
"""Characters of one text in the summary."""

_MOST_VALUES = 50
"""Number of values in one list or mapping of the summary."""

_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
"""What YAML's words for other values than texts and numbers stand for."""


def card_of_training(said: Mapping[Any, Any]) -> ModelCard:
    """Sum up a training.

    Args:
        said: The entry ``lightbsr`` of a checkpoint.

    Raises:
        ValueError: Its option file cannot be read; the message gives the reason.
    """
    options = _read_yaml(said.get("option_file") or "")
    data = _section(_section(options, "datasets"), "train")
    train = _section(options, "train")
    preset = _plain(_scalar(data.get("preset")), 0) or NOT_STATED
    degradation = _plain(_scalar(data.get("degradation")), 2)
    summary = {
        "name": options.get("name"),
        "model_type": options.get("model_type"),
        "iterations": said.get("iteration"),
        "encoder_iterations": train.get("encoder_iter"),
        "data": data.get("name"),
        "pictures": data.get("pictures"),
        "gt_size": data.get("gt_size"),
        "batch_size_per_process": data.get("batch_size_per_gpu"),
        "processes": said.get("world_size"),
        "ema_decay": train.get("ema_decay"),
        "seed": said.get("manual_seed"),
        "trained_with": f"lightbsr {said['version']}" if isinstance(said.get("version"), str) else None,
    }
    plain = {key: _plain(_scalar(value), 0) for key, value in summary.items()}
    return ModelCard(
        setting=str(preset) if not degradation else f"{preset} with {json.dumps(degradation)}",
        training={key: value for key, value in plain.items() if value is not None},
    )


def _read_yaml(text: Any) -> dict[Any, Any]:
    """An option file, every value of it a text: nothing is constructed, converted or expanded."""
    import yaml

    if not isinstance(text, str):
        raise ValueError(f"option_file: expected text, got {type(text).__name__}")
    if len(text) > _LONGEST_FILE:
        raise ValueError(f"option_file: text of {len(text)} characters, more than {_LONGEST_FILE}")
    try:
        options = yaml.load(text, yaml.BaseLoader)
    except RecursionError as error:
        raise ValueError("option_file: YAML that nests beyond measure") from error
    except yaml.YAMLError as error:
        raise ValueError("option_file: not YAML") from error
    return options if isinstance(options, dict) else {}


def _section(options: Mapping[Any, Any], name: str) -> Mapping[Any, Any]:
    section = options.get(name)
    return section if isinstance(section, Mapping) else {}


def _plain(value: Any, depth: int) -> Any:
    """A value nested at most ``depth`` deep and small enough for a card; None for any other."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else None
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if depth == 0 or not isinstance(value, (dict, list)) or len(value) > _MOST_VALUES:
        return None
    if isinstance(value, list):
        return [_plain(_scalar(one), depth - 1) for one in value]
    return {str(_plain(key, 0)): _plain(_scalar(one), depth - 1) for key, one in value.items()}


def _scalar(value: Any) -> Any:
    """What a short text of YAML spells, else the value itself."""
    if not isinstance(value, str) or len(value) > 30:
        return value
    if value in _WORDS:
        return _WORDS[value]
    with contextlib.suppress(ValueError):
        return int(value)
    with contextlib.suppress(ValueError):
        return float(value)
    return value
