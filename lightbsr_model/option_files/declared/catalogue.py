"""All that is declared, in the order of an option file: what the reference and the schema are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

from lightbsr_model.option_files.declared.kinds import KINDS, arguments_of, is_basicsr, is_foreign, is_ours
from lightbsr_model.runtime.declared_keys import Key, keys_of

_IN_EVERY_TORCH = (
    "ASGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
)
"""Optimisers, of which only arguments that are declared by name are listed: torch adds others from version to version."""


@dataclass(frozen=True)
class NamedClass:
    """A class that option files name, of BasicSR, torch or this project."""

    name: str
    """The name in option files."""
    is_ours: bool
    keys: Mapping[str, Key]
    """Its arguments, or what it declares of its section."""


def classes_of(word: str) -> list[NamedClass]:
    """The classes of a kind, ours first; those of other packages, which another environment may lack, are left out."""
    kind = KINDS[word]
    if word == "optimiser":
        declared = keys_of(kind.arguments)
        every = {name: arguments_of(kind.registry[name], word)[0] for name in _IN_EVERY_TORCH}
        return [
            NamedClass(name, False, {argument: key for argument, key in keys.items() if argument in declared})
            for name, keys in sorted(every.items())
        ]
    known = [
        NamedClass(_plain(name), is_ours(cls), arguments_of(cls, word)[0])
        for name, cls in _entries(kind.registry)
        if not is_foreign(cls)
    ]
    return sorted(known, key=lambda entry: (not entry.is_ours, entry.name))


def models(section: str) -> list[NamedClass]:
    """The models, with what ours declare of a section."""
    return _declaring(MODEL_REGISTRY, section)


def data_sets() -> list[NamedClass]:
    """The data sets, with what ours declare."""
    return _declaring(DATASET_REGISTRY, "")


def _declaring(registry: Any, section: str) -> list[NamedClass]:
    found = []
    for name, cls in registry:
        if is_ours(cls) or is_basicsr(cls):
            declared = getattr(cls, "declared_options", {}).get(section)
            found.append(NamedClass(_plain(name), is_ours(cls), keys_of(declared) if declared else {}))
    return sorted(found, key=lambda entry: (not entry.is_ours, entry.name))


def _entries(registry: Any) -> Iterator[tuple[str, Any]]:
    return iter(registry.items() if isinstance(registry, dict) else registry)


def _plain(name: str) -> str:
    return name.removesuffix("_basicsr")
