"""Which keys of an option file a model or data set has: those that it declares, or else those that its source reads.

A class declares its keys in ``declared_options``: the dataclasses (:mod:`lightbsr_model.runtime.declared_keys`) of the
sections that it reads, by section as the class is given them; the section of a data set is "".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY

from lightbsr_model.data.set_options import PairedSet
from lightbsr_model.option_files.class_lookup import look_up
from lightbsr_model.option_files.declared import sections
from lightbsr_model.option_files.declared.kinds import is_foreign, is_ours
from lightbsr_model.option_files.keys_read import keys_read_by
from lightbsr_model.runtime.declared_keys import Key, keys_of

_OF_ANY_MODEL: Mapping[str, tuple[type, ...]] = {
    "": (sections.Top,),
    "val": (sections.Val, sections.SRVal),
    "logger": (sections.Logger,),
    "datasets:train": (PairedSet,),
}
"""Sections that say where a misplaced key belongs, besides those that a model declares."""


def declares(cls: Any) -> bool:
    """Whether all keys of a class are declared. Who derives from a class of ours may read more than that one declares."""
    return "declared_options" in vars(cls) or (is_ours(cls) and hasattr(cls, "declared_options"))


def declared(cls: Any, section: str = "") -> Mapping[str, Key]:
    """The keys that a class declares of a section; none for a class that declares nothing of it, or for None."""
    found = getattr(cls, "declared_options", {}).get(section)
    return keys_of(found) if found is not None else {}


def reads(cls: Any, *section: str) -> set[str]:
    """The keys that a class's source reads from a section; not looked for where they are declared."""
    return set() if cls is None or declares(cls) else keys_read_by(cls).of(*section)


def may_read_more(cls: Any) -> bool:
    """Whether a class may read keys that are neither declared nor found in its source."""
    return not declares(cls) and is_foreign(cls)


def aligns_pairs(model: Any) -> bool:
    """Whether a model learns from finished pairs that differ a little in size and position."""
    return bool(getattr(model, "aligns_pairs", False))


def for_its_model(train_set: Mapping[str, Any], model_type: Any) -> Mapping[str, Any]:
    """A training set's section, with what its model makes of finished pairs where the section leaves that open."""
    is_open = train_set.get("dataroot_lq") is not None and train_set.get("unequal_pairs") is None
    if is_open and aligns_pairs(look_up(MODEL_REGISTRY, model_type)):
        return {**train_set, "unequal_pairs": True}
    return train_set


def sections_with(cls: Any, name: str) -> set[str]:
    """The sections that a class reads a key of this name from; of a data set, and of the top of a file, none."""
    if not declares(cls):
        return {":".join(path[:-1]) for path in keys_read_by(cls).paths if path[-1] == name} - {""}
    own = {section: (keys,) for section, keys in cls.declared_options.items()}
    everywhere = {**_OF_ANY_MODEL, **own} if "" not in own else {}
    return {section for section, parts in everywhere.items() if any(name in keys_of(part) for part in parts)} - {""}
