"""``docs/options.md``: every declared key with type, range, default and a sentence.

``python -m lightbsr_model.option_files.declared.reference > docs/options.md`` writes it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lightbsr_model.data.set_options import IoBackend
from lightbsr_model.degradation.second_order_options import KEYS as REAL_WORLD_KEYS
from lightbsr_model.option_files.declared import sections
from lightbsr_model.option_files.declared.catalogue import NamedClass, classes_of, data_sets, models
from lightbsr_model.runtime.declared_keys import Key, keys_of
from lightbsr_model.training.train_options import LoopOptions, SROptions, TeacherOptions

_HEAD = """\
# Options

Every key that BasicSR's pipeline and this project declare, made from the declarations that `lightbsr check` uses
(`python -m lightbsr_model.option_files.declared.reference > docs/options.md`). A key without a default must be given; `~` is
YAML's word for nothing. A number of iterations may be written 5e3.

Editors complete and check option files by a schema that is made of the same declarations:
`lightbsr check --schema > lightbsr.schema.json`, and in the file's first lines
`# yaml-language-server: $schema=lightbsr.schema.json`.
"""


_REAL_WORLD = """\
The defaults are those of `realworld_x4` and `realworld_x2`; `photo_x4` and `photo_x2` differ. A number may stand for a range of
this number alone. See [degradations.md](degradations.md).

"""


def markdown() -> str:
    """The whole page."""
    parts = [
        _HEAD,
        _section("The file", {**keys_of(sections.TrainingTop)}, "A file that tests has neither `train` nor `logger`."),
        _section("path", keys_of(sections.Path)),
        _section("datasets: any data set", {**keys_of(sections.TrainingLoader)}, "Read by the loader."),
    ]
    parts += [_section(f"datasets: {entry.name}", entry.keys) for entry in data_sets() if entry.keys]
    parts.append("### degradation of real-world presets\n\n" + _REAL_WORLD + _table(REAL_WORLD_KEYS))
    parts.append("### io_backend\n\n" + _table(keys_of(IoBackend)))
    parts.append(_section("train: any model", keys_of(LoopOptions)))
    parts.append(
        _section("train: BasicSR's SRModel", _beyond(keys_of(SROptions), keys_of(LoopOptions)), "Besides those above.")
    )
    for entry in (entry for entry in models("train") if entry.keys):
        own = _beyond(entry.keys, keys_of(LoopOptions))
        parts.append(_section(f"train: {entry.name}", own, "Besides those of any model."))
        inner = {name: key.section for name, key in own.items() if key.section is not None}
        parts += [f"### {name} of {entry.name}\n\n" + _table(keys_of(part)) for name, part in inner.items()]
    parts.append(_section("teacher", keys_of(TeacherOptions), "For models that learn under a frozen teacher."))
    parts += [
        _section(f"teacher: {entry.name}", own, "Besides those of any model.")
        for entry in models("teacher")
        if (own := _beyond(entry.keys, keys_of(TeacherOptions)))
    ]
    parts.append(_section("val", {**keys_of(sections.TrainingVal), **keys_of(sections.SRVal)}))
    parts.append(_section("logger", keys_of(sections.Logger)))
    parts.append("### wandb\n\n" + _table(keys_of(sections.Wandb)))
    parts.append(_section("dist_params", keys_of(sections.DistParams)))
    parts.append(
        "## Classes by their type\n\nBasicSR's networks are in the schema; their arguments are BasicSR's own.\n"
    )
    for title, word in (
        ("Networks", "arch"),
        ("Losses", "loss"),
        ("Optimisers", "optimiser"),
        ("Schedules", "scheduler"),
        ("Metrics", "metric"),
    ):
        parts.append(f"## {title}\n")
        parts += [_class(entry) for entry in classes_of(word) if entry.is_ours or word != "arch"]
    return "\n".join(parts)


def _beyond(keys: Mapping[str, Key], known: Mapping[str, Key]) -> Mapping[str, Key]:
    return {name: key for name, key in keys.items() if known.get(name) != key}


def _class(entry: NamedClass) -> str:
    return f"### {entry.name}\n\n" + (_table(entry.keys) if entry.keys else "No arguments.\n")


def _section(title: str, keys: Mapping[str, Key], note: str = "") -> str:
    return f"## {title}\n\n" + (f"{note}\n\n" if note else "") + _table(keys)


def _table(keys: Mapping[str, Key]) -> str:
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for key in keys.values():
        name = f"{key.name}*" if key.rule.prefix else key.name
        sentence = f"No effect: {key.rule.idle}." if key.rule.idle else key.rule.sentence
        rows.append(_row(f"`{name}`", key.expected, _default(key), sentence))
    return "\n".join(rows) + "\n"


def _default(key: Key) -> str:
    return "" if key.is_required or (key.rule.prefix and key.rule.kind) else f"`{in_yaml(key.default)}`"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def in_yaml(value: Any) -> str:
    """A default as an option file would give it, in one line."""
    if value is None:
        return "~"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {in_yaml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "[" + ", ".join(in_yaml(entry) for entry in value) + "]"
    return value.__name__ if isinstance(value, type) else str(value) or "''"


if __name__ == "__main__":
    print(markdown(), end="")
