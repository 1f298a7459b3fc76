"""The trainings of the study: option files for ``lightbsr train`` that are as equal as possible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

ENCODER_SHARE = 1 / 7
"""Share of the iterations used by the encoder phase, if there is one: LightBSR's 100 of 700 epochs."""

FREE_START: dict[str, Any] = {"image_skip": True, "tail_activation": "lr", "init_scale": 0.3}
"""How the networks of the field may start, to learn more than one filter soon; MSRResNet does so by itself."""

STARTS: dict[str, dict[str, Any]] = {"published": {}, "free": FREE_START}

LCE_STARTS: dict[str, dict[str, Any]] = {"published": {}, "free": {"init_scale": FREE_START["init_scale"]}}
"""The same of LCE's network, which has a skip and activations in its upsampler always."""

_SMALL = {"num_feat": 48, "layer_scale_init": 0.1}
NETWORK_SIZES: dict[str, dict[str, dict[str, Any]]] = {
    # About a quarter of each network's depth, and three quarters of its width.
    "small": {
        "LightBSR": {**_SMALL, "num_group": 2, "num_block": 4, "num_spatial_feat": 12},
        "DASR": {"num_feat": 48, "num_group": 2, "num_block": 3, "num_encoder_feat": 32},
        "KDSR": {"num_feat": 48, "num_block": 14, "num_encoder_block": 2},
        "CdCL": {**_SMALL, "num_group": 2, "num_block": 4, "num_encoder_feat": 32},
        "MSRResNet": {"num_feat": 48, "num_block": 9},
        "MRDA": {"num_feat": 48, "num_block": 7, "num_encoder_feat": 32},
        # Half of its features have HR size, at every step: its miniature.
        "DSSR": {"num_feat": 32, "num_step": 3, "num_block": 4, "num_refine_block": 1},
        "LCE": {"num_feat": 48, "num_group": 2, "num_block": 4, "num_corrector_feat": 24, "num_corrector_block": 3},
        # A quarter of its width: adapting it takes most of the time of two stages.
        "MetaLearningNetwork": {"num_feat": 32},
    },
    "published": {
        **{"LightBSR": {}, "DASR": {}, "KDSR": {}, "CdCL": {}, "MSRResNet": {}, "MRDA": {}, "DSSR": {}, "LCE": {}},
        "MetaLearningNetwork": {"num_feat": 128},
    },
}
SIZES = tuple(NETWORK_SIZES)


@dataclass(frozen=True)
class Budget:
    """The budget of every training."""

    images: str
    """Folder of GT images."""
    iterations: int
    """Iterations of each training, both phases together."""
    batch: int
    """Samples per iteration."""
    patch: int
    """Side of an LR patch."""
    size: str
    """Size of the networks: ``small`` or ``published``."""
    encoder_iterations: int
    """Iterations of the encoders trained by contrast alone."""
    encoder_batch: int
    """Samples per iteration of these encoders."""
    lr: float
    """Learning rate of Adam; after the encoder phase with a warm-up and a cosine, the same for all."""
    preset: str = "setting1_x4"
    """Preset of the degradations."""
    start: str = "published"
    """How the networks start: ``published`` or ``free``."""
    amp: str = "off"
    """Precision of all trainings, as ``train.amp``."""


@dataclass(frozen=True)
class Method:
    """A row of the study's table."""

    name: str
    """Name of the method and of its training."""
    label: str
    """Label in the table."""
    needs: tuple[str, ...] = ()
    """Trainings that it needs."""
    trainings: int = 1
    """Number of trainings behind its weights, including its teacher's."""
    start: str = "teacher"
    """What the last of the trainings that it needs gives it: a teacher, or weights under this key of ``path``."""
    is_compared: bool = True
    """Whether it restores images of the study's degradations."""
    is_conditioned: bool = True
    """Whether it restores under a representation of the degradation."""


