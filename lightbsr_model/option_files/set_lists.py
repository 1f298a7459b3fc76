"""Test sets times presets as two lists: one section of ``datasets`` that stands for many.

    test:
      type: BlindDegradationBenchmarkDataset
      sets: {Set5: datasets/Set5, Set14: datasets/Set14}
      presets: [bicubic, iso_1.2]

is ``test_1`` to ``test_4``, named Set5_bicubic, Set5_iso_1.2, Set14_bicubic and Set14_iso_1.2, each with all other keys of
the section.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

from lightbsr_model.option_files.document import MOST_VALUES, KeyPath, OptionDocument

MOST_SETS = 999
"""Most data sets that one section may stand for."""

_LISTS = ("sets", "presets")
_PHASES = ("val", "test")


class _Part(NamedTuple):
    """A set or a preset: how it is called, what it gives to a data set, and the key that says so."""

    name: str
    options: dict[str, Any]
    key: KeyPath


def expand_sets(document: OptionDocument) -> None:
    """Replace each section of ``datasets`` that has ``sets`` or ``presets`` by those that it stands for.

    What is wrong with the lists is added to the document's problems, by the line of the list.
    """
    datasets = document.options.get("datasets")
    if not isinstance(datasets, dict):
        return
    expanded: dict[str, Any] = {}
    lists: set[KeyPath] = set()
    for name, section in datasets.items():
        place = ("datasets", name)
        if not (name.split("_")[0] in _PHASES and isinstance(section, dict) and any(key in section for key in _LISTS)):
            expanded[name] = section
            continue
        lists.add(place)
        new = _expanded(place, section, document)
        for key in new:
            if key in datasets or key in expanded:
                message = f"given by datasets:{key} and by the lists of datasets:{name}: rename one"
                document.problems.append(document.problem(place, message))
        expanded.update(new)
    document.options["datasets"] = expanded
    document.lines = {key: line for key, line in document.lines.items() if key[:2] not in lists}
    document.files = {key: file for key, file in document.files.items() if key[:2] not in lists}


def _expanded(place: KeyPath, section: dict[str, Any], document: OptionDocument) -> dict[str, Any]:
    faults = list(_faults(place, section))
    document.problems += [document.problem(key, message) for key, message in faults]
    if faults:
        return {}
    common = {key: value for key, value in section.items() if key not in _LISTS}
    sets = list(_sets(place, section))
    presets = [_Part(name, {"preset": name}, (*place, "presets")) for name in section.get("presets", ())]
    pairs = [
        [*one, *preset] for one in ([[one] for one in sets] or [[]]) for preset in ([[one] for one in presets] or [[]])
    ]
    values = len(pairs) * _size(common) + max(1, len(presets)) * sum(_size(one.options) for one in sets)
    if len(pairs) > MOST_SETS or values > MOST_VALUES:
        message = f"{len(pairs)} data sets of {values} values; at most {MOST_SETS} of {MOST_VALUES} values are taken"
        document.problems.append(document.problem(place, message))
        return {}
    digits = 1 if len(pairs) < 10 else 3  # in the order of their names they are in the order of the lists
    new: dict[str, Any] = {}
    for number, parts in enumerate(pairs, 1):
        key = f"{place[1]}_{number:0{digits}}"
        title = "_".join([*([] if sets else [common["name"]]), *(part.name for part in parts)])
        new[key] = {"name": title, **deepcopy({name: value for name, value in common.items() if name != "name"})}
        for name in common:
            document.place((place[0], key, name), (*place, name))
        for part in parts:
            new[key].update(deepcopy(part.options))
            for name in ("name", *part.options):
                document.place((place[0], key, name), part.key)
        document.place((place[0], key), parts[-1].key)
    return new


def _size(value: Any) -> int:
    """Number of values in a section or a list."""
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_size, entries))


def _sets(place: KeyPath, section: dict[str, Any]) -> Iterator[_Part]:
    for name, value in (section.get("sets") or {}).items():
        if value is not None:
            options = value if isinstance(value, dict) else {"dataroot_gt": value}
            yield _Part(name, options, (*place, "sets", name))


def _faults(place: KeyPath, section: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with the two lists, by key."""
    sets, presets = section.get("sets", {}), section.get("presets", [])
    if not isinstance(sets, dict):
        yield (*place, "sets"), f"expected sets and their folders, {{Set5: datasets/Set5}}, got {sets!r}"
    elif "sets" in section and not any(value is not None for value in sets.values()):
        yield (*place, "sets"), "expected at least one set"
    else:
        for name, value in sets.items():
            if value is not None and not isinstance(value, (str, dict)):
                yield (*place, "sets", name), f"expected a folder, an LMDB, or a section of its options, got {value!r}"
    if not isinstance(presets, list) or not all(isinstance(name, str) for name in presets):
        yield (*place, "presets"), f"expected a list of presets, got {presets!r}"
    elif "presets" in section and not presets:
        yield (*place, "presets"), "expected at least one preset"
    elif len(set(presets)) < len(presets):
        yield (*place, "presets"), f"a preset is given twice in {presets!r}: remove one"
    if "sets" in section and "name" in section:
        yield (*place, "name"), "the data sets are called after `sets` and `presets`: remove it"
    if "sets" not in section and not isinstance(section.get("name"), str):
        yield (*place, "name"), "missing; the data sets are called after it and `presets`"
    if "presets" in section and "preset" in section:
        yield (*place, "preset"), "`presets` gives it: remove one"
