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
    """In the file, counted from 1; None for values of the command line."""
    file: str | None = None
    """The base file that the line is in; None for the option file itself."""

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line else ""
        place = ", ".join(part for part in (self.file, line) if part)
        return f"{place}{', ' if place else ''}{':'.join(self.key) or 'the file'}: {self.message}"

    @property
    def position(self) -> tuple[str, int]:
        """Sorts problems: those of the option file first, then those of its bases, by line."""
        return self.file or "", self.line or 0


@dataclass
class OptionDocument:
    """An option file's content."""

    options: dict[str, Any] = field(default_factory=dict)
    """The values, as BasicSR's loader would give them."""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    files: dict[KeyPath, str] = field(default_factory=dict)
    """The base file that a key comes from, for the keys that come from one."""
    problems: list[Problem] = field(default_factory=list)
    """What is wrong with the file as YAML."""
    text: str = ""
    """The file."""
    bases: tuple[Path, ...] = ()
    """The files below it, nearest first."""
    size: int = 0
    """Number of values, aliases written out, those of its bases included."""
    was_read: bool = True
    """Whether it is YAML with keys and values; if not, ``problems`` says why, and nothing else can be said of it."""

    def problem(self, key: KeyPath, message: str) -> Problem:
        """A problem with a key, with its line or that of the section around it."""
        place: KeyPath = key
        while place and place not in self.lines:
            place = place[:-1]
        return Problem(key, message, self.lines.get(place), self.files.get(place))

    def place(self, key: KeyPath, like: KeyPath) -> None:
        """Give a key that no file has the line and the file of another one."""
        self.forget(key)
        if like in self.lines:
            self.lines[key] = self.lines[like]
        if like in self.files:
            self.files[key] = self.files[like]

    def forget(self, key: KeyPath) -> None:
        """Drop the line and the file of a key."""
        self.lines.pop(key, None)
        self.files.pop(key, None)


_DEEPEST = 50

MOST_VALUES = 20_000
"""Most values that an option file and its bases may have together, aliases written out."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also knows exponents without a point (2e-4), and what it was fed to burst with.

    An alias stands for what it names: a kilobyte of aliases of aliases stands for billions of values.
    """

    def __init__(self, text: str, most_values: int) -> None:
        super().__init__(text)
        self.depth, self.left = 0, most_values

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.depth > _DEEPEST:
            raise _refused(f"nested more than {_DEEPEST} deep", self.peek_event().start_mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _refused(message: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=mark)


class _Dumper(yaml.SafeDumper):
    """Writes what ``_Loader`` reads back as the same values: nothing by alias, lists of plain values in one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        plain = not any(isinstance(entry, (list, dict)) for entry in sequence)
        return super().represent_sequence(tag, sequence, flow_style=plain)


for _end in (_Loader, _Dumper):
    _end.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
    )

_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str"))
_MERGE_TAG = "tag:yaml.org,2002:merge"


def read_document(path: Path, most_values: int = MOST_VALUES) -> OptionDocument:
    """Read one option file, a ``base`` in it left as it is; ``whole_options.read_options`` reads all of it.

    All that is wrong with it as YAML is in ``problems``, also that it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return _unreadable("", f"cannot be read: {error.strerror or error}")
    try:
        return parse_document(content.decode("utf-8"), most_values)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _unreadable("", f"not UTF-8 (byte {content[error.start]:#04x}): save it as UTF-8", line)


def parse_document(text: str, most_values: int = MOST_VALUES) -> OptionDocument:
    """Parse an option file's text; all that is wrong with it as YAML is in ``problems``."""
    document = OptionDocument(text=text)
    try:
        loader = _Loader(text, most_values)
        node = loader.get_single_node()
        value = _construct(loader, node, (), document) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        words = [word for word in (error.context, error.problem) if word]
        return _unreadable(text, f"not YAML: {', '.join(words)}", mark.line + 1 if mark else None)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _unreadable(text, f"not YAML: the character {error.character:#04x} is not allowed", line)
    if not isinstance(value, dict):
        return _unreadable(text, f"expected keys and values, got a {type(value).__name__}", 1)
    document.options, document.size = value, most_values - loader.left
    return document


def to_yaml(options: Mapping[str, Any]) -> str:
    """Write plain values so that :func:`parse_document`, and BasicSR's loader, read them back."""
    return yaml.dump(options, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _unreadable(text: str, message: str, line: int | None = None) -> OptionDocument:
    return OptionDocument(text=text, problems=[Problem((), message, line)], was_read=False)


def _construct(loader: _Loader, node: yaml.Node, key: KeyPath, document: OptionDocument) -> Any:
    line = node.start_mark.line + 1
    loader.left -= 1
    if loader.left < 0:
        raise _refused(
            f"more than {MOST_VALUES} values, aliases (*name) written out and bases included", node.start_mark
        )
    if len(key) > _DEEPEST:
        raise _refused(f"nested more than {_DEEPEST} deep", node.start_mark)
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        return _construct_mapping(loader, node, key, document)
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        return [_construct(loader, entry, (*key, str(number)), document) for number, entry in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _PLAIN_TAGS:
            try:
                return loader.construct_object(node)
            except (ValueError, LookupError, yaml.YAMLError):
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
        document.forget(known)


def sections(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """The entries whose key starts with a prefix."""
    return ((key, value) for key, value in options.items() if key.startswith(prefix))