METHODS = (
    Method("msrresnet", "MSRResNet (not blind)", is_conditioned=False),
    Method("dasr", "DASR"),
    Method("cdcl", "CdCL"),
    Method("kdsr_teacher", "KDSR, teacher (sees GT)"),
    Method("kdsr_student", "KDSR", ("kdsr_teacher",), 2),
    Method("mrda_mln", "MRDA, stage 1", is_compared=False),
    Method("mrda_meta", "MRDA, stage 2", ("mrda_mln",), 2, "pretrain_network_g", is_compared=False),
    Method("mrda_teacher", "MRDA, teacher (adapts to GT)", ("mrda_mln", "mrda_meta"), 3, "pretrain_network_meta"),
    Method("mrda_student", "MRDA", ("mrda_mln", "mrda_meta", "mrda_teacher"), 4),
    Method("dssr", "DSSR", is_conditioned=False),
    Method("lce", "LCE (after)", is_conditioned=False),
    Method("teacher", "LightBSR, teacher (sees the kernel)"),
    Method("student", "LightBSR", ("teacher",), 2),
    Method("teacher_no_contrast", "LightBSR, teacher without contrast (sees the kernel)"),
    Method("student_no_contrast", "LightBSR without contrast", ("teacher_no_contrast",), 2),
    Method("no_distillation", "LightBSR without distillation"),
    Method("no_distillation_twice", "LightBSR without distillation, twice the iterations", (), 2),
)
"""Methods in the order of training: teachers before their students."""

ENCODERS = (
    Method("dasr_contrast", "DASR"),
    Method("teacher_contrast", "LightBSR, teacher (sees the kernel)"),
)
"""Encoders trained by contrast alone, to analyse their representations before and after."""


