"""Options of small models, as BasicSR's parse_options leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from support.method_cases import CASES

TEACHER_NETWORK = CASES["LightBSRTeacher"].options()
STUDENT_NETWORK = CASES["LightBSR"].options()
LOSSES = {"teacher": CASES["LightBSRTeacher"].losses, "student": CASES["LightBSR"].losses}
JUDGE = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4}
GAN = {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 0.1}
MSRRESNET = {"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 4}
UNIT_L1 = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}


def merged(opt: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Options with others in their place; keys of a section are changed one by one."""
    return {
        **opt,
        **{key: {**opt.get(key, {}), **value} if isinstance(value, dict) else value for key, value in changes.items()},
    }


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


def with_discriminator(opt: dict[str, Any], **train: Any) -> dict[str, Any]:
    """Turn options of SRModel into those of SRGANModel."""
    opt.update(model_type="SRGANModel", network_d=dict(JUDGE))
    opt["train"].update({"optim_d": {"type": "Adam", "lr": 1e-3}, "gan_opt": dict(GAN), **train})
    return opt


def basicsr_options(model_type: str) -> dict[str, Any]:
    """Options of BasicSR's SRModel or SRGANModel, or of the BlindGANModel with a diffused discriminator, on the CPU."""
    opt = model_options("teacher", MSRRESNET, 0)
    opt["model_type"] = model_type
    opt["train"] = {"pixel_opt": UNIT_L1, "total_iter": 8, "optim_g": {"type": "Adam", "lr": 1e-3}}
    opt["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [4]}
    if model_type == "SRModel":
        return opt
    diffusion = {"diffusion_opt": {"p": 1.0}} if model_type == "BlindGANModel" else {}
    return {**with_discriminator(opt, **diffusion), "model_type": model_type}
