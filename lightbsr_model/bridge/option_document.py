"""Read an option file: every value with its line, nothing in it run.

BasicSR's loader (``utils/options.py:27``) runs ``!!python/...`` tags, takes ``2e-4`` for a word, lets the last of two equal
keys win, and fails on merge keys; ``--force_yml`` (``:117``) uses exec and eval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the options."""

    key: KeyPath
    """Where, from the top."""
    message: str
    """What came, what was expected, what to do."""
    line: int | None = None
    """In the file, from 1 up; None for what the command line said."""

    def __str__(self) -> str:
        place = f"line {self.line}, " if self.line else ""
        return f"{place}{':'.join(self.key) or 'the file'}: {self.message}"


@dataclass
class OptionDocument:
    """An option file's content."""

    options: dict[str, Any] = field(default_factory=dict)
    """The values, as BasicSR's loader would give them."""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    """The line of every key."""
    problems: list[Problem] = field(default_factory=list)
    """What is wrong with the file as YAML."""
    text: str = ""
    """The file."""

    def problem(self, key: KeyPath, message: str) -> Problem:
        """A problem with a key, with its line or that of the section around it."""
        place: KeyPath = key
        while place and place not in self.lines:
            place = place[:-1]
        return Problem(key, message, self.lines.get(place))


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also knows exponents without a point: 2e-4."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)

_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str"))
_MERGE_TAG = "tag:yaml.org,2002:merge"


def read_document(path: Path) -> OptionDocument:
    """Read an option file.

    Raises:
        OSError: It cannot be read.
    """
    return parse_document(path.read_text(encoding="utf-8"))


def parse_document(text: str) -> OptionDocument:
    """Parse an option file's text; all that is wrong with it as YAML is in ``problems``."""
    document = OptionDocument(text=text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        value = _construct(loader, node, (), document) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        document.problems.append(Problem((), f"not YAML: {error.problem}", mark.line + 1 if mark else None))
        return document
    except yaml.YAMLError as error:
        document.problems.append(Problem((), f"not YAML: {error}"))
        return document
    if isinstance(value, dict):
        document.options = value
    else:
        document.problems.append(Problem((), f"expected keys and values, got {value!r}", 1))
    return document


def _construct(loader: _Loader, node: yaml.Node, key: KeyPath, document: OptionDocument) -> Any:
    line = node.start_mark.line + 1
    if len(key) > 50:
        document.problems.append(Problem(key[:3], "nested more than 50 deep", line))
        return None
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        return _construct_mapping(loader, node, key, document)
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        return [_construct(loader, entry, (*key, str(number)), document) for number, entry in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _PLAIN_TAGS:
            try:
                return loader.construct_object(node)
            except (ValueError, yaml.YAMLError):
                document.problems.append(Problem(key, f"{node.value!r} is no {node.tag.split(':')[-1]}", line))
                return None
        if node.tag == "tag:yaml.org,2002:timestamp":
            return node.value
    document.problems.append(
        Problem(
            key,
            f"the tag {node.tag.replace('tag:yaml.org,2002:', '!!')} is refused: it could run code; write a plain value",
            line,
        )
    )
    return None


def _construct_mapping(
    loader: _Loader, node: yaml.MappingNode, key: KeyPath, document: OptionDocument
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == _MERGE_TAG:
            document.problems.append(
                Problem(key, "a merge key (<<) is not understood by BasicSR: write its keys out", line)
            )
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append(Problem(key, "expected a word as key", line))
            continue
        name = str(key_node.value)
        here = (*key, name)
        if name in values:
            first = document.lines[here]
            document.problems.append(Problem(here, f"given twice, first in line {first}: remove one", line))
        document.lines[here] = line
        values[name] = _construct(loader, value_node, here, document)
    return values


def force_options(document: OptionDocument, entries: list[str]) -> None:
    """Apply ``--force_yml KEY:KEY=VALUE``: values as YAML writes them, new keys too; nothing is run.

    What is wrong with an entry is added to the document's problems.
    """
    for entry in entries:
        words, separator, written = entry.partition("=")
        key = tuple(word.strip() for word in words.split(":"))
        if not separator or not all(key):
            document.problems.append(Problem((), f"--force_yml {entry!r}: expected KEY:KEY=VALUE"))
            continue
        parsed = parse_document(f"value: {_as_yaml(written.strip())}")
        if parsed.problems or "value" not in parsed.options:
            reason = "; ".join(problem.message for problem in parsed.problems)
            document.problems.append(Problem(key, f"--force_yml: {written!r} is no YAML value ({reason})"))
            continue
        _put(document, key, parsed.options["value"])


def _as_yaml(written: str) -> str:
    return "null" if written.lower() == "none" else written


def _put(document: OptionDocument, key: KeyPath, value: Any) -> None:
    section = document.options
    for depth, name in enumerate(key[:-1], 1):
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            document.problems.append(Problem(key, f"--force_yml: {':'.join(key[:depth])} is a value, not a section"))
            return
    section[key[-1]] = value
    for known in [known for known in document.lines if known[: len(key)] == key]:
        del document.lines[known]


def sections(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """The entries whose key starts with a prefix."""
    return ((key, value) for key, value in options.items() if key.startswith(prefix))
