"""Classes by the names that option files give them: registered ones as BasicSR finds them, others by dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

from lightbsr_arch.errors import OptionError
from lightbsr_model.option_files.dotted_names import import_class

_BASES: Mapping[Any, type] = {
    ARCH_REGISTRY: torch.nn.Module,
    LOSS_REGISTRY: torch.nn.Module,
    DATASET_REGISTRY: torch.utils.data.Dataset,
    MODEL_REGISTRY: BaseModel,
}
"""What a class that is named by a dotted name must be derived from. Metrics are functions, which say nothing of what they
do: only those that are registered are called."""


def look_up(registry: Any, name: Any) -> Any:
    """A class by name in one of BasicSR's registries or a dictionary; None if there is none.

    BasicSR registers some of its own under ``<name>_basicsr`` and finds them by the bare name (registry.py:64). A dotted
    name, ``package.module.Class``, is imported if :mod:`~lightbsr_model.option_files.dotted_names` lets it, and
    registered under that name for BasicSR to find.

    Raises:
        OptionError: A dotted name that cannot, or may not, be imported, or is not of the registry's kind.
    """
    if isinstance(name, str) and "." in name and not isinstance(registry, dict) and name not in registry:
        if registry not in _BASES:
            raise OptionError(f"{name!r} is none of the registered names, and nothing else is called here")
        registry._do_register(name, import_class(name, _BASES[registry]))
    for candidate in (name, f"{name}_basicsr") if isinstance(name, str) else ():
        if candidate in registry:
            return registry[candidate] if isinstance(registry, dict) else registry.get(candidate)
    return None
