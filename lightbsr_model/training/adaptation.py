"""Networks that are adapted to the images they restore, while validating, testing and comparing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.adapting import adapt
from lightbsr_arch.layers.image import reflected
from lightbsr_arch.methods.base import Adaptation
from lightbsr_arch.methods.registry import adaptation


def build_adaptation(opt: Mapping[str, Any] | None) -> Adaptation | None:
    """Make the adaptation of an option section.

    Args:
        opt: ``type``, a name that a method gives its adaptation, and its arguments; None for none.

    Raises:
        OptionError: No such adaptation, or arguments that do not fit it.
    """
    if not opt:
        return None
    arguments = dict(opt)
    name = arguments.pop("type", None)
    try:
        make = adaptation(name)
    except OptionError as error:
        raise error.within("adaptation.type") from error
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        raise OptionError("adaptation", f"{name} does not take these arguments: {error}.") from error
    return make(**arguments)


def adapted(model: Any, net: nn.Module) -> nn.Module:
    """A model's network for the batch that was fed: adapted where ``val.adaptation`` asks for it, else itself."""
    opt = (model.opt.get("val") or {}).get("adaptation")
    if not opt:
        return net
    if getattr(model, "adaptation", None) is None:
        model.adaptation = build_adaptation(opt)
    return adapted_to_batch(model.adaptation, model, net)


def adapted_to_batch(adaptation: Adaptation, model: Any, net: nn.Module) -> nn.Module:
    """A network adapted to the LR images that a model was fed."""
    # Windows need whole sides; SwinIRModel pads what it restores in the same way (swinir_model.py:13).
    return adapt(adaptation, net, reflected(model.lq, model.opt["network_g"].get("window_size", 1)))
