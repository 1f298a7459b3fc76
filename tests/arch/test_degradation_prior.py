from __future__ import annotations

import pytest
import torch

from lightbsr_arch import LightBSRTeacher
from lightbsr_arch.layers.degradation_prior import gaussian_kernels, kernel_pca_basis, new_prior_basis

from support.helpers import TINY


def test_basis_is_orthonormal_and_the_same_at_every_call():
    basis = kernel_pca_basis().clone()
    torch.testing.assert_close(basis.T @ basis, torch.eye(15), rtol=0, atol=1e-6)
    kernel_pca_basis.cache_clear()
    assert torch.equal(kernel_pca_basis(), basis)
    assert not torch.allclose(kernel_pca_basis(seed=1), basis)


def _lost_norm(basis: torch.Tensor, sigma: float) -> float:
    width = torch.tensor([sigma])
    kernel = gaussian_kernels(width, width, torch.zeros(1)).flatten(1)
    return float((kernel - kernel @ basis @ basis.T).norm() / kernel.norm())


def test_default_basis_covers_the_training_kernels_better_than_the_published_one():
    lost, lost_as_published = (_lost_norm(kernel_pca_basis(max_variance=v), 4.0) for v in (16.0, 10.1))
    assert lost < 0.15
    assert 0.25 < lost_as_published < 0.27


def test_sigma_zero_is_no_blur_for_the_teacher_too():
    zero = torch.zeros(1)
    kernel = gaussian_kernels(zero, zero, zero)
    expected = torch.zeros(1, 21, 21)
    expected[0, 10, 10] = 1
    assert torch.equal(kernel, expected)
    teacher = LightBSRTeacher(queue_size=8, **TINY)
    torch.testing.assert_close(teacher.degradation_prior(kernel), teacher.prior_basis[220][None])


@pytest.mark.parametrize(("divisor", "expected"), [(255.0, 25 / 255), (1.0, 25.0)])
def test_noise_level_fills_the_last_channels(divisor, expected):
    teacher = LightBSRTeacher(prior_channels=18, prior_noise_divisor=divisor, queue_size=8, **TINY)
    prior = teacher.degradation_prior(torch.rand(2, 21, 21), torch.tensor([0.0, 25.0]))
    assert prior.shape == (2, 18)
    torch.testing.assert_close(prior[:, 15:], torch.tensor([[0.0] * 3, [expected] * 3]))
    with pytest.raises(ValueError, match="noise_level"):
        teacher.degradation_prior(torch.rand(2, 21, 21))


def test_kernels_are_differentiable_and_checked():
    parameters = torch.tensor([[1.3], [2.1], [0.4]], dtype=torch.float64).unbind(0)
    assert torch.autograd.gradcheck(gaussian_kernels, [value.clone().requires_grad_() for value in parameters])
    with pytest.raises(ValueError, match="odd"):
        gaussian_kernels(*parameters, size=20)
    with pytest.raises(ValueError, match="expected >= 0"):
        gaussian_kernels(-parameters[0], *parameters[1:])


def test_a_teacher_without_values_needs_no_basis_computed():
    kernel_pca_basis.cache_clear()
    with torch.device("meta"):
        basis = LightBSRTeacher(prior_channels=18, queue_size=8, **TINY).prior_basis
    assert kernel_pca_basis.cache_info().misses == 0
    assert (basis.is_meta, basis.shape, basis.dtype) == (True, (21 * 21, 15), torch.float32)


def test_every_teacher_has_a_basis_of_its_own():
    first, second = (new_prior_basis(3, 10.1) for _ in range(2))
    first.zero_()
    assert torch.equal(second, kernel_pca_basis(3, 10.1))
    assert second.abs().max() > 0


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior_max_variance": 0.1}, "prior_max_variance: expected a finite number above 0.1 .*got 0.1"),
        ({"prior_max_variance": float("nan")}, "prior_max_variance: expected a finite number above 0.1 .*got nan"),
        ({"prior_max_variance": float("inf")}, "prior_max_variance: expected a finite number above 0.1 .*got inf"),
        ({"prior_channels": 500, "prior_components": 442}, "prior_components: expected at most 441.*got 442"),
    ],
)
def test_impossible_bases_are_refused_with_and_without_values(device, options, message):
    with torch.device(device), pytest.raises(ValueError, match=message):
        LightBSRTeacher(queue_size=8, **options, **TINY)
