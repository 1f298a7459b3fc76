"""Kernels of every kind against BasicSR's makers, and what they do against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from basicsr.data import degradations as basicsr_kernels

from lightbsr_model.degradation.mixed_kernels import KERNELS, NO_BLUR, equivalent_sigma, mixed_kernels


def _kernel(kind, size, sigma_x=1.0, sigma_y=1.0, rotation=0.0, beta=1.0, cutoff=1.0):
    values = (sigma_x, sigma_y, rotation, beta, cutoff)
    numbers = [torch.tensor([value], dtype=torch.float64) for value in values]
    return mixed_kernels(torch.tensor([KERNELS.index(kind)]), torch.tensor([size]), *numbers)[0]


MAKERS = {
    "iso": lambda size: basicsr_kernels.bivariate_Gaussian(size, 1.7, 1.7, 0, isotropic=True),
    "aniso": lambda size: basicsr_kernels.bivariate_Gaussian(size, 2.5, 0.7, 0.6, isotropic=False),
    "generalized_iso": lambda size: basicsr_kernels.bivariate_generalized_Gaussian(size, 1.7, 1.7, 0, 0.6),
    "generalized_aniso": lambda size: basicsr_kernels.bivariate_generalized_Gaussian(
        size, 2.5, 0.7, 0.6, 3.1, isotropic=False
    ),
    "plateau_iso": lambda size: basicsr_kernels.bivariate_plateau(size, 1.7, 1.7, 0, 1.6),
    "plateau_aniso": lambda size: basicsr_kernels.bivariate_plateau(size, 2.5, 0.7, 0.6, 1.3, isotropic=False),
    "sinc": lambda size: basicsr_kernels.circular_lowpass_kernel(1.9, size),
}
ARGUMENTS = {
    "iso": {"sigma_x": 1.7, "sigma_y": 1.7},
    "aniso": {"sigma_x": 2.5, "sigma_y": 0.7, "rotation": 0.6},
    "generalized_iso": {"sigma_x": 1.7, "sigma_y": 1.7, "beta": 0.6},
    "generalized_aniso": {"sigma_x": 2.5, "sigma_y": 0.7, "rotation": 0.6, "beta": 3.1},
    "plateau_iso": {"sigma_x": 1.7, "sigma_y": 1.7, "beta": 1.6},
    "plateau_aniso": {"sigma_x": 2.5, "sigma_y": 0.7, "rotation": 0.6, "beta": 1.3},
    "sinc": {"cutoff": 1.9},
}


@pytest.mark.parametrize("size", [7, 21, 35])
@pytest.mark.parametrize("kind", KERNELS)
def test_as_basicsr_makes_them(kind, size):
    expected = MAKERS[kind](size)
    # torch's Bessel function has errors of 5e-7 where SciPy's has none to speak of.
    tolerance = 1e-7 if kind == "sinc" else 1e-13
    np.testing.assert_allclose(_kernel(kind, size, **ARGUMENTS[kind]).numpy(), expected, rtol=1e-9, atol=tolerance)


def test_a_batch_has_kernels_of_every_kind_and_size():
    kinds = torch.arange(len(KERNELS))
    sizes = torch.tensor([7, 9, 11, 13, 15, 17, 19])
    ones = torch.ones(len(KERNELS), dtype=torch.float64)
    together = mixed_kernels(kinds, sizes, 2 * ones, ones, 0.3 * ones, 1.5 * ones, 2 * ones)
    assert together.shape == (7, 19, 19)
    torch.testing.assert_close(together.sum(dim=(1, 2)), ones)
    for place, kind in enumerate(KERNELS):
        size = int(sizes[place])
        alone = _kernel(kind, size, 2.0, 1.0, 0.3, 1.5, 2.0)
        margin = (19 - size) // 2
        torch.testing.assert_close(together[place, margin : margin + size, margin : margin + size], alone)
        assert torch.count_nonzero(together[place]) <= size**2


def test_one_width_for_all_kinds():
    assert float(equivalent_sigma(_kernel("iso", 21, 2.0, 2.0)[None])) == pytest.approx(2.0, abs=1e-3)
    delta = torch.zeros(1, 5, 5, dtype=torch.float64)
    delta[0, 2, 2] = 1
    assert float(equivalent_sigma(delta)) == pytest.approx(NO_BLUR)
    # The ideal low-pass filter lets through cutoff^2 / (4 pi) of white noise; cut off by its border, nearly so.
    sinc = _kernel("sinc", 201, cutoff=math.pi / 3)
    assert float(equivalent_sigma(sinc[None])) == pytest.approx(3 / math.pi, rel=0.01)
