"""Arguments of classes that option files name, by what they are called: type, range and a sentence.

Which arguments a class has, and their defaults, its signature says. A declaration here governs an argument of that name
where the class's own default fits it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightbsr_model.runtime.declared_keys import Iterations, key

_MOST_RATE = 1000


@dataclass(frozen=True)
class LossArguments:
    """Losses: BasicSR's and ours."""

    loss_weight: float = key("Multiplies the loss.", 1.0, low=0, high=1e9)
    perceptual_weight: float = key("Multiplies the loss of the features.", 1.0, low=0, high=1e9)
    style_weight: float = key("Multiplies the loss of their Gram matrices.", 0.0, low=0, high=1e9)
    reduction: Literal["mean", "sum"] = key(
        "How the losses of a batch become one number.", "mean", reason="a training needs one number"
    )
    temperature: float = key("Divides the similarities or codes.", above=0, high=1e6)
    l1_weight: float = key("Weight of the L1 term within the loss.", low=0, high=1e9)
    eps: float = key("Added under the root.", above=0, high=1)


@dataclass(frozen=True)
class OptimiserArguments:
    """torch's optimisers."""

    lr: float = key("Learning rate.", low=0, high=_MOST_RATE)
    betas: list[float] = key("Decay of the averages of the gradient and of its square.", low=0, below=1, length=2)
    eps: float = key("Added to the denominator.", low=0, high=1)
    weight_decay: float = key("Weight of the L2 penalty, or of the decay.", low=0, high=_MOST_RATE)
    momentum: float = key("Share of the last step that is kept.", low=0, high=1)
    momentum_decay: float = key("Decay of the momentum.", low=0, high=1)
    dampening: float = key("Share of the gradient that momentum leaves out.", low=0, high=1)
    alpha: float = key("Decay of an average.", low=0, high=1)
    rho: float = key("Decay of the average of squared gradients.", low=0, high=1)
    lr_decay: float = key("Decay of the learning rate.", low=0, high=_MOST_RATE)
    initial_accumulator_value: float = key("Where the sum of squared gradients starts.", low=0, high=1e9)
    etas: list[float] = key("Factors by which a step shrinks and grows.", above=0, high=_MOST_RATE, length=2)
    step_sizes: list[float] = key("Smallest and largest step.", above=0, high=_MOST_RATE, length=2)
    fused: bool | None = key("Use one kernel for all weights; the same steps.")
    foreach: bool | None = key("Use kernels for several weights at once; the same steps.")


@dataclass(frozen=True)
class SchedulerArguments:
    """Schedules of the learning rate: BasicSR's and ours."""

    milestones: list[Iterations] = key("Iterations at which the rate is multiplied by gamma.", low=0)
    gamma: float = key("What the rate is multiplied by.", above=0, high=_MOST_RATE)
    periods: list[Iterations] = key("Lengths of the cosine's periods in iterations; together total_iter.", low=1)
    restarts: list[Iterations] = key("Iterations at which the rate restarts.", low=0)
    restart_weights: list[float] = key("What the rate is multiplied by at each restart.", low=0, high=_MOST_RATE)
    eta_min: float = key("The last rate.", low=0, high=_MOST_RATE)
    warmup_iter: Iterations = key("Length of the linear warm-up of the joint phase in iterations.", low=0)
    step_iter: Iterations = key("Iterations between two changes of the rate.", low=1)
    encoder_lr: float | None = key("Rate of the encoder phase; ~ is the optimiser's.", low=0, high=_MOST_RATE)
    encoder_step: Iterations | None = key(
        "Iterations after which the encoder phase's rate falls, repeatedly; ~ keeps it.", low=1
    )
    encoder_gamma: float = key("What the encoder phase's rate is multiplied by then.", above=0, high=_MOST_RATE)
    joint_step: Iterations | None = key(
        "Iterations after which the joint phase's rate falls, repeatedly; ~ keeps it.", low=1
    )
    joint_gamma: float = key("What the joint phase's rate is multiplied by then.", above=0, high=_MOST_RATE)


@dataclass(frozen=True)
class NetworkArguments:
    """Networks of this project; their docstrings say what each argument is."""

    scale: int = key("Factor of the network; the file's scale.", low=1, high=16)
    num_group: int = key("Number of groups of the SR network.", low=1, high=256)
    num_block: int = key("Number of blocks, per group where there are groups.", low=1, high=1024)
    num_step: int = key("Number of steps of a recurrent network.", low=1, high=1000)
    num_: int = key("", low=1, high=16384, prefix=True)
    window_size: int = key("Side of the windows of an attention in LR pixels.", low=2, high=256)
    queue_size: int = key("Number of keys in the queue of negatives; the batch must divide it.", low=1, high=2**20)
    momentum: float = key("Share of itself that the key encoder keeps at each pass.", low=0, high=1)
    layer_scale_init: float = key("Initial layer scale of every block.", above=0, high=1000)
    init_scale: float | None = key("Factor of the initial weights.", above=0, high=10)
    prior_channels: int = key(
        "Number of values of the prior: components of the kernel, then the noise level; or all parameters.",
        low=1,
        high=4096,
    )
    prior: Literal["kernel", "parameters"] = key(
        "What the teacher is told: the blur kernel and the noise level, or all drawn parameters as a vector.", "kernel"
    )
    prior_components: int | None = key(
        "Components of the kernel in the PCA basis; ~ is 15, or prior_channels if less.", low=1, high=441
    )
    prior_max_variance: float = key(
        "Largest variance of the kernels that the PCA basis is made of.", above=0.1, high=1e6
    )
    prior_noise_divisor: float = key("Divides the noise level (0 to 255).", above=0, high=1e6)
    reduction: int = key("Divides num_feat into the hidden width of the channel gate.", low=1, high=16384)


@dataclass(frozen=True)
class MetricArguments:
    """Metrics."""

    crop_border: int = key("Pixels at each border that are not measured.", low=0, high=1000)
    input_order: Literal["HWC", "CHW"] = key("Order of the dimensions.", "HWC")
    test_y_channel: bool = key("Measure on the luma channel (Y of YCbCr) alone.", False)
    better: Literal["higher", "lower"] = key("Which values are better.", "higher")
    num_thread: int = key("Not read by BasicSR 1.4.2.", 1, low=1)
