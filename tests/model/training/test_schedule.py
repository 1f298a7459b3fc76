from __future__ import annotations

import math

import pytest
import torch

from lightbsr_model.training.schedule import TwoPhaseCosineLR

RECIPE = {"encoder_iter": 97000, "total_iter": 679000, "warmup_iter": 4850, "step_iter": 970, "eta_min": 1e-6}


def _optimizer(rate=2e-4):
    return torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], rate)


def _rates_at(scheduler, iterations):
    """The rates that BasicSR's loop uses: it steps the scheduler before every iteration but the first."""
    rates = []
    for iteration in iterations:
        scheduler.last_epoch = iteration - 1
        rates.append(scheduler.get_lr()[0])
    return rates


def test_equals_published_schedule(golden):
    expected = golden("schedule")["official_lr_per_epoch"]
    scheduler = TwoPhaseCosineLR(_optimizer(), **RECIPE)
    for offset in (1, 500, 970):
        actual = torch.tensor(_rates_at(scheduler, [970 * epoch + offset for epoch in range(700)]), dtype=torch.float64)
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=0)


def test_steps_through_the_loop_and_goes_on_from_its_state():
    options = {"encoder_iter": 4, "total_iter": 12, "warmup_iter": 3, "eta_min": 0.0}
    scheduler = TwoPhaseCosineLR(_optimizer(1.0), **options)
    rates = [scheduler.get_last_lr()[0]]
    for _ in range(11):
        scheduler.optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    cosine = [0.5 + 0.5 * math.cos(math.pi * step / 5) for step in range(1, 6)]
    assert rates == pytest.approx([1, 1, 1, 1, 1 / 3, 2 / 3, 1, *cosine])
    resumed = TwoPhaseCosineLR(_optimizer(1.0), **options)
    state = scheduler.state_dict()
    state["last_epoch"] = 5
    resumed.load_state_dict(state)
    resumed.optimizer.step()
    resumed.step()
    assert resumed.get_last_lr()[0] == pytest.approx(rates[6])


def test_a_longer_run_keeps_its_own_length():
    longer = TwoPhaseCosineLR(_optimizer(), encoder_iter=0, total_iter=20)
    longer.load_state_dict(TwoPhaseCosineLR(_optimizer(), encoder_iter=0, total_iter=10).state_dict())
    assert longer.total_iter == 20


@pytest.mark.parametrize(
    ("change", "named"), [({"step_iter": 0}, "step_iter"), ({"warmup_iter": 600_000}, "warmup_iter")]
)
def test_lengths_that_do_not_fit(change, named):
    with pytest.raises(ValueError, match=named):
        TwoPhaseCosineLR(_optimizer(), **{**RECIPE, **change})
