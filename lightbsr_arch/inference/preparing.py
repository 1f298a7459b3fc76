"""From a network to how it is run: as its method says, or as any network is."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.tiled_network import TiledNetwork
from lightbsr_arch.methods.registry import method_of_network


def tiled_network(net: nn.Module, scale: int | None = None, size_multiple: int | None = None) -> TiledNetwork:
    """Make a network ready to run.

    Args:
        net: Any network from one LR image to one SR image. It is not changed.
        scale: The factor; None reads it off the network.
        size_multiple: What its input's sides must be multiples of; None finds it out.

    Raises:
        OptionError: It needs more than an LR image, or the scale cannot be found out, or is another.
    """
    method = method_of_network(net)
    if method is not None and (needed := method.needs.get(type(net).__name__)) is not None:
        raise OptionError(
            f"{type(net).__name__} needs {needed} besides the LR image, which a photo lacks; {method.who_restores}."
        )
    if method is None or not method.tiling or scale not in (None, net.scale) or size_multiple is not None:
        # Loaded only when needed: the model in the package has tiles of its own.
        from lightbsr_arch.inference.any_network import AnyNetwork

        return AnyNetwork(net, scale, size_multiple)
    module, _, name = method.tiling.rpartition(".")
    make: Any = getattr(importlib.import_module(module), name)
    made: TiledNetwork = make(net)
    return made
