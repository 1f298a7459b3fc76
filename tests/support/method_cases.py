"""One :class:`MethodCase` per network and model: from it the tests of ``tests/methods`` run, unasked, for every method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightbsr_arch.methods import registry

from support.helpers import TINY


@dataclass(frozen=True)
class MethodCase:
    """A network at a size that trains in milliseconds, and what is particular about it."""

    network: str
    """Its name in option files."""
    small: Mapping[str, Any]
    """The constructor's arguments, but for the scale."""
    model_type: str
    """The model that trains it."""
    losses: Mapping[str, Any]
    """Losses, and keys of its own, under ``train`` beside ``pixel_opt``."""
    encoder_loss: str | None = None
    """What falls in the encoder phase; None for a network that has one phase."""
    rests: int = 0
    """Iterations of a phase before that loss is looked at."""
    rounding: float = 1e-4
    """How much an image may differ that is restored in a batch, in standard deviations."""
    falls_within: int = 100
    """Iterations after which its losses must have fallen."""
    learns_first: tuple[str, ...] = ()
    """Prefixes of the weights that may change in the encoder phase."""
    views: int = 1
    """Views of a training sample."""
    sees: str | None = None
    """What it is given besides the LR images: ``prior`` or ``gt``."""
    teacher: str | None = None
    """The case of the network that teaches it."""
    meta: str | None = None
    """The case of the network whose checkpoint becomes a frozen part of it (``path.pretrain_network_meta``)."""
    name: str = ""
    """Tells several models of one network apart."""
    is_helper: bool = False
    """Whether it helps other networks to learn, and restores no photos or has another case that does."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """Sections of networks that learn beside it."""
    teacher_restores: bool = False
    """Whether the teacher's restored images are what it learns from."""
    draws_by_sample: bool = False
    """Whether its training draws noise, for each sample by its place among those that BasicSR's sampler gives to processes."""
    starts_freely: bool = True
    """Whether it takes the arguments of a free start."""
    mixes_samples: bool = False
    """Whether it adapts to a whole batch, so that a sample's result depends on the others."""
    degrades_by_itself: bool = False
    """Whether it learns only of images that it degrades on the device; from halves of a batch."""
    first_layer: str = "sr.head"
    """Its first layer that restores images."""
    represents: bool = True
    """Whether it estimates the degradation: whether it has ``represent``."""
    sees_by_tiles: bool = False
    """Whether a tile's result depends on more of the tile than averages, which tiles share."""
    smallest_in_graph: int = 5
    """Smallest side in LR pixels of an image that a graph of ``torch.export`` takes."""
    pixel_weight: float = 255.0
    """``loss_weight`` of ``pixel_opt``."""
    recording: str = ""
    """Its name in the golden data."""
    gain: float = 1.0
    """Of the published weights in the recording."""
    millions: float | None = None
    """Parameters that restore an image, at the published sizes and x4."""
    gmacs: float | None = None
    """Multiply-adds of a 180x320 image, in thousand millions."""
    recorded: tuple[str, ...] = ()
    """Names of its inputs in the golden data, their scale first; empty for one, which is called after the recording."""
    code: bool = True
    """It estimates the degradation before it restores the image: ``encode`` and ``restore``."""
    falls_to: float = 0.8
    """Share of the pixel loss that is left after some iterations; a network that starts from the enlarged image has little
    to lose."""
    frames: int = 0
    """Frames of the bursts that it restores; 0 for a network that restores single images."""
    gradient_rounding: float = 1e-6
    """Share of the largest gradient that rounding may change: kinks of deep estimates, such as a flow, pass on more of it."""
    contrast: str = ""
    """The part that holds a key encoder, which some trainers leave out of their checkpoints."""

    def __str__(self) -> str:
        return self.name or self.network

    @property
    def is_student(self) -> bool:
        """Whether it restores photos."""
        return self.sees is None and not self.is_helper

    def options(self, scale: int = 4) -> dict[str, Any]:
        """As a section of an option file."""
        return {"type": self.network, "scale": scale, **self.small}

    def build(self, scale: int = 4, seed: int = 0, **sizes: Any) -> Any:
        """The small network."""
        torch.manual_seed(seed)
        network: Any = registry.network(self.network)
        return network(scale=scale, **{**self.small, **sizes})

    def inputs(self, lq: Tensor, scale: int = 4) -> tuple[Tensor, ...]:
        """What its forward takes."""
        if self.sees == "gt":
            return lq, torch.rand(lq.shape[0], 3, scale * lq.shape[2], scale * lq.shape[3])
        return (lq, torch.rand(lq.shape[0], self.small["prior_channels"])) if self.sees == "prior" else (lq,)

    def save_teacher(self, folder: Path) -> Path | None:
        """Write a checkpoint of a small teacher, or of what becomes a part of the network, where it has one."""
        name = self.teacher or self.meta
        if name is None:
            return None
        teacher = CASES[name].build(seed=1)
        # BatchNorm statistics of its own, so that forgetting to copy them shows.
        teacher.train()
        with torch.no_grad():
            teacher(*CASES[name].inputs(torch.rand(2, 3, 8, 8)))
        path = folder / f"teacher_of_{self}.pth"
        torch.save({"params": teacher.state_dict()}, path)
        return path

    def apply(self, opt: dict[str, Any], teacher_file: Path | str | None = None) -> dict[str, Any]:
        """Make options of any training those of this network's."""
        opt.update(model_type=self.model_type, network_g=self.options())
        for key in ("contrastive_opt", "channel_opt", "spatial_opt", "detail_opt", "checkpoint_steps"):
            opt["train"].pop(key, None)
        opt["train"].update(self.losses)
        opt.update({name: dict(section) for name, section in self.beside.items()})
        opt["train"]["pixel_opt"] = {"type": "L1Loss", "loss_weight": self.pixel_weight, "reduction": "mean"}
        opt["datasets"]["train"]["views"] = self.views
        opt.pop("teacher", None)
        if self.teacher is not None:
            opt["teacher"] = {"network": CASES[self.teacher].options(), "path": str(teacher_file)}
        if self.meta is not None and teacher_file is not None:
            opt["path"] = {"pretrain_network_meta": str(teacher_file)}
        return opt


