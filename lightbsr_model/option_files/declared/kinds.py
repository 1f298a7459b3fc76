"""Sections whose ``type`` names a class: which classes there are, and what their arguments are.

A class's arguments are those of its signature, with the defaults there. Their types and ranges are declared by name
(:mod:`~lightbsr_model.option_files.declared.arguments`) for classes of BasicSR, torch and this project; else they are as in
the signature: the annotation of our classes, the default's type of all others.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from basicsr.models import lr_scheduler
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY

from lightbsr_model.option_files.declared.arguments import (
    LossArguments,
    MetricArguments,
    NetworkArguments,
    OptimiserArguments,
    SchedulerArguments,
)
from lightbsr_model.runtime.declared_keys import REQUIRED, Key, Rule, find_key, keys_of
from lightbsr_model.training.schedule import TWO_PHASE_SCHEDULES

OPTIMISERS = {
    name: value
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
}

SCHEDULERS = {
    "MultiStepLR": lr_scheduler.MultiStepRestartLR,
    "MultiStepRestartLR": lr_scheduler.MultiStepRestartLR,
    "CosineAnnealingRestartLR": lr_scheduler.CosineAnnealingRestartLR,
    **TWO_PHASE_SCHEDULES,
}
"""Schedules by the names that option files use."""


@dataclass(frozen=True)
class Kind:
    """A kind of section whose ``type`` names a class."""

    word: str
    """What it is called in messages."""
    registry: Any
    """Where the classes are: one of BasicSR's registries, or a dictionary."""
    arguments: type
    """The dataclass that declares arguments by name."""
    given: frozenset[str] = frozenset()
    """Arguments that the code gives, not the file."""
    besides: tuple[str, ...] = ()
    """Keys that the section has besides the arguments, declared with them."""
    needed: tuple[str, ...] = ()
    """Arguments that the file must give although the class has a default."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Classes that cannot be used, and why."""


KINDS = {
    kind.word: kind
    for kind in (
        Kind("arch", ARCH_REGISTRY, NetworkArguments),
        Kind("loss", LOSS_REGISTRY, LossArguments),
        Kind(
            "optimiser",
            OPTIMISERS,
            OptimiserArguments,
            given=frozenset({"params"}),
            needed=("lr",),
            refused={
                "LBFGS": "computes the loss several times in a step, which BasicSR's models do not let it do",
                "SparseAdam": "is for sparse gradients, which these networks do not have",
                "Muon": "is for weights that are matrices, and convolutions and biases are not",
            },
        ),
        Kind(
            "scheduler",
            SCHEDULERS,
            SchedulerArguments,
            given=frozenset({"optimizer", "last_epoch", "encoder_iter", "total_iter"}),
        ),
        Kind(
            "metric",
            METRIC_REGISTRY,
            MetricArguments,
            given=frozenset({"img", "img2"}),
            besides=("better", "num_thread"),
        ),
    )
}


def package_of(cls: Any) -> str:
    """The package that a class comes from."""
    return str(cls.__module__).partition(".")[0]


def is_ours(cls: Any) -> bool:
    """Whether a class is of this project."""
    return package_of(cls) in ("lightbsr_model", "lightbsr_arch")


def is_basicsr(cls: Any) -> bool:
    """Whether a class is one of BasicSR's own."""
    return package_of(cls) == "basicsr"


def is_foreign(cls: Any) -> bool:
    """Whether a class is neither BasicSR's nor ours, so that its code may read keys in ways that cannot be seen."""
    return not (is_ours(cls) or is_basicsr(cls))


@functools.cache
def arguments_of(cls: Any, word: str) -> tuple[Mapping[str, Key], bool]:
    """A class's or function's arguments as keys by name, and whether it takes any others (``**kwargs``)."""
    kind = KINDS[word]
    parameters = inspect.signature(cls).parameters
    sentences, hints = _sentences(cls), _hints(cls)
    declared = keys_of(kind.arguments) if _is_declared(cls, word) else {}
    keys = {}
    for name, parameter in parameters.items():
        if name in kind.given or name == "self" or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        by_name = find_key(declared, name)
        if by_name is not None and default is not REQUIRED:
            plain = list(default) if isinstance(default, tuple) else default
            by_name = by_name if by_name.fault(plain) is None else None
        known = by_name or Key(name, _annotation(hints.get(name), default), Rule(""))
        # torch's docstrings explain at length.
        told = sentences.get(name, "") if package_of(cls) != "torch" else ""
        sentence = told or known.rule.sentence
        needed = name in kind.needed
        keys[name] = replace(
            known,
            name=name,
            default=REQUIRED if needed else default,
            rule=replace(known.rule, sentence=sentence, prefix=False),
        )
    keys |= {name: keys_of(kind.arguments)[name] for name in kind.besides}
    return keys, any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def _is_declared(cls: Any, word: str) -> bool:
    # Of BasicSR's archs one has a list where another has a number.
    return is_ours(cls) or (word != "arch" and package_of(cls) in ("basicsr", "torch"))


def _hints(cls: Any) -> Mapping[str, Any]:
    if not (is_ours(cls) or package_of(cls) == "torch"):
        return {}  # an annotation of others may be narrower than what their code takes
    is_class = isinstance(cls, type)
    return get_type_hints(cls.__init__ if is_class else cls)


def _annotation(hint: Any, default: Any) -> Any:
    """What a value must be: as annotated, as far as YAML can write that, else of the default's kind."""
    plain = [part for part in _alternatives(hint) if part in _PLAIN or get_origin(part) is Literal]
    if plain and len(plain) == len([part for part in _alternatives(hint) if part is not torch.Tensor]):
        return Union[tuple(plain)]  # noqa: UP007 - of a list made here
    if isinstance(default, bool):
        return bool
    if isinstance(default, (int, float)):
        return float
    return str | None if isinstance(default, str) else Any


_PLAIN = (bool, int, float, str, type(None))


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _sentences(cls: Any) -> Mapping[str, str]:
    """What a docstring's ``Args:`` says first of each argument, without types and defaults."""
    text = inspect.cleandoc(cls.__doc__ or "")
    like = re.search(r"Arguments as in :class:`(\w+)`", text)
    found = dict(_sentences_of(cls, like[1])) if like else {}
    names: list[str] = []
    for line in text.partition("Args:\n")[2].splitlines():
        start = re.match(r" {1,4}([\w, ]+?)(?: ?\([^)]*\))?: (.*)", line)
        if start is not None:
            names = [name.strip() for name in start[1].split(",")]
            found.update(dict.fromkeys(names, start[2]))
        elif re.match(r" {5,}\S", line):
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
        elif line.strip():
            break
    for name, sentence in found.items():
        elsewhere = re.match(r"As in\s+:class:`(\w+)`", sentence)
        found[name] = _sentences_of(cls, elsewhere[1]).get(name, "") if elsewhere else _plain(sentence)
    return found


def _sentences_of(cls: Any, name: str) -> Mapping[str, str]:
    return _sentences(getattr(sys.modules[cls.__module__], name, object))


def _plain(sentence: str) -> str:
    sentence = re.sub(r":\w+:`~?[\w.]*?(\w+)`", r"\1", sentence).replace("``", "`")
    first = re.split(r"(?<=[a-z)`])\. |\s*Default: ", sentence.strip())[0].rstrip(".")
    return f"{first[:1].upper()}{first[1:]}." if first else ""
