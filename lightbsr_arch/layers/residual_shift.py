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


@dataclass(frozen=True)
class ResidualShift:
    """The schedule and the steps of the process.

    Steps count from 0, the least noise, to ``steps`` - 1. With x0 the HR image and y the enlarged LR image,
    x_t = x0 + eta_t (y - x0) + kappa sqrt(eta_t) eps. Coefficients are computed in float64.
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

    @cached_property
    def sqrt_etas(self) -> Tensor:
        """(steps,)."""
        first = min(self.min_noise / self.kappa, self.min_noise)
        place = torch.linspace(0, 1, self.steps, dtype=torch.float64) ** self.power
        return first * (self.end / first) ** place

    @cached_property
    def etas(self) -> Tensor:
        """Share of the residual that is shifted, (steps,)."""
        return self.sqrt_etas**2

    @cached_property
    def _etas_before(self) -> Tensor:
        return torch.cat([self.etas.new_zeros(1), self.etas[:-1]])

    @cached_property
    def alphas(self) -> Tensor:
        """What a step shifts, (steps,)."""
        return self.etas - self._etas_before

    @cached_property
    def ratios(self) -> Tensor:
        """eta_(t-1) / eta_t, (steps,); 0 at step 0."""
        return self._etas_before / self.etas

    @cached_property
    def posterior_variances(self) -> Tensor:
        """Variance of x_(t-1) given x_t and x0, (steps,); 0 at step 0."""
        return self.kappa**2 * self.ratios * self.alphas

    def deterministic_weights(self, t: int, following: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """k, m and j of x_following = k x0 + m x_t + j y, the deterministic step from t to a smaller one (default: t - 1)."""
        following = t - 1 if following is None else following
        before = self.etas[following] if following >= 0 else self.etas.new_zeros(())
        m = (before / self.etas[t]).sqrt()
        j = before - (before * self.etas[t]).sqrt()
        return 1 - m - j, m, j

    def shift(self, x0: Tensor, y: Tensor, t: int | Tensor, noise: Tensor) -> Tensor:
        """x_t of (N, C, H, W) images.

        Args:
            x0: The HR image.
            y: The enlarged LR image.
            t: The step, or (N,) steps.
            noise: Standard normal.
        """
        return x0 + _at(self.etas, t, x0) * (y - x0) + _at(self.kappa * self.sqrt_etas, t, x0) * noise

    def start(self, y: Tensor, noise: Tensor) -> Tensor:
        """Where sampling starts: noise around the enlarged LR image."""
        return y + _at(self.kappa * self.sqrt_etas, self.steps - 1, y) * noise

    def scaled(self, x: Tensor, t: int | Tensor, space: Literal["pixel", "latent"] = "pixel") -> Tensor:
        """x_t as a network is given it, of about the same range at every step."""
        if space == "latent":
            return x / _at((1 + self.kappa**2 * self.etas).sqrt(), t, x)
        return x / _at(1 + 3 * self.kappa * self.sqrt_etas, t, x)

    def posterior_mean(self, x0: Tensor, x: Tensor, t: int | Tensor) -> Tensor:
        """Mean of x_(t-1) given x_t and x0."""
        return _at(self.ratios, t, x) * x + _at(1 - self.ratios, t, x) * x0

    def ancestral_step(self, x0: Tensor, x: Tensor, t: int, noise: Tensor) -> Tensor:
        """x_(t-1), drawn."""
        return self.posterior_mean(x0, x, t) + _at(self.posterior_variances.sqrt(), t, x) * noise

    def deterministic_step(self, x0: Tensor, x: Tensor, y: Tensor, t: int, following: int | None = None) -> Tensor:
        """x_following without noise; following is t - 1 by default."""
        k, m, j = (weight.to(x.device, x.dtype) for weight in self.deterministic_weights(t, following))
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


def _at(values: Tensor, t: int | Tensor, like: Tensor) -> Tensor:
    """Values of steps, in the images' type, shaped to multiply them."""
    if isinstance(t, int):
        return values[t].to(like.device, like.dtype)
    return values.to(like.device)[t].to(like.dtype).view(-1, *(1,) * (like.dim() - 1))