_KDSR = {"num_feat": 8, "num_block": 2, "num_encoder_block": 1}
_MRDA = {"num_feat": 8, "num_block": 1, "num_encoder_feat": 4}
_DRIFT = {"rates": [0.2, 0.2], "reset": False}
_META = MethodCase(
    network="MetaLearningNetwork",
    small={"num_feat": 8},
    model_type="MRDABicubicModel",
    losses={},
    pixel_weight=1.0,
    is_helper=True,
    starts_freely=False,
    first_layer="feature_net.head",
)
_SHIFT = MethodCase(
    network="ResidualShiftUNet",
    name="ResidualShiftUNet_teacher",
    small={"num_feat": 8, "mult": [1, 2], "num_block": 1, "steps": 2},
    model_type="ResidualShiftModel",
    losses={},
    pixel_weight=1.0,
    code=False,
    represents=False,
    starts_freely=False,
    first_layer="unet.head",
    is_helper=True,
    draws_by_sample=True,
    falls_within=40,
    rounding=5e-4,
)
_MSE = {"type": "MSELoss", "loss_weight": 1.0, "reduction": "mean"}
_L1 = {"type": "L1Loss", "loss_weight": 0.5, "reduction": "mean"}
_GAN = {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 0.005}
_JUDGE = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4}
_MOCO = {"contrastive_opt": {"type": "DegradationContrastiveLoss"}}

