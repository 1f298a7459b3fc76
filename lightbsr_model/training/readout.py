"""Reading the degradation off a representation while the network trains: ``train.degradation_opt``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation.base import Degradation, Params


class DegradationReadout(nn.Module):
    """A linear map from a representation to the true quantities of its degradation.

    Args:
        channels: Length of the representation.
        ranges: Ranges of the quantities, see :meth:`Degradation.quantities`.
    """

    middle: Tensor
    half_range: Tensor

    def __init__(self, channels: int, ranges: Mapping[str, tuple[float, float]]) -> None:
        super().__init__()
        self.ranges = {name: (float(low), float(high)) for name, (low, high) in ranges.items()}
        # Without a draw: whatever is drawn after it is the same with and without a read-out.
        self.linear = nn.utils.skip_init(nn.Linear, channels, len(ranges))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        ends = torch.tensor(list(self.ranges.values()))
        self.register_buffer("middle", ends.mean(dim=1))
        self.register_buffer("half_range", (ends[:, 1] - ends[:, 0]) / 2)

    def state(self) -> dict[str, Any]:
        """For a training state: the weights, and what is read."""
        return {"ranges": self.ranges, "weights": {name: value.cpu() for name, value in self.state_dict().items()}}

    def forward(self, representation: Tensor) -> Tensor:
        """Read (N, channels) as (N, number of quantities), each from -1 to 1 over its range."""
        reading: Tensor = self.linear(representation)
        return reading

    def normalised(self, values: Tensor) -> Tensor:
        """Quantities in plain units, (N, number of quantities), as :meth:`forward` reads them."""
        return (values.to(self.middle.device, non_blocking=True) - self.middle) / self.half_range


def readout_problem(network: Any, degradation: Degradation | None) -> str | None:
    """Why a network cannot learn to read these degradations; None if it can.

    Args:
        network: The network or its class.
        degradation: What its data are degraded by; None if unknown.
    """
    needed = []
    if callable(getattr(network, "represent", None)):
        parameters = inspect.signature(network.represent).parameters.items()
        needed = [name for name, each in parameters if each.default is each.empty and name != "self"]
    if len(needed) != 1:
        name = network.__name__ if isinstance(network, type) else type(network).__name__
        return f"{name} does not estimate the degradation from the LR image alone: leave it out."
    if degradation is not None and not degradation.quantities():
        return "nothing varies in the degradations of datasets.train, so there is nothing to read: leave it out."
    return None


def build_readout(net: Any, degradation: Degradation) -> DegradationReadout:
    """The read-out of a network's representation of the degradations that it trains on.

    Raises:
        OptionError: See :func:`readout_problem`.
    """
    problem = readout_problem(net, degradation)
    if problem is not None:
        raise OptionError("train.degradation_opt", problem)
    device = next(net.parameters()).device
    was_training = net.training
    with torch.no_grad():
        channels = net.eval().represent(torch.zeros(1, 3, 16, 16, device=device)).shape[1]
    net.train(was_training)
    return DegradationReadout(channels, degradation.quantities()).to(device)


def true_quantities(degradation: Degradation, params: Params | None) -> Tensor:
    """The true quantities of a batch.

    Raises:
        OptionError: The batch does not say how it was degraded.
    """
    if params is None or any(name not in params for name in degradation.names):
        raise OptionError(
            "train.degradation_opt",
            f"a batch has no {', '.join(degradation.names)}: take BlindDegradationPairedDataset with a preset and "
            "degrade_in: device.",
        )
    return degradation.measure(params)


def resume_readout(readout: DegradationReadout | None, state: Mapping[str, Any] | None) -> None:
    """Take a read-out's weights from a training state.

    Raises:
        OptionError: The run was begun with another, or with none, so that its optimiser does not fit.
    """
    before = None if state is None else state["ranges"]
    now = None if readout is None else readout.ranges
    if before != now:
        raise OptionError(
            "train.degradation_opt",
            f"the run was begun with {_in_words(before)}, and now it is {_in_words(now)}: change degradation_opt and the "
            "data's degradations back, or start a new run from the network (path.pretrain_network_g).",
        )
    if readout is not None and state is not None:
        readout.load_state_dict(state["weights"])


def _in_words(ranges: Mapping[str, tuple[float, float]] | None) -> str:
    if ranges is None:
        return "no read-out"
    return "a read-out of " + ", ".join(f"{name} from {low:g} to {high:g}" for name, (low, high) in ranges.items())
