"""What is made of the declarations for people and editors: docs/options.md, and the JSON schema."""

from __future__ import annotations

import copy
import json
import math
import re

import pytest
import torch

import lightbsr
from lightbsr_model.option_files.declared.catalogue import classes_of, data_sets, models
from lightbsr_model.option_files.declared.kinds import KINDS
from lightbsr_model.option_files.declared.reference import in_yaml, markdown
from lightbsr_model.option_files.declared.schema import schema
from lightbsr_model.option_files.document import parse_document, read_document

from support.helpers import ROOT
from support.training_files import training_options

SCHEMA = ROOT / "options/lightbsr.schema.json"
LISTS = ("compare_", "analyze_", "compare.yml")
OPTION_FILES = sorted(path for path in (ROOT / "options").rglob("*.yml") if not path.name.startswith(LISTS))


def test_the_page_is_current():
    assert (ROOT / "docs/options.md").read_text() == markdown(), (
        "python -m lightbsr_model.option_files.declared.reference > docs/options.md"
    )


def test_the_schema_is_current(capsys):
    assert lightbsr.main(["check", "--schema"]) == 0
    printed = capsys.readouterr().out
    assert SCHEMA.read_text() == printed, "lightbsr check --schema > options/lightbsr.schema.json"
    assert json.loads(printed)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_key_has_a_sentence_or_a_default():
    """Keys of ours are explained; of BasicSR's arguments its docstrings do not explain all."""
    for entry in (*models("train"), *models("teacher"), *data_sets(), *classes_of("arch")):
        for name, key in entry.keys.items() if entry.is_ours else ():
            assert key.rule.idle or key.rule.sentence.endswith("."), (entry.name, name, key.rule.sentence)


def test_types_are_those_that_are_registered():
    names = {word: {entry.name for entry in classes_of(word)} for word in KINDS}
    assert names["arch"] >= {"LightBSR", "LightBSRTeacher", "EDSR", "SRVGGNetCompact"}
    assert names["loss"] >= {"L1Loss", "DegradationContrastiveLoss"}
    assert names["optimiser"] < {*KINDS["optimiser"].registry}
    assert torch.optim.Adam.__name__ in names["optimiser"]
    assert not names["optimiser"] & KINDS["optimiser"].refused.keys()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "~"),
        (True, "true"),
        ("", "''"),
        ((0.9, 0.99), "[0.9, 0.99]"),
        ({"type": "disk"}, "{type: disk}"),
        (5, "5"),
    ],
)
def test_defaults_are_written_as_yaml(value, text):
    assert in_yaml(value) == text
    assert parse_document(f"a: {text}").options["a"] == (list(value) if isinstance(value, tuple) else value)


# ---- what the schema takes and refuses

KEYWORDS = {
    *("$schema", "$defs", "$ref", "title", "description", "default", "type", "enum", "const", "pattern", "properties"),
    *("patternProperties", "additionalProperties", "required", "items", "minItems", "maxItems", "minimum", "maximum"),
    *("exclusiveMinimum", "exclusiveMaximum", "anyOf", "allOf", "if", "then"),
}


def _is_valid(value, rule, root):
    """The keywords of draft 2020-12 that the schema has."""
    unknown = rule.keys() - KEYWORDS
    assert not unknown, unknown
    kinds = rule.get("type", [])
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    types = {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "null": value is None,
        "number": is_number,
        "integer": is_number and value == math.floor(value),
    }
    verdicts = [not kinds or any(types[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))]
    verdicts.append("enum" not in rule or any(type(value) is type(one) and value == one for one in rule["enum"]))
    verdicts.append("const" not in rule or value == rule["const"])
    if isinstance(value, str):
        verdicts.append(re.search(rule.get("pattern", ""), value) is not None)
    if is_number:
        verdicts.append(rule.get("minimum", value) <= value <= rule.get("maximum", value))
        verdicts.append(rule.get("exclusiveMinimum", -math.inf) < value < rule.get("exclusiveMaximum", math.inf))
    if isinstance(value, list):
        verdicts.append(rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", math.inf))
        verdicts += [_is_valid(entry, rule.get("items", {}), root) for entry in value]
    if isinstance(value, dict):
        verdicts += [name in value for name in rule.get("required", [])]
        for name, entry in value.items():
            parts = [rule["properties"][name]] if name in rule.get("properties", {}) else []
            parts += [part for pattern, part in rule.get("patternProperties", {}).items() if re.search(pattern, name)]
            others = rule.get("additionalProperties", True)
            if not parts and others is not True:
                verdicts.append(others is not False and _is_valid(entry, others, root))
            verdicts += [_is_valid(entry, part, root) for part in parts]
    if "$ref" in rule:
        verdicts.append(_is_valid(value, root["$defs"][rule["$ref"].removeprefix("#/$defs/")], root))
    if "anyOf" in rule:
        verdicts.append(any(_is_valid(value, part, root) for part in rule["anyOf"]))
    verdicts += [_is_valid(value, part, root) for part in rule.get("allOf", [])]
    if "if" in rule and _is_valid(value, rule["if"], root):
        verdicts.append(_is_valid(value, rule["then"], root))
    return all(verdicts)


@pytest.mark.parametrize("path", OPTION_FILES, ids=lambda path: path.relative_to(ROOT / "options").as_posix())
def test_our_option_files_fit_the_schema(path):
    options, rules = read_document(path).options, schema()
    assert "name" in options or "base" in options
    assert _is_valid(options, rules, rules)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("scale",), 4.5),
        (("model_type",), "LightBSRTeacherModle"),
        (("datasets", "train", "views"), 0),
        (("datasets", "train", "type"), "BlindDegradation"),
        (("datasets", "train", "io_backend"), {"typ": "disk"}),
        (("datasets", "val", "border"), "mirror"),
        (("network_g", "queue_size"), "many"),
        (("network_g", "layer_scale_init"), 0),
        (("train", "channels_last"), "yes"),
        (("train", "optim_g", "betas"), [0.9]),
        (("train", "optim_g", "lr"), -1),
        (("train", "pixel_opt", "reduction"), "average"),
        (("train", "contrastive_opt", "temperature"), 0),
        (("train", "scheduler", "warmup_iter"), -1),
        (("val", "metrics", "psnr", "crop_border"), -4),
        (("path",), {"strict_load_g": "no"}),
        (("path",), {"pretrain": "x"}),
        (("logger", "print_freq"), 0),
    ],
    ids=str,
)
def test_what_the_schema_refuses(image_folder, place, value):
    options, rules = copy.deepcopy(training_options(image_folder)), schema()
    assert _is_valid(options, rules, rules)
    section = options
    for name in place[:-1]:
        section = section[name]
    section[place[-1]] = value
    assert not _is_valid(options, rules, rules)


def test_every_reference_of_the_schema_leads_somewhere():
    rules = schema()
    found = set(re.findall(r'"\$ref": "#/\$defs/(\w+)"', json.dumps(rules)))
    assert found == rules["$defs"].keys()
