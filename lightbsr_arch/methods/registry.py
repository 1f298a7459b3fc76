"""Find methods by network or by checkpoint; each is imported on first use.

A method is added by an entry in :data:`METHODS`; a method of another package by an entry point of the group
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

from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods.base import Adaptation, Method, Pairing

ENTRY_POINTS = "lightbsr.methods"
"""Group of the entry points with which other packages add methods."""


@dataclass(frozen=True)
class Registered:
    """A method that is not imported yet."""

    module: str
    """Dotted name of the module with its networks and its ``METHOD``."""
    training: str
    """Dotted name of the module with its BasicSR models; empty for a method without training."""
    networks: tuple[str, ...]
    """Names of its networks that restore images."""
    signature: tuple[str, ...]
    """Key prefixes that occur in every state dict of the method and in no other method's."""
    published_signature: tuple[str | tuple[str, ...], ...] = ()
    """Keys that occur in every published state dict of the method and in no other method's. Of keys that are telling only
    together, a tuple."""
    helpers: tuple[str, ...] = ()
    """Names of its networks that restore no images but help others to learn."""

    def load(self) -> Method:
        """Import the method."""
        method: Method = importlib.import_module(self.module).METHOD
        return method


def _ours(
    name: str,
    *networks: str,
    signature: tuple[str, ...] = (),
    published: tuple[str | tuple[str, ...], ...] = (),
    helpers: tuple[str, ...] = (),
) -> Registered:
    training = f"lightbsr_model.methods.{name}" if signature else ""
    return Registered(f"lightbsr_arch.methods.{name}", training, networks, signature, published, helpers)


METHODS = (
    _ours(
        *("lightbsr", "LightBSR", "LightBSRTeacher"),
        signature=("sr.groups.0.refinement.",),
        published=("G.body.0.xk_change.sig1.0.weight",),
    ),
    _ours(
        *("dasr", "DASR"),
        signature=("sr.compress.",),
        published=("G.body.0.body.0.da_conv1.ca.conv_du.0.weight",),
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
    _ours(
        *("dssr", "DSSR"),
        signature=("sr.hr_modulator.",),
        published=("spatial_trans1.conv_gama.weight",),
    ),
    _ours(
        *("mrda", "MRDA", "MRDATeacher", "MetaLearningNetwork"),
        signature=("extractor.", "feature_net."),
        published=("E_st.E.2.weight", "E.E.2.weight", ("head.0.weight", "body.0.weight", "tail.1.weight")),
    ),
    _ours("lce", "LCE", signature=("sr.frequency.",)),
    _ours(
        "mimicked",
        signature=("guide.first.",),
        published=("guide_net.0.0.weight",),
        helpers=("MimicNet",),
    ),
    _ours(
        *("tddsr", "ResidualShiftUNet"),
        signature=("unet.head.",),
        helpers=("DiffusionDownsampler",),
    ),
    _ours(
        *("rbsr", "RBSR"),
        signature=("alignment.offsets.",),
        published=("dcn_alignment.conv_offset.0.weight",),
    ),
    _ours("lway", signature=("reconstruction.",), helpers=("LRReconstructor",)),
    _ours(
        "rdsr",
        signature=("downsampling.", "judgement."),
        helpers=("LinearDownsampler", "ReferenceDiscriminator"),
    ),
    _ours("bicubic", "BicubicUpsampler"),
)
"""The methods of this package."""


@cache
def registered() -> tuple[Registered, ...]:
    """All methods, including those of other packages."""
    return (*METHODS, *(entry_point.load() for entry_point in entry_points(group=ENTRY_POINTS)))


def network_names() -> list[str]:
    """The names of all networks."""
    return [name for method in registered() for name in method.networks]


def network(name: Any) -> type[nn.Module] | None:
    """The class of a registered network; None for any other name."""
    method = method_with(name)
    return None if method is None else method.networks[name]


def helper(name: Any) -> type[nn.Module] | None:
    """The class of a registered network that helps others to learn; None for any other name."""
    method = method_with_helper(name)
    return None if method is None else method.helpers[name]


def method_with(network_name: Any) -> Method | None:
    """The method that a network's name belongs to; None for any other name."""
    return next((method.load() for method in registered() if network_name in method.networks), None)


def method_with_helper(name: Any) -> Method | None:
    """The method that has a network of this name to help others to learn; None for any other name."""
    return next((method.load() for method in registered() if name in method.helpers), None)


def method_of_network(net: nn.Module) -> Method | None:
    """The method that a network is of; None for any other network, and for classes derived from one of ours."""
    method = method_with(type(net).__name__)
    return method if method is not None and method.networks[type(net).__name__] is type(net) else None


def method_of_weights(names: Collection[str]) -> Method | None:
    """The method that a state dict with these keys belongs to; None if it is unknown."""
    for method in registered():
        if any(name.startswith(method.signature) for name in names if method.signature):
            return method.load()
    return None


def method_of_published_weights(names: Collection[str]) -> Method | None:
    """The method whose published state dicts have these keys; None if it is unknown."""
    for method in registered():
        for entry in method.published_signature:
            if all(name in names for name in ((entry,) if isinstance(entry, str) else entry)):
                return method.load()
    return None


def pairings() -> Iterator[Pairing]:
    """All pairs of teacher and student."""
    return (pairing for method in registered() if (pairing := method.load().distils) is not None)


def adaptation(name: str) -> Callable[..., Adaptation]:
    """What makes the adaptation of a name.

    Raises:
        OptionError: No method has it.
    """
    found = _adaptations().get(name)
    if found is None:
        known = ", ".join(adaptation_names()) or "none is registered"
        raise OptionError(f"expected one of the adaptations ({known}), got {name!r}.")
    return _object(found) if isinstance(found, str) else found


def adaptation_names() -> list[str]:
    """The names of all adaptations."""
    return list(_adaptations())


def degrader(name: str) -> Callable[..., Any] | None:
    """What learns the degradation of a name from LR images; None if no method has it."""
    dotted = next((found for method in registered() if (found := method.load().degraders.get(name))), None)
    return None if dotted is None else _object(dotted)


def _object(dotted: str) -> Callable[..., Any]:
    module, _, name = dotted.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _adaptations() -> dict[str, Callable[..., Adaptation] | str]:
    return {name: make for method in registered() for name, make in method.load().adaptations.items()}
