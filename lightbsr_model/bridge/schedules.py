"""BasicSR's step schedule, fixed to reach its learning rate after a warm-up.

``models/lr_scheduler.py:31`` multiplies the rate that it finds in the optimiser, which during a warm-up
(``base_model.py:190``) is the warm-up's: after it the rate never reached the configured one.
"""

from __future__ import annotations

from typing import Any


def multistep_rates(scheduler: Any) -> list[float]:
    """Replaces ``MultiStepRestartLR.get_lr`` by a function of the iteration alone.

    Equal to BasicSR's without a warm-up.
    """
    past = [restart for restart in scheduler.restarts if restart <= scheduler.last_epoch]
    start = max(past, default=0)
    weight = scheduler.restart_weights[list(scheduler.restarts).index(start)] if past else 1
    passed = sum(count for step, count in scheduler.milestones.items() if start < step <= scheduler.last_epoch)
    return [base * weight * scheduler.gamma**passed for base in scheduler.base_lrs]
