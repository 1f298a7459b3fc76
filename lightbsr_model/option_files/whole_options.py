"""A whole set of options: an option file over its bases, forced values, lists of test sets, one scale; and its defaults."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY

from lightbsr_arch.errors import OptionError
from lightbsr_model.option_files.base_files import read_with_bases
from lightbsr_model.option_files.class_lookup import look_up
from lightbsr_model.option_files.class_options import declared
from lightbsr_model.option_files.declared.kinds import KINDS, SCHEDULERS
from lightbsr_model.option_files.document import OptionDocument, force_options, to_yaml
from lightbsr_model.option_files.one_scale import fill_scale
from lightbsr_model.option_files.set_lists import expand_sets
from lightbsr_model.runtime.plain_values import plain


def read_options(path: Path, forced: Sequence[str] = ()) -> OptionDocument:
    """Read an option file to the end: laid over its bases, values forced, lists of sets written out, the scale filled in.

    Args:
        path: The option file.
        forced: The entries of ``--force_yml``. They may name a section that a file gives, or one that its lists of sets
            stand for.
    """
    document = read_with_bases(path)
    complete_options(document, forced)
    return document


def complete_options(document: OptionDocument, forced: Sequence[str] = ()) -> None:
    """Do to a document all that comes after the bases, see :func:`read_options`."""
    if not document.was_read:
        return
    datasets = document.options.get("datasets")
    given = datasets if isinstance(datasets, dict) else {}
    later = [entry for entry in forced if _data_set_of(entry) not in (None, *given)]
    force_options(document, [entry for entry in forced if entry not in later])
    expand_sets(document)
    force_options(document, later)
    fill_scale(document)


def whole_text(options: Mapping[str, Any]) -> str:
    """Options with the defaults of all classes that they name, as the YAML of an option file for the same run."""
    return to_yaml(plain(with_defaults(options)))


def with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with the defaults of every network, loss, schedule and data set that they name."""
    filled: dict[str, Any] = {key: _filled(value, ARCH_REGISTRY) for key, value in options.items()}
    filled.pop("given_options", None)
    train, teacher, datasets = (filled.get(key) for key in ("train", "teacher", "datasets"))
    if isinstance(train, dict):
        filled["train"] = {
            key: _filled(value, SCHEDULERS if key == "scheduler" else LOSS_REGISTRY) for key, value in train.items()
        }
    if isinstance(teacher, dict) and "network" in teacher:
        filled["teacher"] = {**teacher, "network": _filled(teacher["network"], ARCH_REGISTRY)}
    if isinstance(datasets, dict):
        filled["datasets"] = {key: _filled(value, DATASET_REGISTRY) for key, value in datasets.items()}
    return filled


def _data_set_of(entry: str) -> str | None:
    """The data set that an entry of ``--force_yml`` is for; None if it is for none."""
    words = [word.strip() for word in entry.partition("=")[0].split(":")]
    return words[1] if words[0] == "datasets" and len(words) > 1 else None


def _filled(section: Any, registry: Any) -> Any:
    """A section with the defaults of the class that its ``type`` names; anything else as it is."""
    if not isinstance(section, Mapping):
        return section
    try:
        cls = look_up(registry, section.get("type"))
    except OptionError:  # the check reports it
        cls = None
    if cls is None:
        return section
    if registry is DATASET_REGISTRY:
        return {**section, **{name: value for name, value in _declared_defaults(cls).items() if name not in section}}
    return {"type": section["type"], **_defaults_of_arguments(cls), **section}


def _defaults_of_arguments(cls: type) -> dict[str, Any]:
    """Defaults of a class's arguments, as far as YAML can say them."""
    parameters = inspect.signature(cls).parameters
    return {
        name: value.default
        for name, value in parameters.items()
        if name not in KINDS["scheduler"].given
        and value.default is not inspect.Parameter.empty
        and _is_plain(value.default)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(entry) for entry in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _declared_defaults(cls: type) -> dict[str, Any]:
    """Defaults of what a data set reads of its section."""
    return {
        name: key.default
        for name, key in declared(cls).items()
        if not key.is_required and key.default is not None and _is_plain(key.default)
    }
