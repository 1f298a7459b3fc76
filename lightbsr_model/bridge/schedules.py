"""BasicSR's step schedule, reaching its rate after a warm-up.

``models/lr_scheduler.py:31`` multiplies the rate that it finds in the optimiser, and during a warm-up
(``base_model.py:190``) that is the warm-up's: after it the rate stayed below the one asked for, for ever.
"""

from __future__ import annotations

from typing import Any


def multistep_rates(scheduler: Any) -> list[float]:
    """Stand in for ``MultiStepRestartLR.get_lr``: a function of the iteration alone.

    Equal to BasicSR's where there is no warm-up.
    """
    past = [restart for restart in scheduler.restarts if restart <= scheduler.last_epoch]
    start = max(past, default=0)
    weight = scheduler.restart_weights[list(scheduler.restarts).index(start)] if past else 1
    passed = sum(count for step, count in scheduler.milestones.items() if start < step <= scheduler.last_epoch)
    return [base * weight * scheduler.gamma**passed for base in scheduler.base_lrs]
