"""All that trains: the methods' cases, trainings that take any network, and networks of bursts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from support.method_cases import CASES, MethodCase


@dataclass(frozen=True)
class StrategyCase(MethodCase):
    """A training that takes any network, on a small one of BasicSR's."""

    def __str__(self) -> str:
        return self.model_type

    def options(self, scale: int = 4) -> dict[str, Any]:
        """As a section of an option file."""
        return {"type": self.network, "upscale": scale, **self.small}

    def apply(self, opt: dict[str, Any], teacher_file: Path | str | None = None) -> dict[str, Any]:
        """Make options of any training those of this one."""
        opt = super().apply(opt, teacher_file)
        opt["train"].pop("encoder_iter", None)
        return opt


STRATEGIES = {
    str(case): case
    for case in (
        StrategyCase(
            network="MSRResNet",
            small={"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1},
            model_type="MimickedAlignmentModel",
            losses={
                # Of images of noise too.
                "align_opt": {"type": "FlowAlignedL1Loss", "min_agreement": -1.0},
                "low_pass_opt": {"type": "LowPassL1Loss", "loss_weight": 0.01},
            },
            first_layer="conv_first",
            falls_to=0.95,
            pixel_weight=1.0,
            beside={"network_mim": {"type": "MimicNet", "num_feat": 8}},
        ),
    )
}
"""By their models."""


@dataclass(frozen=True)
class BurstCase(MethodCase):
    """A network that restores bursts of frames, which are made of the images of a training."""

    def options(self, scale: int = 4) -> dict[str, Any]:
        """As a section of an option file; it has one scale."""
        return {"type": self.network, **self.small}

    def apply(self, opt: dict[str, Any], teacher_file: Path | str | None = None) -> dict[str, Any]:
        """Make options of any training those of this one."""
        opt = super().apply(opt, teacher_file)
        opt["train"].pop("encoder_iter", None)
        given = opt["datasets"]["train"]
        kept = ("name", "dataroot_gt", "num_worker_per_gpu", "batch_size_per_gpu")
        camera = {"shift": 4.0, "cut": 8}
        opt["datasets"]["train"] = {
            **{key: given[key] for key in kept if key in given},
            **{"type": "SyntheticBurstDataset", "camera": "small", "camera_opt": camera, "gt_size": 64},
            "frames": [2, self.frames],
        }
        if "val" in opt["datasets"]:
            opt["datasets"]["val"] = {**opt["datasets"]["train"], "name": "val", "frames": 3}
        return opt


_BURST = BurstCase(
    network="RBSR",
    small={
        **{"num_feat": 8, "num_feat_block": 1, "num_block": 2, "num_reconstruction_block": 1, "deform_groups": 2},
        "flow_net": "affine",
    },
    model_type="BurstSRModel",
    losses={},
    frames=4,
    first_layer="features.first",
    falls_to=0.95,
    pixel_weight=1.0,
)
BURSTS = {
    str(case): case
    for case in (
        _BURST,
        replace(
            _BURST,
            name="RBSR_spynet",
            small={**_BURST.small, "flow_net": "spynet"},
            losses={"flow_opt": {"type": "L1Loss", "loss_weight": 0.1}},
            gradient_rounding=1e-4,
            falls_within=20,
        ),
    )
}
"""By the network's name, or the case's own."""

FROM_BURSTS = {case.network for case in BURSTS.values()}
"""Networks that the tests of networks which restore single images leave out."""

AUXILIARY = {section["type"] for case in STRATEGIES.values() for section in case.beside.values()}
"""Networks that only help in a training, which the tests of networks that restore images leave out."""

TRAININGS: dict[str, MethodCase] = {**CASES, **STRATEGIES, **BURSTS}
"""All that trains, by the name of its case."""
