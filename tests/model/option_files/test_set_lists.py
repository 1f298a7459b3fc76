"""Test sets times presets as two lists: the data sets that they stand for."""

from __future__ import annotations

import pytest
import yaml

from lightbsr_model.option_files.document import parse_document

from support.option_problems import check_of, complete
from support.training_files import training_options

TWO_BY_TWO = """\
datasets:
  train: {name: train}
  test:
    type: T
    sets:
      Set5: datasets/Set5
      Set14: datasets/Set14
    presets: [bicubic, iso_1.2]
    border: clamp
  val: {name: after}
"""


def test_each_set_under_each_preset():
    document = complete(TWO_BY_TWO)
    assert document.problems == []
    common = {"type": "T", "border": "clamp"}
    assert list(document.options["datasets"].items()) == [
        ("train", {"name": "train"}),
        ("test_1", {"name": "Set5_bicubic", "dataroot_gt": "datasets/Set5", "preset": "bicubic", **common}),
        ("test_2", {"name": "Set5_iso_1.2", "dataroot_gt": "datasets/Set5", "preset": "iso_1.2", **common}),
        ("test_3", {"name": "Set14_bicubic", "dataroot_gt": "datasets/Set14", "preset": "bicubic", **common}),
        ("test_4", {"name": "Set14_iso_1.2", "dataroot_gt": "datasets/Set14", "preset": "iso_1.2", **common}),
        ("val", {"name": "after"}),
    ]
    lines = {key[2:]: line for key, line in document.lines.items() if key[:2] == ("datasets", "test_3")}
    assert lines == {(): 8, ("name",): 8, ("preset",): 8, ("dataroot_gt",): 7, ("type",): 4, ("border",): 9}
    assert not any(key[:2] == ("datasets", "test") for key in document.lines)


@pytest.mark.parametrize(("count", "first", "last"), [(9, "val_1", "val_9"), (10, "val_001", "val_010")])
def test_names_of_sections_sort_in_order(count, first, last):
    presets = [f"p{number}" for number in range(count)]
    datasets = complete(f"datasets: {{val: {{name: x, presets: {presets}}}}}").options["datasets"]
    assert (next(iter(datasets)), list(datasets)[-1]) == (first, last)
    assert list(datasets) == sorted(datasets)
    assert [dataset["name"] for dataset in datasets.values()] == [f"x_{preset}" for preset in presets]


def test_one_list_is_enough():
    text = "datasets: {val_a: {preset: bicubic, sets: {A: a, B: {dataroot_gt: b, io_backend: {type: lmdb}}, C: ~}}}"
    assert complete(text).options["datasets"] == {
        "val_a_1": {"name": "A", "preset": "bicubic", "dataroot_gt": "a"},
        "val_a_2": {"name": "B", "preset": "bicubic", "dataroot_gt": "b", "io_backend": {"type": "lmdb"}},
    }


def test_sections_share_nothing():
    text = "datasets: {val: {sets: {A: {io_backend: {type: disk}}}, presets: [a, b], degradation: {noise_level: 5}}}"
    datasets = complete(text).options["datasets"]
    datasets["val_1"]["io_backend"]["type"] = "lmdb"
    datasets["val_1"]["degradation"]["noise_level"] = 0
    assert datasets["val_2"]["io_backend"] == {"type": "disk"}
    assert datasets["val_2"]["degradation"] == {"noise_level": 5}


def test_forced_values_name_the_lists_or_what_they_stand_for():
    forced = ["datasets:test_2:border=symmetric", "datasets:test:presets=[iso_1.2]", "datasets:test_3:name=new"]
    datasets = complete(TWO_BY_TWO, *forced).options["datasets"]
    assert {key: (value["name"], value.get("border")) for key, value in datasets.items() if key.startswith("test")} == {
        "test_1": ("Set5_iso_1.2", "clamp"),
        "test_2": ("Set14_iso_1.2", "symmetric"),
        "test_3": ("new", None),
    }


@pytest.mark.parametrize(
    ("section", "key", "message"),
    [
        ("sets: [a]\npresets: [a]", "sets", "expected sets and their folders, {Set5: datasets/Set5}, got ['a']"),
        ("sets: {}\npresets: [a]", "sets", "expected at least one set"),
        ("sets: {A: ~}\npresets: [a]", "sets", "expected at least one set"),
        ("sets: ~\npresets: [a]", "sets", "expected sets and their folders"),
        ("sets: {A: 5}\npresets: [a]", "sets:A", "expected a folder, an LMDB, or a section of its options, got 5"),
        ("sets: {A: a}\npresets: a", "presets", "expected a list of presets, got 'a'"),
        ("sets: {A: a}\npresets: [1]", "presets", "expected a list of presets, got [1]"),
        ("sets: {A: a}\npresets: []", "presets", "expected at least one preset"),
        ("sets: {A: a}\npresets: [a, b, a]", "presets", "a preset is given twice"),
        ("sets: {A: a}\npresets: [a]\npreset: b", "preset", "`presets` gives it: remove one"),
        ("sets: {A: a}\npresets: [a]\nname: n", "name", "called after `sets` and `presets`: remove it"),
        ("presets: [a]", "name", "missing; the data sets are called after it"),
        (f"sets: {{A: a}}\npresets: {[f'p{number}' for number in range(1000)]}", "", "1000 data sets of"),
        (f"sets: {{A: a}}\nl: {list(range(9000))}\npresets: [a, b, c]", "", "3 data sets of 27"),
    ],
)
def test_what_is_wrong_with_a_list_has_its_line(section, key, message):
    lines = section.splitlines()
    text = "datasets:\n  val:\n" + "".join(f"    {line}\n" for line in lines)
    (problem,) = complete(text).problems
    assert (":".join(problem.key), message in problem.message) == (f"datasets:val{':' if key else ''}{key}", True), (
        problem
    )
    given = [number for number, line in enumerate(lines, 3) if line.startswith(f"{key.split(':')[0]}:")]
    assert problem.line == (given[0] if given else 2)


def test_a_section_of_that_name_is_a_problem():
    (problem,) = complete("datasets:\n  val_1: {name: a}\n  val: {name: x, presets: [p]}\n").problems
    assert str(problem) == "line 3, datasets:val: given by datasets:val_1 and by the lists of datasets:val: rename one"


def test_sections_that_are_not_for_tests_are_left_alone():
    text = "datasets: {train: {presets: [a], sets: {A: a}}, val: {name: v, preset: a}}"
    assert complete(text).options == parse_document(text).options


def test_a_missing_set_is_one_problem(tmp_path, image_folder):
    opt = training_options(image_folder)
    del opt["datasets"]["val"]["name"], opt["datasets"]["val"]["dataroot_gt"], opt["datasets"]["val"]["preset"]
    opt["datasets"]["val"].update(sets={"A": str(tmp_path / "a"), "B": str(image_folder)}, presets=["iso_1.2", "iso_9"])
    text = yaml.safe_dump(opt, sort_keys=False)
    problems = check_of(text).problems
    lines = text.splitlines()
    assert [(problem.line, problem.message.partition(" named")[0].partition(";")[0]) for problem in problems] == [
        (lines.index("    sets:") + 2, problems[0].message.partition(";")[0]),
        (lines.index("    presets:") + 1, "no degradation is"),
    ]
    assert f"there is no folder {tmp_path / 'a'}" in problems[0].message
