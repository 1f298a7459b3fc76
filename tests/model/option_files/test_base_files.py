"""``base: FILE``: what is merged, what is replaced, and where a problem is said to be."""

from __future__ import annotations

import pytest

from lightbsr_model.option_files import base_files
from lightbsr_model.option_files.base_files import MOST_FILES, read_with_bases
from lightbsr_model.option_files.document import MOST_VALUES, parse_document
from lightbsr_model.option_files.option_check import OptionCheck

from support.helpers import ROOT


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write option files; they are read from another working directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def write_files(**texts):
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.yml"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / f"{next(iter(texts)).replace('__', '/')}.yml"

    return write_files


def _problems(path):
    document = read_with_bases(path)
    return [str(problem).replace(f"{path.parent}/", "") for problem in document.problems]


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ("a: 1\nb: 2", "b: 3\nc: 4", {"a": 1, "b": 3, "c": 4}),
        ("s: {a: 1, t: {b: 2, c: 3}}", "s: {t: {c: 4}}", {"s": {"a": 1, "t": {"b": 2, "c": 4}}}),
        ("s: {l: [1, 2, 3]}", "s: {l: [4]}", {"s": {"l": [4]}}),
        ("l: [{a: 1}, {b: 2}]", "l: [{c: 3}]", {"l": [{"c": 3}]}),
        ("s: {a: 1}", "s: 5", {"s": 5}),
        ("s: 5", "s: {a: 1}", {"s": {"a": 1}}),
        # A class's arguments are kept by the same class alone.
        ("n: {type: A, x: 1}", "n: {type: A, y: 2}", {"n": {"type": "A", "x": 1, "y": 2}}),
        ("n: {type: A, x: 1}", "n: {y: 2}", {"n": {"type": "A", "x": 1, "y": 2}}),
        ("n: {type: A, x: 1}", "n: {type: B, y: 2}", {"n": {"type": "B", "y": 2}}),
        ("n: {x: 1}", "n: {type: B, y: 2}", {"n": {"type": "B", "y": 2}}),
        ("s: {n: {type: A, x: 1}, z: 1}", "s: {n: {type: B}}", {"s": {"n": {"type": "B"}, "z": 1}}),
        # ~ removes a section, and is null over a value.
        ("s: {n: {x: 1}, z: 1}", "s: {n: ~}", {"s": {"z": 1}}),
        ("s: {z: 1, l: [1]}", "s: {z: ~, l: ~}", {"s": {"z": None, "l": None}}),
        ("a: 1", "s: ~", {"a": 1, "s": None}),
        ("s: ~", "s: {a: 1}", {"s": {"a": 1}}),
        ("a: 1", "", {"a": 1}),
    ],
)
def test_merging(write, below, above, expected):
    document = read_with_bases(write(run=f"base: below.yml\n{above}", below=below))
    assert document.problems == []
    assert document.options == expected


def test_keys_keep_the_order_of_the_base(write):
    path = write(run="c: 0\nbase: below.yml\nd: {z: 1}\na: 9", below="a: 1\nb: 2\nc: 3\nd: {x: 1, y: 2}")
    options = read_with_bases(path).options
    assert list(options) == ["a", "b", "c", "d"]
    assert list(options["d"]) == ["x", "y", "z"]


def test_a_file_without_base_is_read_as_it_is(write):
    text = "name: a  # with a comment\nnetwork_g: {type: A}\n"
    document = read_with_bases(write(run=text))
    assert (document.text, document.bases, document.files) == (text, (), {})
    assert document == parse_document(text)


def test_chain_is_seen_from_each_file(write, tmp_path):
    middle = "base: ../two/last.yml\na: 2\nb: 2"
    path = write(run="base: one/middle.yml\na: 1", one__middle=middle, two__last="a: 3\nb: 3\nc: 3")
    document = read_with_bases(path)
    assert document.options == {"a": 1, "b": 2, "c": 3}
    assert [base.resolve() for base in document.bases] == [tmp_path / "one/middle.yml", tmp_path / "two/last.yml"]
    places = {key[0]: (document.lines[key], document.files.get(key)) for key in document.lines}
    assert places == {
        "a": (2, None),
        "b": (3, str(tmp_path / "one/middle.yml")),
        "c": (3, str(tmp_path / "two/last.yml")),
    }


