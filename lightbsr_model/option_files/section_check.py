"""Check one section of an option file against the keys that are declared for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from basicsr import __version__ as basicsr_version

from lightbsr_arch.errors import OptionError
from lightbsr_model.option_files.class_lookup import look_up
from lightbsr_model.option_files.declared.kinds import KINDS, arguments_of, is_basicsr
from lightbsr_model.option_files.document import KeyPath, OptionDocument, Problem
from lightbsr_model.option_files.suggestions import nearest
from lightbsr_model.runtime.declared_keys import Key, find_key, keys_of, shown

_NO_NETWORK_READS = frozenset(("ema_decay",))
"""Keys that BasicSR's own option files carry in a network's section, and that nothing reads there."""


def names_in(registry: Any) -> set[str]:
    """The names that :func:`~lightbsr_model.option_files.class_lookup.look_up` finds."""
    return {name.removesuffix("_basicsr") for name in registry.keys()}  # noqa: SIM118 - a registry yields pairs


class SectionCheck:
    """Collects the problems of sections.

    Args:
        document: What was read, forced values included.
    """

    def __init__(self, document: OptionDocument) -> None:
        self.document, self.options = document, document.options
        self.problems: list[Problem] = list(document.problems)
        self.warnings: list[Problem] = []

    # ---- what is said

    def report(self, key: KeyPath, message: str) -> None:
        """Note a problem."""
        self.problems.append(self.document.problem(key, message))

    def warn(self, key: KeyPath, message: str) -> None:
        """Note something that a run can do with."""
        self.warnings.append(self.document.problem(key, message))

    def idle(self, key: KeyPath, reason: str) -> None:
        """Note a key that nothing reads, unless it is ~."""
        if self.at(*key) is not None:
            self.warn(key, f"has no effect: {reason}")

    def unknown(self, key: KeyPath, names: Mapping[str, Any] | set[str]) -> None:
        """Report a key that is none of a section's, unless it takes away by ~ what a file below this one says."""
        if self.document.bases and self.at(*key) is None:
            return
        self.report(key, f"unknown key{nearest(key[-1], names)}; correct or remove it")

    # ---- values

    def at(self, *key: str) -> Any:
        """A value of the file; None where it is missing or ~."""
        value: Any = self.options
        for name in key:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def is_good(self, *key: str) -> bool:
        """Whether no problem was found with a key or the keys within it."""
        return not any(problem.key[: len(key)] == key for problem in self.problems)

    def good(self, *key: str) -> Any:
        """A value that has no problem; None where it has one, is missing or ~."""
        return self.at(*key) if self.is_good(*key) else None

    def section(self, *key: str) -> dict[str, Any]:
        """A section; an empty one where there is none. A value in its place was reported with the section around it."""
        value = self.at(*key)
        return value if isinstance(value, dict) else {}

    def closed(self, place: KeyPath, declared: type) -> None:
        """Check a section whose keys are all declared."""
        keys = keys_of(declared)
        names = {f"{name}g" if key.rule.prefix else name for name, key in keys.items()}
        self.keys(place, keys, lambda name: find_key(keys, name) is not None, lambda key: self.unknown(key, names))

    def keys(
        self,
        place: KeyPath,
        keys: Mapping[str, Key],
        is_known: Callable[[str], bool],
        unknown: Callable[[KeyPath], None],
        optional: Callable[[str], bool] = lambda name: False,
    ) -> None:
        """Check a section: keys that nobody knows, values of the declared ones, required ones that are missing.

        Args:
            place: Where the section is.
            keys: What is declared.
            is_known: Whether a name may stand in this section.
            unknown: Judges a key that may not.
            optional: Which of the required keys may be missing all the same.
        """
        section = self.section(*place)
        # Where it is no value of a required key, ~ is as good as nothing.
        nothing = {name for name, value in section.items() if value is None and self._needs_value(find_key(keys, name))}
        for name in list(section):
            key = find_key(keys, name)
            if not is_known(name):
                unknown((*place, name))
            if key is not None and name not in nothing:
                self.value((*place, name), section, key)
        for name, key in keys.items():
            if key.is_required and (name not in section or name in nothing) and not optional(name):
                self.report((*place, name), f"missing; expected {key.expected}. {key.rule.sentence}".strip())

    @staticmethod
    def _needs_value(key: Key | None) -> bool:
        return key is not None and key.is_required and key.fault(None) is not None

    def value(self, place: KeyPath, section: dict[str, Any], key: Key) -> None:
        """Check one value, and write it as code expects it (5e3 as 5000)."""
        value = section[place[-1]]
        if key.rule.idle:
            self.idle(place, key.rule.idle)
        elif key.rule.kind in KINDS and not (value is None and key.fault(None) is None):
            self.typed(place, value, key.rule.kind)
        elif (fault := key.fault(value)) is not None:
            self.report(place, fault)
        elif key.section is not None and value is not None:
            self.closed(place, key.section)
        else:
            section[place[-1]] = key.normalised(value)

    # ---- sections that name a class

    def typed(self, place: KeyPath, section: Any, word: str) -> None:
        """Check a section whose ``type`` names a class of a kind, and whose other keys are its arguments."""
        kind = KINDS[word]
        if not isinstance(section, dict):
            self.report(place, f"expected a section with the `type` of the {word}, got {shown(section)}")
            return
        name = section.get("type")
        if name is None:
            self.report((*place, "type"), f"missing; expected the name of the {word}")
        elif isinstance(name, str) and name in kind.refused:
            self.report((*place, "type"), f"{name} {kind.refused[name]}: take another, such as Adam")
        elif (cls := self.class_of((*place, "type"), kind.registry, name, word)) is not None:
            self.arguments(place, section, cls, word)

    def class_of(self, place: KeyPath, registry: Any, name: Any, word: str) -> Any:
        """The class that BasicSR will find under a name; None, and a problem, if there is none."""
        if not isinstance(name, str):
            self.report(place, f"expected the name of the {word}, got {shown(name)}")
            return None
        try:
            cls = look_up(registry, name)
        except OptionError as error:
            self.report(place, str(error))
            return None
        if cls is None:
            hint = nearest(name, names_in(registry))
            if not isinstance(registry, dict):
                hint += f"; neither BasicSR {basicsr_version} nor lightbsr has it: for one of another package write "
                hint += f"package.module.{shown(name)[1:-1]}"
            self.report(place, f"no {word} is named {shown(name)}{hint}")
        return cls

    def arguments(self, place: KeyPath, section: dict[str, Any], cls: Any, word: str) -> None:
        """Check the arguments of a class or function."""
        keys, takes_any = arguments_of(cls, word)
        takes_any = takes_any and not (word == "metric" and is_basicsr(cls))  # BasicSR's take any argument and drop it
        ignored = getattr(cls, "ignored_options", {})
        known = {"type", *keys} - set(ignored)

        def unknown(key: KeyPath) -> None:
            if key[-1] in ignored:
                self.idle(key, ignored[key[-1]])
            elif word == "arch" and key[-1] in _NO_NETWORK_READS:
                self.idle(key, "no network reads it; it is a key of train")
            elif not takes_any:
                self.unknown(key, set(keys))

        self.keys(place, {name: keys[name] for name in keys if name in known}, lambda name: name in known, unknown)
