"""A super-resolution network that adapts to a batch of one degradation, and learns to adapt well.

The inner steps of model-agnostic meta-learning, of first order (arXiv 1703.03400, 2207.13963).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lightbsr_arch.layers.image import check_image
from lightbsr_arch.layers.inner_steps import Average, Weights, descend, value_and_gradients, with_gradients
from lightbsr_arch.layers.upsampling import bicubic_upsample

RATES = (1e-2, 5e-3, 5e-3, 5e-3, 5e-3)
"""The rates of the steps of an adaptation (arXiv 2207.13963)."""


class Adapted(NamedTuple):
    """What an adaptation leads to."""

    weights: Weights
    """All weights of the network, by name; without gradient."""
    losses: list[Tensor]
    """The loss before each step."""


class MetaLearner(nn.Module):
    """A network that adds a residue to the LR image enlarged by bicubic interpolation.

    A subclass has ``forward(lq, upsampled)``, and says what its feature is.
    """

    scale: int

    def features(self, lq: Tensor, weights: Weights | None = None) -> Tensor:
        """The feature of (N, 3, H, W) in [0, 1], (N, C, H, W), with these weights instead of its own."""
        raise NotImplementedError

    def is_of_tail(self, name: str) -> bool:
        """Whether a weight lies behind the feature."""
        raise NotImplementedError

    def represent(self, lq: Tensor, gt: Tensor) -> Tensor:
        """The feature after adapting, all samples together, to their HR images, averaged over each image: (N, C)."""
        return self.features(lq, self.adapt(lq, gt).weights).mean(dim=(2, 3))

    def enlarge(self, lq: Tensor) -> Tensor:
        """What the residue is added to: (N, 3, H, W) in [0, 1] enlarged and rounded to 8 bits."""
        return (255 * bicubic_upsample(lq, self.scale)).round().clamp(0, 255) / 255

    def adapt(
        self,
        lq: Tensor,
        gt: Tensor,
        rates: Sequence[float] = RATES,
        upsampled: Tensor | None = None,
        tail: bool = True,
        average: Average | None = None,
    ) -> Adapted:
        """Adapt to a batch of one degradation whose HR images are known: L1 by plain gradient steps, in fp32.

        The network's own weights are where it starts, and stay as they are.

        Args:
            lq: (N, 3, H, W) in [0, 1].
            gt: (N, 3, scale * H, scale * W) in [0, 1].
            rates: The rate of each step.
            upsampled: As in :meth:`forward`.
            tail: Whether the upsampler and the last convolution are adapted too.
            average: Averages gradients over the processes.

        Raises:
            ValueError: The sizes of the images do not match.
        """
        lq, gt = lq.float(), gt.float()
        _check_gt(lq, gt, self.scale)
        base = self.enlarge(lq) if upsampled is None else upsampled
        every = {name: value.detach() for name, value in self.named_parameters()}
        fixed = {} if tail else {name: value for name, value in every.items() if self.is_of_tail(name)}

        def loss(weights: Weights) -> Tensor:
            return F.l1_loss(functional_call(self, {**fixed, **weights}, (lq, base)), gt)

        moving = {name: value for name, value in every.items() if name not in fixed}
        moved, losses = descend(loss, moving, rates, average)
        return Adapted({**fixed, **moved}, losses)

    def adapt_and_judge(
        self,
        lq: Tensor,
        gt: Tensor,
        rates: Sequence[float],
        judge: Callable[[Tensor, Tensor], Tensor] = F.l1_loss,
        upsampled: Tensor | None = None,
        average: Average | None = None,
    ) -> Tensor:
        """The learning pass of the meta stage: the first half of a batch adapts, the second half judges, in several tasks.

        Its gradients are of first order: those of the loss after the adaptation, by the adapted weights.

        Args:
            lq: (T, N, 3, H, W) in [0, 1]: the batch under the degradation of each task. N >= 2.
            gt: (N, 3, scale * H, scale * W) in [0, 1].
            rates: The rate of each step of an adaptation.
            judge: The loss of restored and HR images.
            upsampled: (T, N, 3, scale * H, scale * W), what residues are added to; None is what :meth:`enlarge` gives.
            average: Averages the gradients of the adaptation over the processes.

        Returns:
            The mean loss of the tasks, a scalar.

        Raises:
            ValueError: There is one image alone, or the sizes of the images do not match.
        """
        half = gt.shape[0] // 2
        if half == 0:
            raise ValueError("gt: expected at least 2 images, of which one half adapts and the other judges, got 1.")
        weights = dict(self.named_parameters())
        values, total = [], {name: torch.zeros_like(value) for name, value in weights.items()}
        for number, task in enumerate(lq.float()):
            base = self.enlarge(task) if upsampled is None else upsampled[number]
            adapted = self.adapt(task[:half], gt[:half], rates, base[:half], average=average)
            second = (task[half:], base[half:])

            def loss(adapted_weights: Weights, second: tuple[Tensor, Tensor] = second) -> Tensor:
                return judge(functional_call(self, adapted_weights, second), gt[half:])

            value, gradients = value_and_gradients(loss, adapted.weights)
            values.append(value)
            torch._foreach_add_(list(total.values()), [gradients[name] for name in total], alpha=1 / len(lq))
        return with_gradients(torch.stack(values).mean(), total, weights)


def _check_gt(lq: Tensor, gt: Tensor, scale: int) -> None:
    check_image(lq)
    expected = (lq.shape[0], 3, scale * lq.shape[2], scale * lq.shape[3])
    if tuple(gt.shape) != expected:
        raise ValueError(f"gt: expected {expected}, the LR image's size times the scale, got {tuple(gt.shape)}.")
