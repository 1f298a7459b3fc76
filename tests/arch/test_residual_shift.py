"""The diffusion from the HR image to the enlarged LR image, against the published process."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightbsr_arch.layers.residual_shift import ResidualShift

from support.published import GOLDEN

DATA = np.load(GOLDEN / "resshift.npz")
CASES = ("s15", "s4")


def _process(case):
    steps, *rest = DATA[f"{case}_config"].tolist()
    return ResidualShift(int(steps), *rest)


def _data(case, *names):
    return [torch.from_numpy(DATA[f"{case}_{name}"]) for name in names]


def _toy(process, y):
    return lambda x, t: 0.6 * process.scaled(x, t) + 0.3 * y - 0.02 * (t + 1)


@pytest.mark.parametrize("case", CASES)
def test_schedule(case):
    ours = _process(case)
    k, m, j = zip(*map(ours.deterministic_weights, range(ours.steps)), strict=True)
    for name, values in (
        *(("sqrt_etas", ours.sqrt_etas), ("etas", ours.etas), ("alpha", ours.alphas)),
        *(("posterior_variance", ours.posterior_variances), ("posterior_mean_coef1", ours.ratios)),
        *(("posterior_mean_coef2", 1 - np.array(ours.ratios)), ("ddim_k", k), ("ddim_m", m), ("ddim_j", j)),
    ):
        np.testing.assert_allclose(values, DATA[f"{case}_{name}"], rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_steps_of_single_images_and_of_a_batch(case):
    ours = _process(case)
    x0, y, noise, shifted, mean = _data(case, "x0", "y", "noise", "q_sample", "posterior_mean")
    latent, pixel, prior = _data(case, "input_scaled_latent", "input_scaled_pixel", "prior")
    every = torch.arange(ours.steps)
    batch = ours.shift(x0.expand_as(noise), y.expand_as(noise), every, noise)
    torch.testing.assert_close(batch, shifted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.posterior_mean(x0.expand_as(noise), shifted, every), mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.scaled(shifted, every, "latent"), latent, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.scaled(shifted, every), pixel, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.start(y, noise[:1]), prior, rtol=1e-5, atol=1e-5)
    for t in (0, ours.steps - 1):
        torch.testing.assert_close(ours.shift(x0, y, t, noise[t : t + 1]), shifted[t : t + 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_samplers(case):
    ours = _process(case)
    y, noise = _data(case, "y", "noise")
    predict = _toy(ours, y)
    for name, found in (
        ("deterministic", ours.sample(predict, y, noise[:1])),
        ("one_step", ours.sample(predict, y, noise[:1], steps=1)),
        ("ancestral", ours.sample(predict, y, noise[:1], noises=list(noise.split(1)))),
    ):
        torch.testing.assert_close(found, _data(case, f"toy_{name}")[0], rtol=1e-5, atol=1e-5, msg=name)


def test_fewer_steps_visit_the_first_and_the_last():
    process, seen = ResidualShift(15), []

    def predict(x, t):
        seen.append(t)
        return torch.full_like(x, 0.25)

    y = torch.rand(1, 3, 4, 4)
    for count in (1, 2, 4, 15):
        seen.clear()
        found = process.sample(predict, y, torch.randn(1, 3, 4, 4), steps=count)
        assert (len(seen), seen[0]) == (count, 14)
        assert count == 1 or seen[-1] == 0
        assert seen == sorted(seen, reverse=True)
        assert torch.equal(found, torch.full_like(y, 0.25))


def test_a_perfect_prediction_stays_on_the_path():
    # With the true x0, deterministic steps lead from x_t to x_(t-1) of the same noise.
    process = ResidualShift(6, kappa=1.0)
    x0, y, noise = (torch.randn(1, 3, 4, 4, dtype=torch.float64) for _ in range(3))
    for t in range(5, 0, -1):
        x = process.shift(x0, y, t, noise)
        expected = process.shift(x0, y, t - 1, noise)
        torch.testing.assert_close(process.deterministic_step(x0, x, y, t), expected)
    jump = process.deterministic_step(x0, process.shift(x0, y, 5, noise), y, 5, 2)
    torch.testing.assert_close(jump, process.shift(x0, y, 2, noise))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 1}, "steps: expected at least 2, got 1"),
        ({"kappa": 0}, "kappa: expected a number above 0, got 0"),
        ({"power": float("nan")}, "power: expected a number above 0, got nan"),
        ({"end": 1.0}, "end: expected a number above 0 and below 1, got 1.0"),
    ],
)
def test_values_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResidualShift(**arguments)


def test_steps_out_of_range():
    y = torch.rand(1, 3, 4, 4)
    for arguments, message in (
        ({"steps": 0}, "steps: expected 1 to 15, got 0"),
        ({"steps": 16}, "steps: expected 1 to 15, got 16"),
        ({"steps": 4, "noises": [y] * 15}, "steps: the ancestral sampler takes all 15, got 4"),
    ):
        with pytest.raises(ValueError, match=message):
            ResidualShift().sample(lambda x, _: x, y, y, **arguments)
