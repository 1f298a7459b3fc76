"""Gradient steps within a learning step: a network's weights are adapted, and the network keeps its own.

Weights that are adapted are new tensors by name, which ``torch.func.functional_call`` runs the network with. A step needs the
first derivative alone, so its graph lives no longer than the step, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Weights = dict[str, Tensor]
"""Weights of a network by name."""

Average = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Averages tensors over the processes of a training."""


def value_and_gradients(
    loss: Callable[[Weights], Tensor], weights: Mapping[str, Tensor], average: Average | None = None
) -> tuple[Tensor, Weights]:
    """A loss and its gradients, without a graph behind them.

    Args:
        loss: The loss of a network with these weights. It runs in fp32, and in gradient mode whatever the mode around it is.
        weights: By name; they are not changed.
        average: Averages the gradients over the processes, so that all take the step of the joined batch.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
    device = next(iter(leaves.values())).device.type
    with torch.enable_grad(), torch.autocast(device, enabled=False):
        value = loss(leaves)
        gradients: Sequence[Tensor] = torch.autograd.grad(value, list(leaves.values()))
    if average is not None:
        gradients = average(gradients)
    return value.detach(), dict(zip(leaves, gradients, strict=True))


def descend(
    loss: Callable[[Weights], Tensor],
    weights: Mapping[str, Tensor],
    rates: Sequence[float],
    average: Average | None = None,
) -> tuple[Weights, list[Tensor]]:
    """Take a step of gradient descent at each rate, never in place.

    Args:
        loss: As in :func:`value_and_gradients`.
        weights: Where the steps start.
        rates: The rate of each step.
        average: As in :func:`value_and_gradients`.

    Returns:
        The weights after the last step, and the loss before each.
    """
    moved, losses = {name: value.detach() for name, value in weights.items()}, []
    for rate in rates:
        value, gradients = value_and_gradients(loss, moved, average)
        losses.append(value)
        with torch.no_grad():
            steps = torch._foreach_add(list(moved.values()), list(gradients.values()), alpha=-rate)
        moved = dict(zip(moved, steps, strict=True))
    return moved, losses


class _WithGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor], *weights: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> Any:
        return None, None, *(factors[0] * gradient for gradient in ctx.gradients)


def with_gradients(value: Tensor, gradients: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    """A loss whose gradients were computed elsewhere, as a scalar that backpropagates them.

    Args:
        value: The loss.
        gradients: By name of weight.
        weights: What receives them; those of the same names.
    """
    scalar: Tensor = _WithGradients.apply(value, list(gradients.values()), *(weights[name] for name in gradients))
    return scalar
