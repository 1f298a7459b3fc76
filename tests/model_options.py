"""Options of small models, as BasicSR's parse_options leaves them."""

from __future__ import annotations

from typing import Any

from helpers import TINY

TEACHER_NETWORK = {"type": "LightBSRTeacher", "scale": 4, "prior_channels": 15, "queue_size": 32, **TINY}
STUDENT_NETWORK = {"type": "LightBSR", "scale": 4, **TINY}
LOSSES = {
    "teacher": {"contrastive_opt": {"type": "DegradationContrastiveLoss"}},
    "student": {"channel_opt": {"type": "ChannelDistillationLoss"}, "spatial_opt": {"type": "SpatialDistillationLoss"}},
}


SMALL_DASR = {"num_feat": 8, "num_group": 1, "num_block": 1, "num_encoder_feat": 4, "queue_size": 16, "reduction": 4}
SMALL_KDSR = {"num_feat": 8, "num_block": 2, "num_encoder_block": 1}
SMALL_CDCL = {"num_feat": 8, "num_group": 1, "num_block": 1, "num_encoder_feat": 4, "layer_scale_init": 0.1}
UNIT_L1 = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
BASELINES: dict[str, dict[str, Any]] = {
    "DASR": {
        "model_type": "DASRModel",
        "network_g": {"type": "DASR", "scale": 4, **SMALL_DASR},
        "train": {"contrastive_opt": {"type": "DegradationContrastiveLoss"}},
        "views": 2,
    },
    "CdCL": {
        "model_type": "CdCLModel",
        "network_g": {"type": "CdCL", "scale": 4, **SMALL_CDCL},
        "train": {"contrastive_opt": {"type": "ContentDecoupledContrastiveLoss"}},
        "views": 4,
    },
    "KDSR teacher": {
        "model_type": "KDSRTeacherModel",
        "network_g": {"type": "KDSRTeacher", "scale": 4, **SMALL_KDSR},
        "train": {"encoder_iter": 0, "pixel_opt": UNIT_L1},
        "views": 1,
    },
    "KDSR student": {
        "model_type": "KDSRStudentModel",
        "network_g": {"type": "KDSR", "scale": 4, **SMALL_KDSR},
        "train": {"channel_opt": {"type": "ChannelDistillationLoss", "l1_weight": 0}, "pixel_opt": UNIT_L1},
        "views": 1,
    },
}
"""The methods beside LightBSR: what differs from a teacher's options, and views."""


def baseline_options(name: str, options: dict[str, Any], teacher_file: Any = None) -> dict[str, Any]:
    """Make a LightBSR teacher's options those of another method; KDSR's student needs its teacher's file."""
    case = BASELINES[name]
    options.update(model_type=case["model_type"], network_g=dict(case["network_g"]))
    options["train"].pop("contrastive_opt", None)
    options["train"].update(case["train"])
    options["datasets"]["train"]["views"] = case["views"]
    if name == "KDSR student":
        network = {"type": "KDSRTeacher", "scale": 4, **SMALL_KDSR}
        options["teacher"] = {"network": network, "path": str(teacher_file)}
    return options


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
