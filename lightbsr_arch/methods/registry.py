"""The methods by name, by network and by checkpoint; each is imported when it is asked for.

A method is added by an entry in :data:`METHODS`; one that lives in another package by an entry point of the group
``lightbsr.methods`` whose object is a :class:`Registered`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from torch import nn

from lightbsr_arch.methods.base import Adaptation, Method, Pairing

ENTRY_POINTS = "lightbsr.methods"
"""Group of the entry points by which other packages add methods."""


@dataclass(frozen=True)
class Registered:
    """A method before it is imported."""

    module: str
    """Dotted name of the module that holds its networks and, as ``METHOD``, what it is."""
    training: str
    """Dotted name of the module that holds its BasicSR models; empty for a method that has nothing to learn."""
    networks: tuple[str, ...]
    """Names of its networks."""
    signature: tuple[str, ...]
    """Prefixes of weights' names: every state dict of the method has one of them, and no other method's has."""
    published_signature: tuple[str, ...] = ()
    """Names of weights in the authors' code, in the same way."""

    def load(self) -> Method:
        """Import the method."""
        method: Method = importlib.import_module(self.module).METHOD
        return method


def _ours(name: str, *networks: str, signature: tuple[str, ...] = (), published: tuple[str, ...] = ()) -> Registered:
    training = f"lightbsr_model.methods.{name}" if signature else ""
    return Registered(f"lightbsr_arch.methods.{name}", training, networks, signature, published)


METHODS = (
    _ours(
        *("lightbsr", "LightBSR", "LightBSRTeacher"),
        signature=("sr.groups.0.refinement.",),
        published=("G.body.0.xk_change.sig1.0.weight",),
    ),
    _ours(
        *("dasr", "DASR"),
        signature=("sr.compress.",),
        published=("G.body.0.body.0.da_conv2.conv.weight",),
    ),
    _ours(
        *("kdsr", "KDSR", "KDSRTeacher"),
        signature=("estimator.",),
        published=("E_st.compress.0.weight", "E.compress.0.weight"),
    ),
    _ours(
        *("cdcl", "CdCL"),
        signature=("contrast.",),
        published=("G.afterpixshuffle.2.weight",),
    ),
    _ours("bicubic", "BicubicUpsampler"),
)
"""The methods of this package."""


@cache
def registered() -> tuple[Registered, ...]:
    """All methods, those of other packages included."""
    return (*METHODS, *(entry_point.load() for entry_point in entry_points(group=ENTRY_POINTS)))


def network_names() -> list[str]:
    """The names of all networks."""
    return [name for method in registered() for name in method.networks]


def network(name: Any) -> type[nn.Module] | None:
    """The class of a network of ours; None for any other name."""
    method = method_with(name)
    return None if method is None else method.networks[name]


def method_with(network_name: Any) -> Method | None:
    """The method that a network's name belongs to; None if it is none of ours."""
    return next((method.load() for method in registered() if network_name in method.networks), None)


def method_of_network(net: nn.Module) -> Method | None:
    """The method that a network is of; None for any other network, and for classes derived from one of ours."""
    method = method_with(type(net).__name__)
    return method if method is not None and method.networks[type(net).__name__] is type(net) else None


def method_of_weights(names: Collection[str]) -> Method | None:
    """The method that a state dict with these names of weights belongs to; None if it is none of ours."""
    for method in registered():
        if any(name.startswith(method.signature) for name in names if method.signature):
            return method.load()
    return None


def method_of_published_weights(names: Collection[str]) -> Method | None:
    """The method whose authors' code gives weights these names; None if it is none of ours."""
    for method in registered():
        if any(name in names for name in method.published_signature):
            return method.load()
    return None


def pairings() -> Iterator[Pairing]:
    """All that can be distilled."""
    return (pairing for method in registered() if (pairing := method.load().distils) is not None)


def adaptation(name: Any) -> Callable[..., Adaptation] | None:
    """What makes the adaptation of a name; None if no method has it."""
    return _adaptations().get(name)


def adaptation_names() -> list[str]:
    """The names of all adaptations."""
    return list(_adaptations())


def _adaptations() -> dict[str, Callable[..., Adaptation]]:
    return {name: make for method in registered() for name, make in method.load().adaptations.items()}
