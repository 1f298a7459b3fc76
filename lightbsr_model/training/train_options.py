"""The keys of the sections that a training reads: ``train`` and ``teacher``.

A model class names the dataclasses of what it reads in ``declared_options``, by section. A model with keys of its own
inherits from one of these, next to the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lightbsr_model.runtime.declared_keys import Iterations, key
from lightbsr_model.training.diffusion_augmentation import DiffusionOptions


@dataclass(frozen=True)
class LoopOptions:
    """Keys of ``train`` for any model."""

    total_iter: Iterations = key("Length of the training in iterations.", low=1)
    warmup_iter: Iterations = key(
        "Length of BasicSR's own linear warm-up in iterations; -1 is none.", -1, low=-1, reason="-1 is none"
    )
    optim_: dict[str, Any] = key(
        "An optimiser: optim_g of network_g, optim_d of network_d.", {}, kind="optimiser", prefix=True
    )
    scheduler: dict[str, Any] = key("How the learning rate changes.", kind="scheduler")
    accum_iter: Iterations | None = key(
        "Number of equal parts of a batch that make one step, to save memory.", 1, low=1
    )
    grad_clip: float | None = key("Largest norm of the gradients; ~ does not clip.", None, low=0)
    max_nonfinite: Iterations | None = key(
        "Iterations in a row with a loss or gradient that is not finite, each skipped, after which the run stops.",
        3,
        low=1,
    )
    keep_checkpoints: Iterations | None = key(
        "Number of newest checkpoints to keep besides the best; ~ keeps all.", None, low=1
    )
    sync_bn: bool = key("Take BatchNorm's statistics over the samples of all processes (CUDA only).", False)
    diffusion_opt: DiffusionOptions | None = key(
        "Diffuse the images that a discriminator judges, after DifAugGAN; ~ does not.", None
    )


@dataclass(frozen=True)
class SROptions(LoopOptions):
    """Keys of ``train`` that BasicSR's SRModel reads, and most models with it."""

    optim_g: dict[str, Any] = key("The optimiser of network_g.", kind="optimiser")
    ema_decay: float = key(
        "Share that an averaged copy of the weights keeps in each iteration; 0 makes none.", 0, low=0, high=1
    )
    pixel_opt: dict[str, Any] | None = key("Loss between restored and GT images.", None, kind="loss")
    perceptual_opt: dict[str, Any] | None = key("Loss between their VGG features.", None, kind="loss")


@dataclass(frozen=True)
class PhasedOptions(SROptions):
    """Keys of ``train`` for the models of this package."""

    pixel_opt: dict[str, Any] = key("Loss between restored and GT images, in the joint phase.", kind="loss")
    perceptual_opt: dict[str, Any] | None = key(
        "Not used.", None, kind="loss", idle="a model in phases learns by the losses of its phases"
    )
    degradation_opt: dict[str, Any] | None = key(
        "A loss of the true degradation, read off the representation by a linear map that learns too; ~ is none.",
        None,
        kind="loss",
    )
    amp: Literal[False, "off", "bf16", "fp16"] | None = key(
        "Precision of the networks while they learn; losses, weights and optimiser stay in fp32.", "off"
    )
    channels_last: bool = key("Keep weights and features in channels-last layout.", False)
    compile: bool = key("Compile the learning pass of each phase with torch.compile.", False)


@dataclass(frozen=True)
class OnePhaseOptions(PhasedOptions):
    """Keys of ``train`` for models whose training has one phase."""

    encoder_iter: Any = key("Not used.", None, idle="this model has one phase")


@dataclass(frozen=True)
class EncoderPhaseOptions(PhasedOptions):
    """Keys of ``train`` for models whose encoder learns alone at first."""

    encoder_iter: Iterations = key(
        "Length of the encoder phase in iterations; the joint phase is the rest of total_iter.", low=0
    )


@dataclass(frozen=True)
class ContrastiveOptions(EncoderPhaseOptions):
    """Keys of ``train`` for models whose encoder learns by contrast."""

    contrastive_opt: dict[str, Any] = key("The contrastive loss, in both phases.", kind="loss")


@dataclass(frozen=True)
class AdversarialOptions(PhasedOptions):
    """Keys of ``train`` for models with a discriminator."""

    optim_d: dict[str, Any] = key("The optimiser of network_d.", kind="optimiser")
    gan_opt: dict[str, Any] = key("The adversarial loss, such as GANLoss.", kind="loss")


@dataclass(frozen=True)
class TeacherOptions:
    """Keys of ``teacher``, for models that learn under a frozen teacher."""

    network: dict[str, Any] = key("The teacher's network, as it was trained.", kind="arch")
    path: str = key("The teacher's checkpoint.")
    param_key: str | None = key("Entry of the checkpoint; ~ takes params_ema where there is one, else params.", None)
    start_student: bool = key("Start a new student from the teacher's weights.", True)
