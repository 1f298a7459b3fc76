"""Base of the readers of the YAMLs of ``lightbsr compare`` and ``lightbsr analyze``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lightbsr_model.option_files.document import KeyPath, OptionDocument, Problem
from lightbsr_model.option_files.folder_names import name_fault
from lightbsr_model.option_files.option_check import OptionProblems
from lightbsr_model.option_files.suggestions import nearest

CHOICES = {"border": ("clamp", "symmetric"), "device": ("auto", "cpu", "cuda")}
"""Keys that take one of a few values."""


class SettingsReader:
    """Reads a document and collects its problems.

    Args:
        document: The YAML.
    """

    def __init__(self, document: OptionDocument) -> None:
        self.document, self.options = document, document.options
        self.problems: list[Problem] = list(document.problems)

    def report(self, key: KeyPath, message: str) -> None:
        """Record a problem."""
        self.problems.append(self.document.problem(key, message))

    def known_values(self, names: Collection[str], required: Collection[str]) -> dict[str, Any]:
        """The values of known keys, where the file could be read.

        Reported are unknown and missing keys, and a ``name`` that cannot be the name of a folder.
        """
        if not self.document.was_read:
            return {}
        for key in self.options:
            if key not in names:
                self.report((key,), f"unknown key{nearest(key, names)}; correct or remove it")
        for key in required:
            if self.options.get(key) is None:
                self.report((key,), "missing")
        name = self.options.get("name")
        if name is not None and (fault := name_fault(name)) is not None:
            self.report(("name",), fault)
        return {key: value for key, value in self.options.items() if key in names}

    def check_choices(self, values: Mapping[str, Any]) -> None:
        """Report an unknown border or device."""
        for key, choices in CHOICES.items():
            if values.get(key, choices[0]) not in choices:
                self.report((key,), f"expected {', '.join(choices)}, got {values[key]!r}")

    def check_whole(self, values: Mapping[str, Any], limits: Mapping[str, tuple[int, int | None]]) -> None:
        """Report values that are not integers within their limits; None means no upper limit."""
        for key, (low, high) in limits.items():
            value = values.get(key, low)
            if not isinstance(value, int) or isinstance(value, bool) or value < low or (high and value > high):
                limits_text = f"from {low} to {high}" if high else f">= {low}"
                self.report((key,), f"expected an integer {limits_text}, got {value!r}")

    def refuse(self, source: str) -> None:
        """Raise all problems, in the order of the file, if there are any.

        Raises:
            OptionProblems: With all of them.
        """
        if not self.document.was_read:
            raise OptionProblems(source, self.document.problems)
        if self.problems:
            raise OptionProblems(source, sorted(self.problems, key=lambda problem: problem.position))
