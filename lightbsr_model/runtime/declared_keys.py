"""Keys of option files, declared: a dataclass per section, a field per key, with type, range, default and one sentence.

From a declaration come the check of a file, ``docs/options.md`` and the JSON schema that editors complete YAML with.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from lightbsr_arch.errors import OptionError

_MOST = 2**63 - 1
"""Limit of every number without a limit of its own: what torch, HDF and databases hold. Nothing here is as large."""

Iterations = Annotated[int, "5e3"]
"""An integer that may be written as BasicSR's files do: 5e3."""


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = _Required()
"""The default of a key that must be given."""


@dataclass(frozen=True)
class Rule:
    """What is declared of a key besides its name, type and default."""

    sentence: str
    """What it does, in one sentence."""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    """Lower limit that is not allowed itself."""
    below: float | None = None
    """Upper limit that is not allowed itself."""
    length: int | None = None
    """Number of entries of a list; None for any."""
    filled: bool = False
    """Whether a list must have an entry."""
    reason: str = ""
    """Why the limit is where it is, for the message."""
    kind: str = ""
    """What class the key ``type`` of this section names, see :mod:`lightbsr_model.option_files.declared.kinds`."""
    prefix: bool = False
    """Whether the name is the beginning of names: ``strict_load_`` of ``strict_load_g`` and ``strict_load_d``."""
    idle: str = ""
    """Why the key has no effect, if it has none."""


def key(sentence: str, default: Any = REQUIRED, **rule: Any) -> Any:
    """Declare a key: the right side of a dataclass's field; its type is the field's.

    Args:
        sentence: What the key does.
        default: Its value where it is missing; none makes it required. None, with a type that allows it, means that what
            the key stands for is left out.
        rule: See :class:`Rule`.
    """
    return field(default=None, metadata={"rule": Rule(sentence, **rule), "default": default})


@dataclass(frozen=True)
class Key:
    """One declared key."""

    name: str
    annotation: Any
    """bool, int, float, str, list[...], dict[...], Literal[...], a section's dataclass, unions of them, or Any."""
    rule: Rule
    default: Any = REQUIRED

    @property
    def is_required(self) -> bool:
        """Whether a section without it is refused."""
        return self.default is REQUIRED

    @property
    def expected(self) -> str:
        """Type and range in words."""
        return _listed(_in_words(self.annotation, self.rule))

    @property
    def section(self) -> type | None:
        """The dataclass of the section that the key holds."""
        found = [part for part in (self.annotation, *get_args(self.annotation)) if is_dataclass(part)]
        return found[0] if found and isinstance(found[0], type) else None

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value; None for a good one."""
        if _accepts(self.annotation, value, self.rule):
            return None
        reason = f" ({self.rule.reason})" if self.rule.reason else ""
        takes_words = isinstance(value, (int, float)) and _accepts(self.annotation, "a", self.rule)
        advice = ": put it in quotes" if takes_words else ""
        return f"expected {self.expected}{reason}, got {shown(value)}{advice}"

    def normalised(self, value: Any) -> Any:
        """A good value as code expects it: 5e3 as 5000."""
        return _normalised(self.annotation, value)

    def schema(self) -> dict[str, Any]:
        """Type and range as JSON schema."""
        return _schema(self.annotation, self.rule)


@functools.cache
def keys_of(section: type) -> Mapping[str, Key]:
    """The keys that a section's dataclass declares, those that it inherits included, by name."""
    hints = get_type_hints(section, include_extras=True)
    return {
        entry.name: Key(entry.name, hints[entry.name], entry.metadata["rule"], entry.metadata["default"])
        for entry in fields(section)
    }


