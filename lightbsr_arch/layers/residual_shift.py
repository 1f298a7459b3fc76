"""A diffusion from the HR image to the enlarged LR image and back: the residual between them is shifted step by step.

ResShift's process (arXiv 2307.12348), and SinSR's deterministic sampler of it (arXiv 2311.14760).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

Predict = Callable[[Tensor, int], Tensor]
"""What predicts x0 from x_t and the step t."""
Values = tuple[float, ...]
"""A number of each step."""


@dataclass(frozen=True)
class ResidualShift:
    """The schedule and the steps of the process.

    Steps count from 0, the least noise, to ``steps`` - 1. With x0 the HR image and y the enlarged LR image,
    x_t = x0 + eta_t (y - x0) + kappa sqrt(eta_t) eps.
    """

    steps: int = 15
    """Number of steps, at least 2."""
    kappa: float = 2.0
    """Strength of the noise, above 0."""
    power: float = 0.3
    """Of the schedule, above 0: the smaller, the sooner the residual is shifted."""
    min_noise: float = 0.04
    """kappa sqrt(eta_0) at most, above 0."""
    end: float = 0.99
    """sqrt(eta) of the last step, below 1."""

    def __post_init__(self) -> None:
        """Check the values."""
        if self.steps < 2:
            raise ValueError(f"steps: expected at least 2, got {self.steps!r}.")
        for name in ("kappa", "power", "min_noise", "end"):
            value = getattr(self, name)
            if not value > 0 or (name == "end" and value >= 1):
                raise ValueError(f"{name}: expected a number above 0{' and below 1' * (name == 'end')}, got {value!r}.")

    # Numbers and not tensors, so that what exports a network sees constants in its steps.

    @cached_property
    def sqrt_etas(self) -> Values:
        """Of each step."""
        first = min(self.min_noise / self.kappa, self.min_noise)
        return tuple(
            first * (self.end / first) ** ((step / (self.steps - 1)) ** self.power) for step in range(self.steps)
        )

    @cached_property
    def etas(self) -> Values:
        """Share of the residual that is shifted."""
        return tuple(value**2 for value in self.sqrt_etas)

    @cached_property
    def alphas(self) -> Values:
        """What a step shifts."""
        return tuple(after - before for before, after in itertools.pairwise((0.0, *self.etas)))

    @cached_property
    def ratios(self) -> Values:
        """eta_(t-1) / eta_t; 0 at step 0."""
        return tuple(before / after for before, after in itertools.pairwise((0.0, *self.etas)))

    @cached_property
    def posterior_variances(self) -> Values:
        """Variance of x_(t-1) given x_t and x0; 0 at step 0."""
        return tuple(self.kappa**2 * ratio * alpha for ratio, alpha in zip(self.ratios, self.alphas, strict=True))

    @cached_property
    def noise_levels(self) -> Values:
        """Standard deviation of x_t given x0 and y."""
        return tuple(self.kappa * value for value in self.sqrt_etas)

    def deterministic_weights(self, t: int, following: int | None = None) -> tuple[float, float, float]:
        """k, m and j of x_following = k x0 + m x_t + j y, the deterministic step from t to a smaller one (default: t - 1)."""
        following = t - 1 if following is None else following
        before = self.etas[following] if following >= 0 else 0.0
        m = (before / self.etas[t]) ** 0.5
        j = before - (before * self.etas[t]) ** 0.5
        return 1 - m - j, m, j

    def shift(self, x0: Tensor, y: Tensor, t: int | Tensor, noise: Tensor) -> Tensor:
        """x_t of (N, C, H, W) images.

        Args:
            x0: The HR image.
            y: The enlarged LR image.
            t: The step, or (N,) steps.
            noise: Standard normal.
        """
        return x0 + _at(self.etas, t, x0) * (y - x0) + _at(self.noise_levels, t, x0) * noise

    def start(self, y: Tensor, noise: Tensor) -> Tensor:
        """Where sampling starts: noise around the enlarged LR image."""
        return y + self.noise_levels[-1] * noise

    def scaled(self, x: Tensor, t: int | Tensor, space: Literal["pixel", "latent"] = "pixel") -> Tensor:
        """x_t as a network is given it, of about the same range at every step."""
        if space == "latent":
            return x / _at([(1 + level**2) ** 0.5 for level in self.noise_levels], t, x)
        return x / _at([1 + 3 * level for level in self.noise_levels], t, x)

    def posterior_mean(self, x0: Tensor, x: Tensor, t: int | Tensor) -> Tensor:
        """Mean of x_(t-1) given x_t and x0."""
        return _at(self.ratios, t, x) * x + _at([1 - ratio for ratio in self.ratios], t, x) * x0

    def ancestral_step(self, x0: Tensor, x: Tensor, t: int, noise: Tensor) -> Tensor:
        """x_(t-1), drawn."""
        return self.posterior_mean(x0, x, t) + self.posterior_variances[t] ** 0.5 * noise

    def deterministic_step(self, x0: Tensor, x: Tensor, y: Tensor, t: int, following: int | None = None) -> Tensor:
        """x_following without noise; following is t - 1 by default."""
        k, m, j = self.deterministic_weights(t, following)
        return k * x0 + m * x + j * y

    def sample(
        self,
        predict: Predict,
        y: Tensor,
        noise: Tensor,
        steps: int | None = None,
        noises: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Run the process backwards.

        Args:
            predict: Predicts x0.
            y: The enlarged LR image, (N, C, H, W).
            noise: Of the start.
            steps: Number of predictions, 1 to :attr:`steps`, at steps spread evenly from the last to 0; None is all of them.
            noises: One a step, step t's at t: the ancestral sampler, with all steps. None: the deterministic one.

        Returns:
            The last prediction of x0.

        Raises:
            ValueError: ``steps`` out of range, or with ``noises``.
        """
        count = self.steps if steps is None else steps
        if not 1 <= count <= self.steps:
            raise ValueError(f"steps: expected 1 to {self.steps}, got {steps!r}.")
        if noises is not None and count != self.steps:
            raise ValueError(f"steps: the ancestral sampler takes all {self.steps}, got {steps!r}.")
        x = self.start(y, noise)
        last = self.steps - 1
        times = [last] if count == 1 else [round(last * (count - 1 - i) / (count - 1)) for i in range(count)]
        x0 = predict(x, times[0])
        for t, following in itertools.pairwise(times):
            x = (
                self.deterministic_step(x0, x, y, t, following)
                if noises is None
                else self.ancestral_step(x0, x, t, noises[t])
            )
            x0 = predict(x, following)
        return x0


def _at(values: Sequence[float], t: int | Tensor, like: Tensor) -> float | Tensor:
    """The value of a step; those of (N,) steps in the images' type, shaped to multiply them."""
    if isinstance(t, int):
        return values[t]
    return torch.tensor(values, dtype=like.dtype, device=like.device)[t].view(-1, *(1,) * (like.dim() - 1))
