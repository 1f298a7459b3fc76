"""LightBSR's degradation: Gaussian blur, bicubic downsampling, Gaussian noise, and optionally JPEG (LightBSR, section 2)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation.base import Degradation, Params
from lightbsr_model.degradation.exact import benchmark_lq
from lightbsr_model.degradation.kernel_shape import kernel_shape
from lightbsr_model.degradation.kernels import anisotropic_gaussian_kernels, isotropic_gaussian_kernels
from lightbsr_model.degradation.pipeline import degrade
from lightbsr_model.degradation.resize import Border

Range = tuple[float, float]
"""The two ends of a uniform distribution; equal ends mean one fixed value."""

RANGES = ("sigma", "lambda_1", "lambda_2", "theta", "noise_level", "jpeg")

_HIGHEST = {"sigma": 100, "lambda_1": 100, "lambda_2": 100, "noise_level": 255, "jpeg": 100}

_ALWAYS_DRAWN = RANGES[:-1]

_MOST_DISTURBANCE = 10


@dataclass(frozen=True)
class GaussianDegradation(Degradation):
    """A distribution over Gaussian kernels, noise levels and JPEG qualities. All draws are uniform and independent.

    Its parameters are ``kernel`` (21, 21), which sums to 1; ``noise_level``, a scalar in 0..255 units; ``jpeg_quality``, a
    scalar with an integer value of 1 to 100, or 0 for no JPEG; and ``axes`` (3,), what the kernel was drawn with: the standard
    deviations along its first and second axis in HR pixels, and the angle of the first in radians.

    Raises:
        OptionError: A range beyond its limits; naming the parameter, what came and what was expected.

    Example:
        >>> degradation = GaussianDegradation("isotropic", sigma=(0.2, 4.0), jpeg=(30, 95))
        >>> params = degradation.draw(torch.Generator().manual_seed(0))
        >>> batch = {name: value[None].float() for name, value in params.items()}
        >>> tuple(degradation.apply(torch.zeros(1, 3, 64, 64), batch, scale=4).shape)
        (1, 3, 16, 16)
    """

    kernel: Literal["isotropic", "anisotropic"] = "isotropic"
    """Which of the parameters below count: ``sigma``, or ``lambda_1``, ``lambda_2`` and ``theta``."""
    sigma: Range = (0.0, 0.0)
    """Standard deviation of isotropic kernels in HR pixels; 0 is no blur."""
    lambda_1: Range = (0.0, 0.0)
    """Standard deviation of anisotropic kernels along the first axis, in HR pixels."""
    lambda_2: Range = (0.0, 0.0)
    """Standard deviation along the second axis."""
    theta: Range = (0.0, 0.0)
    """Angle of the first axis against the image's x axis, in degrees."""
    noise_level: Range = (0.0, 0.0)
    """Standard deviation of the Gaussian noise in 0..255 units."""
    jpeg: Range = (0.0, 0.0)
    """Quality of the JPEG compression that follows the noise, integers of 1 to 100; 0 is none."""
    kernel_disturb: float = 0.0
    """Every value of the kernel is multiplied by 1 + U(0, this), drawn independently, then the kernel is normalised: it is no
    longer a Gaussian exactly, as blurs that are estimated from photographs are not (KernelGAN, arXiv 1909.06581)."""
    border: Border = "clamp"
    """What the downsampling sees outside the image."""
    as_outer_products: bool = True
    """Apply isotropic kernels as outer products, in fewer steps, unless they are disturbed. The results differ by rounding
    errors of float32."""

    def __post_init__(self) -> None:
        if self.kernel not in ("isotropic", "anisotropic"):
            raise OptionError("kernel", f"expected isotropic or anisotropic, got {self.kernel!r}.")
        for name, high in _HIGHEST.items():
            ends = getattr(self, name)
            if not 0 <= ends[0] <= ends[1] <= high:
                raise OptionError(f"{name}", f"expected 0 <= first <= second <= {high}, got {list(ends)}.")
        if any(not float(end).is_integer() for end in self.jpeg):
            raise OptionError("jpeg", f"expected integers, as encoders take them, got {list(self.jpeg)}.")
        if not 0 <= self.kernel_disturb <= _MOST_DISTURBANCE:
            raise OptionError(
                "kernel_disturb", f"expected a number from 0 to {_MOST_DISTURBANCE}, got {self.kernel_disturb!r}."
            )
        if self.border not in get_args(Border):
            raise OptionError("border", f"expected clamp or symmetric, got {self.border!r}.")

    @property
    def names(self) -> tuple[str, ...]:
        """``kernel``, ``noise_level``, ``jpeg_quality`` and ``axes``."""
        return ("kernel", "noise_level", "jpeg_quality", "axes")

    @property
    def is_noisy(self) -> bool:
        """Whether any draw can have noise."""
        return self.noise_level[1] > 0

    @property
    def has_jpeg(self) -> bool:
        """Whether any draw can have JPEG."""
        return self.jpeg[1] > 0

    def draw(self, generator: torch.Generator | None = None) -> Params:
        """Draw a kernel, a noise level and a JPEG quality, in float64.

        Args:
            generator: On the CPU. Every draw takes five values from it, whatever the ranges, a sixth for JPEG if there is
                some, and then one for each value of a kernel that is disturbed: without these the sequence is that of the
                versions before them.
        """
        ends = torch.tensor([getattr(self, name) for name in _ALWAYS_DRAWN], dtype=torch.float64)
        u = torch.rand(len(_ALWAYS_DRAWN), generator=generator, dtype=torch.float64)
        sigma, lambda_1, lambda_2, theta, noise_level = (ends[:, 0] + (ends[:, 1] - ends[:, 0]) * u).split(1)
        angle = theta * math.pi / 180
        if self.kernel == "isotropic":
            kernel, axes = isotropic_gaussian_kernels(sigma), (sigma, sigma, torch.zeros_like(sigma))
        else:
            kernel, axes = anisotropic_gaussian_kernels(lambda_1, lambda_2, angle), (lambda_1, lambda_2, angle)
        quality = torch.zeros((), dtype=torch.float64)
        if self.has_jpeg:
            low, high = self.jpeg
            quality = (low + (high - low + 1) * torch.rand((), generator=generator, dtype=torch.float64)).floor()
        if self.kernel_disturb > 0:
            factors = torch.rand(kernel.shape, generator=generator, dtype=torch.float64)
            kernel = kernel * (1 + self.kernel_disturb * factors)
            kernel = kernel / kernel.sum()
        return {
            "kernel": kernel[0],
            "noise_level": noise_level[0],
            "jpeg_quality": quality,
            "axes": torch.cat(axes),
        }

    def apply(
        self, gt: Tensor, params: Mapping[str, Tensor], scale: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Blur, downsample, add noise, compress and round, see :func:`~lightbsr_model.degradation.pipeline.degrade`.

        Steps that no draw of this distribution needs are left out, without a look at the parameters: reading them would make
        the host wait for the device.
        """
        return degrade(
            gt,
            params["kernel"],
            params.get("noise_level") if self.is_noisy else None,
            scale,
            self.border,
            generator,
            separable=self.as_outer_products and self.kernel == "isotropic" and self.kernel_disturb == 0,
            jpeg_quality=params.get("jpeg_quality") if self.has_jpeg else None,
        )

    def apply_exactly(self, gt: Tensor, params: Mapping[str, Tensor], scale: int, seed: int) -> Tensor:
        """Degrade one image for a test, see :func:`~lightbsr_model.degradation.exact.benchmark_lq`."""
        noise_level, quality = float(params["noise_level"]), int(params["jpeg_quality"])
        return benchmark_lq(gt, params["kernel"], noise_level, scale, self.border, seed, quality)

    def describe(self, params: Mapping[str, Tensor]) -> dict[str, Any]:
        """One sample's parameters as plain values.

        Returns:
            ``kernel_shape`` (``lambda_1`` and ``lambda_2`` in pixels, ``theta`` in degrees, as measured on the kernel),
            ``kernel_disturb`` if the kernel is disturbed, ``noise_level``, ``jpeg_quality`` if there is JPEG, and ``kernel`` as
            it was applied, row by row.
        """
        quality = int(params["jpeg_quality"])
        return {
            "kernel_shape": kernel_shape(params["kernel"])._asdict(),
            **({"kernel_disturb": self.kernel_disturb} if self.kernel_disturb else {}),
            "noise_level": float(params["noise_level"]),
            **({"jpeg_quality": quality} if quality else {}),
            "kernel": params["kernel"].tolist(),
        }

    def quantities(self) -> dict[str, Range]:
        """What varies, in plain units, with its range.

        ``sigma`` of isotropic blur; of anisotropic blur the widths ``sigma_1`` >= ``sigma_2``, and ``stretch_x`` and
        ``stretch_y``: their difference times cosine and sine of twice the angle of the wider axis; all in HR pixels.
        ``noise_level`` in 0..255; ``jpeg_quality``, where no JPEG counts as 100.
        """
        ranges = {"sigma": self.sigma} if self.kernel == "isotropic" else self._axes()
        ranges["noise_level"] = self.noise_level
        if self.has_jpeg:
            ranges["jpeg_quality"] = (max(1, self.jpeg[0]), 100 if self.jpeg[0] == 0 else self.jpeg[1])
        return {name: (float(low), float(high)) for name, (low, high) in ranges.items() if low < high}

    def _axes(self) -> dict[str, Range]:
        """The ranges of ``sigma_1``, ``sigma_2`` and the stretch."""
        one, other = self.lambda_1, self.lambda_2
        ranges = {
            "sigma_1": (max(one[0], other[0]), max(one[1], other[1])),
            "sigma_2": (min(one[0], other[0]), min(one[1], other[1])),
        }
        stretch = max(one[1] - other[0], other[1] - one[0])
        if self.theta[0] < self.theta[1] or one[0] < one[1] or other[0] < other[1]:
            ranges |= {"stretch_x": (-stretch, stretch), "stretch_y": (-stretch, stretch)}
        return ranges

    def measure(self, params: Mapping[str, Tensor]) -> Tensor:
        """The :meth:`quantities` of a batch's parameters, (N, number of quantities) float32, without a host sync."""
        first, second, angle = params["axes"].float().unbind(dim=1)
        quality = params["jpeg_quality"].float()
        # A blur that is wider along its second axis has its wider axis at a right angle to the first: the sign turns.
        stretch = first - second
        values = {
            **{"sigma": (first + second) / 2, "sigma_1": torch.maximum(first, second)},
            **{"sigma_2": torch.minimum(first, second)},
            **{"stretch_x": stretch * torch.cos(2 * angle), "stretch_y": stretch * torch.sin(2 * angle)},
            "noise_level": params["noise_level"].float(),
            "jpeg_quality": torch.where(quality == 0, 100.0, quality),
        }
        return torch.stack([values[name] for name in self.quantities()], dim=1)

    def vector_names(self) -> tuple[str, ...]:
        """The entries of :meth:`vector`."""
        return ("mean sigma / 3", "stretch x / 3", "stretch y / 3", "noise level / 30", "1 - JPEG quality / 100")

    def vector(self, params: Mapping[str, Tensor]) -> Tensor:
        """Kernel, noise and JPEG in five numbers; no JPEG counts as quality 100."""
        first, second, angle = params["axes"].float().unbind(dim=1)
        quality, stretch = params["jpeg_quality"].float(), (first - second) / 3
        entries = [(first + second) / 6, stretch * torch.cos(2 * angle), stretch * torch.sin(2 * angle)]
        entries += [params["noise_level"].float() / 30, torch.where(quality == 0, 0.0, 1 - quality / 100)]
        return torch.stack(entries, dim=1)

    def recipe(self) -> dict[str, Any]:
        """The kind of kernels and the ranges; ``jpeg`` and ``kernel_disturb`` only where there is some."""
        names = [name for name in RANGES if name != "jpeg" or self.has_jpeg]
        names += ["kernel_disturb"] if self.kernel_disturb else []
        return {"kernel": self.kernel, **{name: getattr(self, name) for name in names}}

    def covering(self, others: Sequence[Degradation]) -> GaussianDegradation:
        """The narrowest Gaussian degradation whose ranges hold those of this one and of others.

        Where isotropic and anisotropic kernels meet, an isotropic one is an anisotropic one of two equal axes.

        Raises:
            OptionError: One is of another kind, or has another border.
        """
        members = [self]
        for other in others:
            if not isinstance(other, GaussianDegradation):
                raise OptionError("preset", "a Gaussian degradation and one of another kind cannot share a batch.")
            if other.border != self.border:
                raise OptionError(
                    "border", f"expected one for all that share a batch, got {self.border} and {other.border}."
                )
            members.append(other)
        if len({member.kernel for member in members}) > 1:
            members = [member._as_anisotropic() for member in members]
        hulls = {name: _hull([getattr(member, name) for member in members]) for name in RANGES}
        outer = all(member.as_outer_products for member in members)
        disturbed = max(member.kernel_disturb for member in members)
        return replace(members[0], as_outer_products=outer, kernel_disturb=disturbed, **hulls)  # type: ignore[arg-type]

    def _as_anisotropic(self) -> GaussianDegradation:
        if self.kernel == "anisotropic":
            return self
        return replace(self, kernel="anisotropic", lambda_1=self.sigma, lambda_2=self.sigma)


def _hull(ranges: Sequence[Range]) -> Range:
    return (min(low for low, _ in ranges), max(high for _, high in ranges))


ANY_GAUSSIAN = GaussianDegradation(
    "anisotropic", lambda_1=(0, 100), lambda_2=(0, 100), theta=(0, 180), noise_level=(0, 255), jpeg=(0, 100)
)
"""Applies any kernels, noise levels and JPEG qualities: for batches of which no preset says what is in them."""
