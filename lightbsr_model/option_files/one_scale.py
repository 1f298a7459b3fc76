"""The file's ``scale`` goes to all who need it and do not give their own: networks, the teacher's, metrics' borders."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY, METRIC_REGISTRY

from lightbsr_arch.errors import OptionError
from lightbsr_model.option_files.class_lookup import look_up
from lightbsr_model.option_files.declared.kinds import is_foreign
from lightbsr_model.option_files.document import KeyPath, OptionDocument, sections


def fill_scale(document: OptionDocument) -> None:
    """Fill in ``scale`` or ``upscale`` of networks and ``crop_border`` of metrics where they are not given.

    A class of another package gets it only where it has no default: there, nobody knows what its ``scale`` is.
    """
    scale = document.options.get("scale")
    if not isinstance(scale, int) or isinstance(scale, bool):
        return
    for place, section, registry, names in list(_sections_with_scale(document.options)):
        parameters = _parameters(registry, section["type"])
        for name in names:
            if name in parameters and name not in section:
                given = dict(section)
                section.clear()
                section.update({"type": given.pop("type"), name: scale, **given})
                document.place((*place, name), ("scale",))


def _sections_with_scale(options: dict[str, Any]) -> Iterator[tuple[KeyPath, dict[str, Any], Any, tuple[str, ...]]]:
    networks: list[tuple[KeyPath, Any]] = [((key,), network) for key, network in sections(options, "network_")]
    teacher, val = options.get("teacher"), options.get("val")
    if isinstance(teacher, dict):
        networks.append((("teacher", "network"), teacher.get("network")))
    metrics = val.get("metrics") if isinstance(val, dict) else None
    found: list[tuple[KeyPath, Any, Any, tuple[str, ...]]] = [
        (place, network, ARCH_REGISTRY, ("scale", "upscale")) for place, network in networks
    ]
    if isinstance(metrics, dict):
        found += [
            (("val", "metrics", key), metric, METRIC_REGISTRY, ("crop_border",)) for key, metric in metrics.items()
        ]
    return (entry for entry in found if isinstance(entry[1], dict) and isinstance(entry[1].get("type"), str))


def _parameters(registry: Any, name: str) -> set[str]:
    """The arguments of a class or function that may be filled in."""
    try:
        found = look_up(registry, name)
    except OptionError:  # the check reports it
        return set()
    if found is None:
        return set()
    every = inspect.signature(found).parameters
    return {name for name, value in every.items() if not is_foreign(found) or value.default is inspect.Parameter.empty}
