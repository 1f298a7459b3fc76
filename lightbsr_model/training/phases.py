"""The phases of a training, and the module that a phase wraps for several processes and for the compiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Phase:
    """A part of a training in which the same weights learn from the same losses."""

    name: str
    """Its name in the log."""
    iterations: int | None
    """Its length; None for the rest of ``total_iter``, which the last phase takes."""
    learns: tuple[nn.Module, ...]
    """The modules of the network whose weights learn."""
    call: str
    """The network's method that is one learning pass."""
    losses: Callable[[], Mapping[str, Tensor]]
    """Runs the pass on the current batch and returns the weighted losses by their names in the log."""

    def parameters(self) -> set[nn.Parameter]:
        """The weights that learn."""
        return {value for module in self.learns for value in module.parameters()}


class LearningPass(nn.Module):
    """Makes a method of a network the forward that DistributedDataParallel and torch.compile wrap.

    Args:
        net: The network.
        call: The method's name.
        readout: Is given the network's representation of the images, of several views of the first.
    """

    def __init__(self, net: nn.Module, call: str, readout: nn.Module | None = None) -> None:
        super().__init__()
        self.net: Any = net
        self.call = call
        self.readout = readout

    def forward(self, *inputs: Any) -> Any:
        """What the method returns; with a read-out, that and what was read."""
        output = getattr(self.net, self.call)(*inputs)
        if self.readout is None:
            return output
        images = inputs[0] if inputs[0].dim() == 4 else inputs[0][:, 0]
        return output, self.readout(self.net.represent(images))
