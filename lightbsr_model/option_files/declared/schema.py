"""The JSON schema of option files, by which editors complete and check YAML (yaml-language-server).

No key is required: a file may say only what differs from another one. What fits together, ``lightbsr check`` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lightbsr_model.degradation.second_order_options import KEYS as REAL_WORLD_KEYS
from lightbsr_model.option_files.declared import sections
from lightbsr_model.option_files.declared.catalogue import NamedClass, classes_of, data_sets, models
from lightbsr_model.option_files.declared.kinds import KINDS
from lightbsr_model.runtime.declared_keys import Key, keys_of
from lightbsr_model.training.train_options import SROptions

Schema = dict[str, Any]


def schema() -> Schema:
    """The schema, draft 2020-12."""
    top = _object(keys_of(sections.TrainingTop))
    properties: Schema = top["properties"]
    names = [entry.name for entry in models("train")]
    properties["model_type"] = _described(
        {"anyOf": [{"enum": names}, {"type": "string", "pattern": r"\."}]}, properties["model_type"]["description"]
    )
    properties["base"] = {"type": "string", "description": "Option file that this one is laid over."}
    properties["path"] = _object(keys_of(sections.Path), closed=True, nullable=True)
    properties["logger"] = _object(keys_of(sections.Logger), closed=True)
    properties["dist_params"] = _object(keys_of(sections.DistParams), closed=True, nullable=True)
    properties["datasets"] = _described(
        {
            "type": "object",
            "properties": {"train": _data_set(sections.TrainingLoader)},
            "patternProperties": {"^(val|test)(_.*)?$": _or_nothing(_data_set(sections.Loader, _LISTS))},
        },
        properties["datasets"]["description"],
    )
    of_models = {name: key for entry in models("train") for name, key in entry.keys.items()}
    properties["train"] = _object({**of_models, **keys_of(SROptions), **_of_ours(models("train"))})
    properties["train"]["patternProperties"]["^.+_opt$"] = {"anyOf": [{"$ref": "#/$defs/loss"}, {"type": "null"}]}
    properties["val"] = _object({**keys_of(sections.TrainingVal), **keys_of(sections.SRVal)}, nullable=True)
    properties["val"]["properties"]["metrics"] |= {"additionalProperties": _or_nothing({"$ref": "#/$defs/metric"})}
    of_teachers = {name: key for entry in models("teacher") for name, key in entry.keys.items()}
    properties["teacher"] = _object(of_teachers, closed=True, nullable=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Option file of BasicSR and LightBSR",
        **top,
        "$defs": {**{word: _by_type(classes_of(word), word) for word in KINDS}, "degradation": _degradation()},
    }


def _or_nothing(rule: Schema) -> Schema:
    """What may be ~, which takes back what a base says."""
    return {"anyOf": [rule, {"type": "null"}]}


def _of_ours(entries: Iterable[NamedClass]) -> Mapping[str, Key]:
    return {name: key for entry in entries for name, key in entry.keys.items() if not key.rule.idle}


_LISTS: Schema = {
    "sets": {"type": "object", "description": "Test sets: folders, or sections of their options, by name."},
    "presets": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Degradations by name; each set is tested under each of them.",
    },
}
"""What stands for several data sets; written out before a file is checked."""


def _data_set(loader: type, besides: Schema | None = None) -> Schema:
    keys = keys_of(loader)
    general = _object({**keys_of(sections.BasicSRSet), **keys})
    general["properties"] |= besides or {}
    by_type = _by_type(data_sets(), "data set")
    general["properties"]["type"] = by_type["properties"]["type"]
    return {**general, "allOf": by_type["allOf"]}


def _by_type(entries: Iterable[NamedClass], word: str) -> Schema:
    """A section whose ``type`` decides which other keys it has."""
    named = list(entries)
    # A dotted name (package.module.Class) is a class of another package, and not every torch has the same optimisers.
    others = {"type": "string", **({"pattern": r"\."} if word != "optimiser" else {})}
    names = {"anyOf": [{"enum": [entry.name for entry in named]}, others]}
    return {
        "type": "object",
        "properties": {"type": _described(names, f"Name of the {word}.")},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": entry.name}}, "required": ["type"]},
                "then": {"properties": {name: _value(key) for name, key in entry.keys.items()}},
            }
            for entry in named
            if entry.keys
        ],
    }


def _object(keys: Mapping[str, Key], closed: bool = False, nullable: bool = False) -> Schema:
    patterns = {f"^{key.name}.+$": _value(key) for key in keys.values() if key.rule.prefix}
    return {
        "type": ["object", "null"] if nullable else "object",
        "properties": {name: _value(key) for name, key in keys.items() if not key.rule.prefix},
        "patternProperties": patterns,
        **({"additionalProperties": False} if closed else {}),
    }


def _value(key: Key) -> Schema:
    if key.rule.kind in KINDS:
        value: Schema = {"$ref": f"#/$defs/{key.rule.kind}"}
    elif key.section is not None:
        value = _object(keys_of(key.section), closed=True)
    else:
        value = key.schema()
    if key.name == "degradation":
        value = {"$ref": "#/$defs/degradation"}
    if key.fault(None) is not None or "anyOf" not in value:
        value = {"anyOf": [value, {"type": "null"}]}  # ~ takes back what a base says
    if not key.is_required and _is_plain(key.default):
        value = {**value, "default": list(key.default) if isinstance(key.default, tuple) else key.default}
    return _described(value, key.rule.sentence)


def _degradation() -> Schema:
    """Parameters of a preset that are overridden; those of Gaussian presets are left open."""
    return {"type": "object", "properties": {name: _override(key) for name, key in REAL_WORLD_KEYS.items()}}


def _override(key: Key) -> Schema:
    """A parameter of a real-world preset; a number stands for a range of it alone."""
    value = key.schema()
    is_range = key.rule.length == 2
    return _described({"anyOf": [value, value["items"]]} if is_range else value, key.rule.sentence)


def _described(value: Schema, sentence: str) -> Schema:
    return {**value, "description": sentence} if sentence else value


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, tuple, dict)) and value != {}
