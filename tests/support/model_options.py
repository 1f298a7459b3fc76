"""Options of small models, as BasicSR's parse_options leaves them."""

from __future__ import annotations

from typing import Any

from support.method_cases import CASES

TEACHER_NETWORK = CASES["LightBSRTeacher"].options()
STUDENT_NETWORK = CASES["LightBSR"].options()
LOSSES = {"teacher": CASES["LightBSRTeacher"].losses, "student": CASES["LightBSR"].losses}
UNIT_L1 = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}


def model_options(kind: str, network: dict[str, Any], encoder_iter: int, total_iter: int = 8) -> dict[str, Any]:
    """Options of a teacher's or student's model on the CPU."""
    return {
        "model_type": f"LightBSR{kind.capitalize()}Model",
        "scale": 4,
        "num_gpu": 0,
        "is_train": True,
        "dist": False,
        "rank": 0,
        "world_size": 1,
        "manual_seed": 0,
        "network_g": dict(network),
        "datasets": {"train": {"scale": 4, "preset": "setting1_x4"}},
        "path": {},
        "train": {
            "total_iter": total_iter,
            "encoder_iter": encoder_iter,
            "optim_g": {"type": "Adam", "lr": 2e-4, "weight_decay": 0, "betas": [0.9, 0.99]},
            "scheduler": {"type": "TwoPhaseCosineLR"},
            "pixel_opt": {"type": "L1Loss", "loss_weight": 255.0, "reduction": "mean"},
            **LOSSES[kind],
        },
    }