def test_absolute_path_and_home(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    below = write(below="a: 1")
    for name in (below, "~/below.yml"):
        assert read_with_bases(write(run=f"base: {name}")).options == {"a": 1}


def test_shipped_files_are_found_by_name(write, tmp_path):
    path = write(run="base: options/demo/train_teacher.yml\nname: mine")
    document = read_with_bases(path)
    assert document.bases == (ROOT / "options/demo/train_teacher.yml",)
    assert (document.options["name"], document.options["model_type"]) == ("mine", "LightBSRTeacherModel")
    # A file of that name beside the one that names it comes first.
    (tmp_path / "options/demo").mkdir(parents=True)
    (tmp_path / "options/demo/train_teacher.yml").write_text("a: 1")
    assert read_with_bases(path).options == {"a": 1, "name": "mine"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.yml", "there is no file none.yml; a path"),
        ("options/none.yml", "there is no file options/none.yml"),
        ("elsewhere", "there is no file elsewhere"),
        ("/dev/zero", "there is no file /dev/zero"),
        ("'~nobody-of-that-name/a.yml'", "there is no file ~nobody-of-that-name/a.yml"),
        ('"a\\0b"', "there is no file a"),
        ("'" + 5000 * "a" + "'", "there is no file a"),
        ("run.yml", "a circle: run.yml -> run.yml"),
        ("elsewhere/../run.yml", "a circle: run.yml -> run.yml"),
        ("loop.yml", "loop.yml cannot be used: loop.yml, line 1, base: a circle: run.yml -> loop.yml -> run.yml"),
        ("latin.yml", "latin.yml cannot be used: line 2, not UTF-8"),
        ("list.yml", "list.yml cannot be used: line 1, expected keys and values, got a list"),
        ("broken.yml", "broken.yml cannot be used: line 2, not YAML"),
        ("below.yml", "below.yml cannot be used: below.yml, line 2, base: there is no file none.yml"),
        ("[a.yml]", "expected the path of an option file, got ['a.yml']"),
        ("~", "expected the path of an option file, got None"),
        ("5", "expected the path of an option file, got 5"),
    ],
)
def test_a_base_that_cannot_be_used(write, name, message):
    path = write(
        run=f"name: a\nname: b\nbase: {name}\n",
        loop="base: run.yml",
        latin=b"a: 1\nb: \xe9\n",
        list="[a]",
        broken="a: 1\n\tb: 2",
        below="a: 1\nbase: none.yml",
    )
    twice, problem = _problems(path)
    assert twice == "line 2, name: given twice, first in line 1: remove one"
    assert problem.startswith(f"line 3, base: {message}")
    document = read_with_bases(path)
    # Nothing is said of keys that the base may have.
    assert [str(one) for one in OptionCheck(document, is_train=True).run()] == [str(one) for one in document.problems]


def test_chain_has_a_limit(write):
    def chain(files):
        texts = {f"f{number}": f"base: f{number + 1}.yml" for number in range(files - 1)}
        return write(**texts, **{f"f{files - 1}": "a: 1"})

    assert read_with_bases(chain(MOST_FILES)).options == {"a": 1}
    assert f"more than {MOST_FILES} files in a chain" in _problems(chain(MOST_FILES + 1))[-1]


def test_values_are_counted_over_the_chain(write, monkeypatch):
    monkeypatch.setattr(base_files, "MOST_VALUES", 45)
    assert MOST_VALUES == 20_000
    ten = "[x, x, x, x, x, x, x, x, x, x]"
    path = write(run=f"base: below.yml\na: {ten}", below=f"base: last.yml\nb: {ten}", last="c: 1")
    # Each file has a value for itself, and one for base; each list has one for itself.
    assert read_with_bases(path).size == 13 + 13 + 2
    write(last=f"c: &c {ten}\nd: *c")
    assert "last.yml cannot be used: line 1, not YAML: more than" in _problems(path)[-1]


def test_a_problem_is_where_the_key_is(write, tmp_path):
    path = write(
        run="base: below.yml\nname: a\nname: b\ntrain:\n  total_iter: 5\n",
        below="num_gpu: 0\nnum_gpu: 0\ntrain:\n  total_iter: 4\n  ema_decay: 2\n",
    )
    document = read_with_bases(path)
    below = str(tmp_path / "below.yml")
    assert [str(problem) for problem in document.problems] == [
        "line 3, name: given twice, first in line 2: remove one",
        f"{below}, line 2, num_gpu: given twice, first in line 1: remove one",
    ]
    places = {
        key: (document.problem(("train", key), "").file, document.problem(("train", key), "").line)
        for key in ("total_iter", "ema_decay", "missing")
    }
    assert places == {"total_iter": (None, 5), "ema_decay": (below, 5), "missing": (None, 4)}
    problems = [str(problem) for problem in OptionCheck(document, is_train=True).run()]
    assert f"{below}, line 5, train:ema_decay: expected a number from 0 to 1, got 2" in problems
    # Those of the file itself come first.
    first_of_base = next(number for number, problem in enumerate(problems) if below in problem)
    assert all(below in problem for problem in problems[first_of_base:])


def test_nothing_is_remembered_of_a_section_that_is_replaced(write):
    path = write(run="base: below.yml\nn:\n  type: B\nm: ~\n", below="\n\nn: {type: A, x: 1}\nm: {y: 1}\n")
    document = read_with_bases(path)
    assert document.lines == {("n",): 2, ("n", "type"): 3, ("m",): 4}
    assert document.files == {}
    assert document.problem(("n", "x"), "").line == 2