def values_of(section: type, given: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A section's values, with the defaults of keys that are not given.

    Args:
        section: The dataclass that declares the section.
        given: The section.
        place: Its dotted name, for messages.

    Raises:
        OptionError: A key is unknown, missing or has a value that it may not have; the message names it.
    """
    keys = keys_of(section)
    for name in given:
        if name not in keys:
            raise OptionError(f"{place}.{name}", f"unknown key; expected {', '.join(keys)}.")
    values = {}
    for name, declared in keys.items():
        values[name] = given.get(name, declared.default)
        if (fault := declared.fault(values[name])) is not None:
            raise OptionError(f"{place}.{name}", f"{fault}.")
    return {name: keys[name].normalised(value) for name, value in values.items()}


def find_key(keys: Mapping[str, Key], name: str) -> Key | None:
    """The key that declares a name, by itself or by its beginning; None where none does."""
    found = keys.get(name)
    if found is not None and not found.rule.prefix:
        return found
    return next(
        (key for key in keys.values() if key.rule.prefix and name.startswith(key.name) and name != key.name), None
    )


def shown(value: Any) -> str:
    """A value in a message, of a line's length."""
    if value is None:
        return "~"
    try:
        text = repr(value)
    except ValueError:  # Python writes no integers of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:80]}... ({len(text)} characters)"


def _accepts(annotation: Any, value: Any, rule: Rule) -> bool:
    parts, origin = get_args(annotation), get_origin(annotation)
    if annotation is Any:
        return True
    if origin in (Union, UnionType):
        return any(_accepts(part, value, rule) for part in parts)
    if origin is Annotated:
        return _accepts(int, int(value) if isinstance(value, float) and value.is_integer() else value, rule)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in parts)
    if annotation in (int, float):
        is_number = isinstance(value, int if annotation is int else (int, float)) and not isinstance(value, bool)
        return is_number and _in_range(value, rule)
    if origin is list:
        fits = isinstance(value, list) and (
            len(value) == rule.length if rule.length else bool(value) or not rule.filled
        )
        return fits and all(_accepts(parts[0], entry, rule) for entry in value)
    if origin is dict or is_dataclass(annotation):
        return isinstance(value, dict)
    return isinstance(value, annotation)


def _in_range(value: float, rule: Rule) -> bool:
    low, high = (-_MOST if rule.low is None else rule.low), (_MOST if rule.high is None else rule.high)
    return (
        low <= value <= high
        and (rule.above is None or value > rule.above)
        and (rule.below is None or value < rule.below)
    )


def _in_words(annotation: Any, rule: Rule) -> list[str]:
    parts, origin = get_args(annotation), get_origin(annotation)
    if origin in (Union, UnionType):
        return [words for part in parts for words in _in_words(part, rule)]
    if origin is Annotated:
        return _in_words(int, rule)
    if origin is Literal:
        # YAML reads a bare `off` as false: one choice in two forms.
        return [str(choice) for choice in parts if choice is not False]
    if annotation in (int, float):
        return [("an integer" if annotation is int else "a number") + _limits(rule)]
    if origin is list:
        entries = _listed(_in_words(parts[0], rule))
        number = f"{rule.length} values" if rule.length else "one or more values" if rule.filled else "values"
        return [f"a list of {number}, each {entries}"]
    if origin is dict or is_dataclass(annotation):
        return ["a section of keys" if not rule.kind else f"a section with the `type` of the {rule.kind}"]
    return [{Any: "any value", NoneType: "~", bool: "true or false", str: "a string"}[annotation]]


def _limits(rule: Rule) -> str:
    if rule.low is not None and rule.high is not None:
        return f" from {rule.low:.15g} to {rule.high:.15g}"
    words = {">=": rule.low, ">": rule.above, "<=": rule.high, "<": rule.below}
    limits = " and ".join(f"{sign} {limit:.15g}" for sign, limit in words.items() if limit is not None)
    return f" {limits}" if limits else ""


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _normalised(annotation: Any, value: Any) -> Any:
    parts, origin = get_args(annotation), get_origin(annotation)
    if origin is Annotated and isinstance(value, float):
        return int(value)
    if origin is list and isinstance(value, list):
        return [_normalised(parts[0], entry) for entry in value]
    if origin in (Union, UnionType):
        for part in parts:
            value = _normalised(part, value)
    return value


def _schema(annotation: Any, rule: Rule) -> dict[str, Any]:
    parts, origin = get_args(annotation), get_origin(annotation)
    if annotation is Any:
        return {}
    if origin in (Union, UnionType):
        return {"anyOf": [_schema(part, rule) for part in parts]}
    if origin is Annotated:
        return _schema(int, rule)
    if origin is Literal:
        return {"enum": list(parts)}
    if annotation in (int, float):
        names = {
            "minimum": rule.low,
            "maximum": rule.high,
            "exclusiveMinimum": rule.above,
            "exclusiveMaximum": rule.below,
        }
        limits = {name: limit for name, limit in names.items() if limit is not None}
        return {"type": "integer" if annotation is int else "number", **limits}
    if origin is list:
        number = {"minItems": rule.length, "maxItems": rule.length} if rule.length else {}
        number |= {"minItems": 1} if rule.filled else {}
        return {"type": "array", "items": _schema(parts[0], rule), **number}
    if origin is dict or is_dataclass(annotation):
        return {"type": "object"}
    return {"type": {NoneType: "null", bool: "boolean", str: "string"}[annotation]}