CASES = {
    str(case): case
    for case in (
        MethodCase(
            network="LightBSRTeacher",
            small={"prior_channels": 15, "queue_size": 32, **TINY},
            model_type="LightBSRTeacherModel",
            losses=_MOCO,
            encoder_loss="l_contrast",
            rests=16,
            learns_first=("momentum_contrast.",),
            views=2,
            sees="prior",
            contrast="momentum_contrast",
        ),
        MethodCase(
            network="LightBSR",
            small=TINY,
            model_type="LightBSRStudentModel",
            losses={
                "channel_opt": {"type": "ChannelDistillationLoss"},
                "spatial_opt": {"type": "SpatialDistillationLoss"},
            },
            encoder_loss="l_channel",
            learns_first=("encoder.", "converters."),
            teacher="LightBSRTeacher",
            millions=3.26,
        ),
        MethodCase(
            network="DASR",
            small={
                **{"num_feat": 8, "num_group": 1, "num_block": 1, "num_encoder_feat": 4},
                **{"queue_size": 16, "reduction": 4},
            },
            model_type="DASRModel",
            losses=_MOCO,
            encoder_loss="l_contrast",
            # The contrast of MoCo grows while the queue fills with keys that are like each other.
            rests=16,
            learns_first=("momentum_contrast.",),
            views=2,
            recording="dasr",
            gain=0.7,
            millions=5.84,
            gmacs=185.1,
            contrast="momentum_contrast",
        ),
        MethodCase(
            network="CdCL",
            small={"num_feat": 8, "num_group": 1, "num_block": 1, "num_encoder_feat": 4, "layer_scale_init": 0.1},
            model_type="CdCLModel",
            losses={"contrastive_opt": {"type": "ContentDecoupledContrastiveLoss"}},
            encoder_loss="l_contrast",
            learns_first=("contrast.",),
            views=4,
            recording="cdcl",
            millions=2.91,
            gmacs=130.7,
            contrast="contrast",
        ),
        MethodCase(
            network="KDSRTeacher",
            small=_KDSR,
            model_type="KDSRTeacherModel",
            losses={},
            sees="gt",
            pixel_weight=1.0,
            recording="kdsr_teacher",
            gain=0.7,
        ),
        MethodCase(
            network="KDSR",
            small=_KDSR,
            model_type="KDSRStudentModel",
            losses={"channel_opt": {"type": "ChannelDistillationLoss", "l1_weight": 0}},
            encoder_loss="l_channel",
            learns_first=("estimator.",),
            teacher="KDSRTeacher",
            pixel_weight=1.0,
            recording="kdsr_student",
            gain=0.7,
            millions=5.80,
            gmacs=228.6,
        ),
        MethodCase(
            network="DSSR",
            small={"num_feat": 8, "num_step": 3, "num_block": 2, "num_refine_block": 1},
            model_type="DSSRModel",
            losses={"detail_opt": {"type": "L1Loss"}, "checkpoint_steps": True},
            falls_within=40,
            pixel_weight=1.0,
            recording="dssr",
            recorded=("x4_24x20", "x4_17x31", "x2_18x25"),
            gain=0.7,
            millions=8.90,
            gmacs=4643.8,
            code=False,
        ),
        _META,
        replace(
            _META,
            name="MetaLearningNetwork_meta",
            model_type="MRDAMetaModel",
            losses={"meta_opt": {"tasks": 2, "steps": 2, "lr": 1e-2}},
            degrades_by_itself=True,
        ),
        MethodCase(
            network="MRDATeacher",
            small={**_MRDA, "num_meta_feat": 8},
            model_type="MRDATeacherModel",
            # Larger steps than the published ones, so that they matter.
            losses={"adapt_opt": {"rates": [0.5, 0.5]}},
            sees="gt",
            meta="MetaLearningNetwork",
            pixel_weight=1.0,
            mixes_samples=True,
        ),
        MethodCase(
            network="MRDA",
            small=_MRDA,
            model_type="MRDAStudentModel",
            # As in the published code: what adapts drifts, and a resumed run goes on from there.
            losses={"channel_opt": {"type": "ChannelDistillationLoss"}, "adapt_opt": _DRIFT},
            encoder_loss="l_channel",
            learns_first=("extractor.",),
            teacher="MRDATeacher",
            pixel_weight=1.0,
            millions=5.84,
            gmacs=171.5,
        ),
        MethodCase(
            network="LCE",
            small={
                **{"num_feat": 8, "num_group": 1, "num_block": 2, "num_head": 2},
                **{"num_corrector_feat": 4, "num_corrector_block": 1},
            },
            model_type="LCEModel",
            losses={"corrector_opt": {"type": "L1Loss"}},
            encoder_loss="l_corrector",
            learns_first=("corrector.",),
            starts_freely=False,
            represents=False,
            sees_by_tiles=True,
            smallest_in_graph=9,
            pixel_weight=1.0,
            millions=1.45,
            gmacs=114.8,
        ),
        _SHIFT,
        replace(
            _SHIFT,
            name="",
            model_type="CoLearningModel",
            losses={
                **{"distill_opt": _MSE, "cycle_hr_opt": _MSE, "cycle_lr_opt": _L1, "low_pass_opt": _L1},
                **{"gan_opt": _GAN, "gan_lr_opt": _GAN, "optim_d": {"type": "Adam", "lr": 1e-4}},
                "diffusion_opt": {"p": "adaptive", "kimg": 0.02, "interval": 2, "target": 0.0},
            },
            beside={
                "network_down": {"type": "DiffusionDownsampler", "scale": 4, "num_feat": 8, "mult": [1]},
                "network_d": _JUDGE,
                "network_d_lr": {**_JUDGE, "skip_connection": False},
            },
            teacher="ResidualShiftUNet_teacher",
            teacher_restores=True,
            is_helper=False,
            sees_by_tiles=True,
            millions=17.55,
            gmacs=94.2,
        ),
    )
}
"""By the network's name, or the case's own. A method without its case fails ``tests/methods/test_networks.py``."""

ALL = list(CASES.values())