def training_options(method: Method, budget: Budget, seed: int) -> dict[str, Any]:
    """The options of one training; the working directory is the seed's folder."""
    model_type, network, train, views, phases = _kind(method.name, budget)
    iterations = budget.iterations * (2 if method.name == "no_distillation_twice" else 1)
    encoder = round(ENCODER_SHARE * iterations) if phases else 0
    batch = budget.batch
    if method in ENCODERS:
        iterations = encoder = budget.encoder_iterations
        batch = budget.encoder_batch
    warm_up = max(iterations // 20, 1)
    options: dict[str, Any] = {
        "name": method.name,
        "model_type": model_type,
        "scale": 4,
        "num_gpu": "auto",
        "manual_seed": seed,
        "datasets": {
            "train": {
                "name": "train",
                "type": "BlindDegradationPairedDataset",
                "dataroot_gt": budget.images,
                "preset": budget.preset,
                "gt_size": 4 * budget.patch,
                "views": views,
                "degrade_in": "device",
                "num_worker_per_gpu": 8 if torch.cuda.is_available() else 0,
                "batch_size_per_gpu": batch,
                "dataset_enlarge_ratio": 10,
            }
        },
        "network_g": network,
        "path": {"pretrain_network_g": None},
        "train": {
            "total_iter": iterations,
            "optim_g": {"type": "Adam", "lr": budget.lr, "weight_decay": 0, "betas": [0.9, 0.99]},
            "pixel_opt": {
                "type": "L1Loss",
                "loss_weight": 1.0 if method.name.startswith(("kdsr", "mrda", "dssr", "lce")) else 255.0,
                "reduction": "mean",
            },
            "encoder_iter": encoder,
            "channels_last": True,
            "amp": budget.amp,
            "scheduler": {
                "type": "TwoPhaseCosineLR",
                "warmup_iter": min(warm_up, iterations - encoder),
                "eta_min": 1e-6,
            },
            **train,
        },
        "logger": {"print_freq": 20, "save_checkpoint_freq": max(iterations // 4, 1), "use_tb_logger": False},
    }
    if method.name == "mrda_mln":
        options["datasets"]["train"]["preset"] = "bicubic"
    elif "adapt_opt" in options["train"]:
        options["datasets"]["train"]["degradation_per"] = "batch"
    if method.needs:
        before = method.needs[-1]
        path = f"experiments/{before}/models/net_g_latest.pth"
        if method.start == "teacher":
            options["teacher"] = {"path": path, "network": _kind(before, budget)[1]}
        else:
            options["path"][method.start] = path
    return options


def _kind(name: str, budget: Budget) -> tuple[str, dict[str, Any], dict[str, Any], int, bool]:
    """Model, network, losses, views, and whether there is an encoder phase."""
    sizes = NETWORK_SIZES[budget.size]
    start = STARTS[budget.start]
    # A short run would hardly fill the published queue of 8192.
    queue = {"queue_size": 8192 if budget.size == "published" else 1024}
    light = {"scale": 4, **sizes["LightBSR"], **start}
    contrast = {"type": "DegradationContrastiveLoss", "loss_weight": 0.0 if name.endswith("no_contrast") else 1.0}
    if name.startswith("teacher"):
        network = {"type": "LightBSRTeacher", "prior_channels": 15, **queue, **light}
        # Without the contrastive loss the encoder phase would train nothing.
        return "LightBSRTeacherModel", network, {"contrastive_opt": contrast}, 4, not name.endswith("no_contrast")
    if name.startswith("student"):
        losses = {
            "channel_opt": {"type": "ChannelDistillationLoss"},
            "spatial_opt": {"type": "SpatialDistillationLoss"},
        }
        return "LightBSRStudentModel", {"type": "LightBSR", **light}, losses, 1, True
    if name.startswith("no_distillation"):
        return "BlindSRModel", {"type": "LightBSR", **light}, {}, 1, False
    if name.startswith("dasr"):
        network = {"type": "DASR", "scale": 4, **queue, **sizes["DASR"], **start}
        return "DASRModel", network, {"contrastive_opt": {"type": "DegradationContrastiveLoss"}}, 2, True
    if name == "cdcl":
        network = {"type": "CdCL", "scale": 4, **sizes["CdCL"], **start}
        return "CdCLModel", network, {"contrastive_opt": {"type": "ContentDecoupledContrastiveLoss"}}, 4, True
    if name == "kdsr_teacher":
        return "KDSRTeacherModel", {"type": "KDSRTeacher", "scale": 4, **sizes["KDSR"], **start}, {}, 1, False
    if name == "kdsr_student":
        losses = {"channel_opt": {"type": "ChannelDistillationLoss", "l1_weight": 0}}
        return "KDSRStudentModel", {"type": "KDSR", "scale": 4, **sizes["KDSR"], **start}, losses, 1, False
    if name == "dssr":
        detail = {"detail_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}}
        return "DSSRModel", {"type": "DSSR", "scale": 4, **sizes["DSSR"], **start}, detail, 1, False
    if name == "lce":
        correction = {"corrector_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}}
        return "LCEModel", {"type": "LCE", "scale": 4, **sizes["LCE"], **LCE_STARTS[budget.start]}, correction, 1, True
    if name.startswith("mrda"):
        return _stage_of_mrda(name, budget)
    return "BlindSRModel", {"type": "MSRResNet", "upscale": 4, **sizes["MSRResNet"]}, {}, 1, False


def _stage_of_mrda(name: str, budget: Budget) -> tuple[str, dict[str, Any], dict[str, Any], int, bool]:
    sizes = NETWORK_SIZES[budget.size]
    meta = {"type": "MetaLearningNetwork", "scale": 4, **sizes["MetaLearningNetwork"]}
    common = {"scale": 4, **sizes["MRDA"], **STARTS[budget.start]}
    if name == "mrda_mln":
        return "MRDABicubicModel", meta, {}, 1, False
    if name == "mrda_meta":
        return "MRDAMetaModel", meta, {"meta_opt": {"tasks": min(5, budget.batch)}}, 1, False
    if name == "mrda_teacher":
        network = {"type": "MRDATeacher", **common, "num_meta_feat": meta["num_feat"]}
        return "MRDATeacherModel", network, {"adapt_opt": {"tail": True}}, 1, False
    losses = {"channel_opt": {"type": "ChannelDistillationLoss"}, "adapt_opt": {"tail": False}}
    return "MRDAStudentModel", {"type": "MRDA", **common}, losses, 1, True


def untrained_network(name: str, budget: Budget) -> dict[str, Any]:
    """``network_g`` of a training, before training."""
    return _kind(name, budget)[1]


def with_what_they_need(names: list[str]) -> Iterator[Method]:
    """The named methods and their teachers, teachers first.

    Raises:
        KeyError: An unknown name.
    """
    known = {method.name: method for method in METHODS}
    wanted = {need for name in names for need in (*known[name].needs, name)}
    return (method for method in METHODS if method.name in wanted)
