"""A discriminator that sees diffused images: ``train.diffusion_opt``, for any model with a discriminator.

After DifAugGAN (arXiv 2311.18508, of which only the abstract is known here): real and restored images are diffused before
they are judged, so that the discriminator stays calibrated. The diffusion and its control are Diffusion-GAN's (arXiv
2206.02262).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from lightbsr_arch.errors import OptionError
from lightbsr_model.runtime.declared_keys import Iterations, key, keys_of
from lightbsr_model.runtime.random_streams import derive_seed

SLOTS = 64
"""Number of levels that are in use between two adjustments."""

_MOST_NOISY_SLOTS = 48
_WARN_AFTER = 1000


@dataclass(frozen=True)
class DiffusionOptions:
    """Keys of ``train.diffusion_opt``."""

    p: Literal["adaptive"] | float = key(
        "Strength of the diffusion from 0 to 1; adaptive: as much as keeps D from being too sure.",
        "adaptive",
        low=0,
        high=1,
    )
    target: float = key("Mean of sign(D(real)) that an adaptive strength aims at.", 0.6, low=-1, high=1)
    interval: Iterations = key("Number of iterations between two adjustments.", 4, low=1)
    kimg: float = key("Thousands of images in which an adaptive strength goes from 0 to 1 at most.", 100.0, low=0)
    t_min: Iterations = key("Number of levels at strength 0.", 5, low=2)
    t_max: Iterations = key("Number of levels at strength 1.", 100, low=2)
    beta_end: float = key("Variance that the last level adds.", 0.01, low=0, high=1)
    noise_std: float = key("Standard deviation of the noise, in images from -1 to 1.", 0.2, low=0)
    noisy_slots: Iterations | None = key(
        f"Number of the {SLOTS} slots with noise; ~: 64 times the strength, at most {_MOST_NOISY_SLOTS}.", None, low=0
    )


class DiffusionAugmentation:
    """The levels of a diffusion, how strong they are now, and the control of that strength.

    An image x in [-1, 1] at level t becomes sqrt(abar_t) x + sqrt(1 - abar_t) * noise_std * eps, where abar_t is the product
    of 1 - beta_i up to t. The betas are spread equally over the levels that there are at the current strength.

    Args:
        options: The keys of ``train.diffusion_opt``.
        generator: Draws the levels in use.
    """

    def __init__(self, options: DiffusionOptions, generator: torch.Generator) -> None:
        self.options = options
        self.adaptive = options.p == "adaptive"
        self.p = 0.0 if options.p == "adaptive" else float(options.p)
        self.spread_levels(generator)

    def spread_levels(self, generator: torch.Generator) -> None:
        """Spread the betas over the levels of the current strength, and draw the slots anew."""
        low, high = self.options.t_min, self.options.t_max
        self.levels = min(max(int(low + round(self.p * (high - low))), low), high)
        betas = torch.linspace(1e-4, self.options.beta_end, self.levels, dtype=torch.float64)
        abar = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)])
        self.signal, self.noise = abar.sqrt().float(), (1 - abar).sqrt().float()
        count = self.options.noisy_slots
        count = min(round(SLOTS * self.p), _MOST_NOISY_SLOTS) if count is None else min(count, SLOTS)
        self.slots = torch.zeros(SLOTS, dtype=torch.long)
        if count:
            self.slots[:count] = 1 + torch.multinomial(
                self.level_weights(), count, replacement=True, generator=generator
            )

    def level_weights(self) -> Tensor:
        """The probabilities of levels 1 to ``levels`` in a slot with noise: they grow linearly, from none at level 1."""
        weights = torch.arange(self.levels, dtype=torch.float64)
        return weights / weights.sum()

    def draw_levels(self, count: int, generator: torch.Generator) -> Tensor:
        """A level for each of several images, (N,)."""
        return self.slots[torch.randint(SLOTS, (count,), generator=generator)]

    def diffuse(self, images: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """Diffuse images in [0, 1]; the result may leave that range, in fp32.

        Args:
            images: (N, C, H, W).
            levels: (N,), or (N, C) for a level of each channel, from 0 to ``levels``.
            noise: Standard normal, like the images.
        """
        return (self.diffuse_signed(images.float() * 2 - 1, levels, noise) + 1) / 2

    def diffuse_signed(self, images: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """As :meth:`diffuse`, of images in [-1, 1]."""
        shape = (*levels.shape, *(1,) * (images.dim() - levels.dim()))
        signal, spread = (table[levels].to(images.device).view(shape) for table in (self.signal, self.noise))
        return signal * images + spread * self.options.noise_std * noise

    def adjust(self, sign: float, images: int, generator: torch.Generator) -> None:
        """Move an adaptive strength towards its target, and draw new slots.

        Args:
            sign: Mean of sign(D(real)) since the last adjustment.
            images: Number of images of an iteration, over all processes.
            generator: Draws the slots.
        """
        if self.adaptive:
            step = images * self.options.interval / (self.options.kimg * 1000)
            direction = (sign > self.options.target) - (sign < self.options.target)
            self.p = min(max(self.p + direction * step, 0.0), 1.0)
        self.spread_levels(generator)

    def state_dict(self) -> dict[str, Any]:
        """The strength, and the levels in use."""
        return {"p": self.p, "slots": self.slots.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave; a strength that is not adaptive stays what the options say."""
        if self.adaptive:
            self.p = float(state["p"])
        self.spread_levels(torch.Generator())
        self.slots = state["slots"].clone().clamp(max=self.levels)


def sign_of_real(kind: str, judgement: Tensor) -> Tensor:
    """The mean over images and pixels of the sign by which a discriminator takes images for real.

    Args:
        kind: ``gan_type`` of BasicSR's GANLoss.
        judgement: What the discriminator made of real images.
    """
    return torch.sign(judgement - 0.5 if kind == "lsgan" else judgement).float().nan_to_num().mean()


class DiffusedDiscriminator:
    """Puts a diffusion before one of a model's discriminators, within an iteration, and controls its strength.

    Real and restored images of a sample are given the same level in an iteration, and different noise.

    Args:
        model: With ``net_<name>``.
        section: ``train.diffusion_opt``.
        name: Of the discriminator.
        loss: The key of its loss under ``train``.

    Raises:
        OptionError: There is no such discriminator, or an adaptive strength cannot tell how sure it is.
    """

    def __init__(self, model: Any, section: Mapping[str, Any], name: str = "d", loss: str = "gan_opt") -> None:
        net = getattr(model, f"net_{name}", None)
        if not isinstance(net, nn.Module):
            raise OptionError(
                "train.diffusion_opt",
                f"{type(model).__name__} has no discriminator, whose images it diffuses: leave it out.",
            )
        options = diffusion_options(section)
        self.kind = str((model.opt["train"].get(loss) or {}).get("gan_type"))
        if problem := diffusion_problem(options, self.kind):
            raise OptionError(*problem)
        self.model, self.name = model, name
        self.label = f"diffusion{name[1:]}"
        """Of its state, its figures and its random numbers."""
        self._is_within = False
        self._seed, self._rank, self._ranks = (model.opt[name] for name in ("manual_seed", "rank", "world_size"))
        self._generator, self._noise = torch.Generator(), torch.Generator(model.device)
        self.augmentation = DiffusionAugmentation(options, self._seeded(self._generator, "slots", 0))
        self._iteration = self._part = self._calls = 0
        self._levels: Tensor | None = None
        self._is_real = False
        self._signs: Tensor | float = 0.0
        self._count = 0.0
        self._stuck = 0
        self._figures = self._figures_now()
        bare: Any = getattr(net, "module", net)
        bare.register_forward_pre_hook(self._before)
        bare.register_forward_hook(self._after)

    def _seeded(self, generator: torch.Generator, *purpose: int | str) -> torch.Generator:
        return generator.manual_seed(derive_seed(self._seed, self.label, *purpose))

    def begin(self, iteration: int, part: int) -> None:
        """Start a part of an iteration's batch."""
        self._iteration, self._part, self._calls, self._levels = iteration, part, 0, None
        self._is_within = True

    def _before(self, net: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self._is_within:
            return None
        images = inputs[0]
        if self._levels is None:
            generator = self._seeded(self._generator, "levels", self._iteration, self._part)
            self._levels = self.augmentation.draw_levels(len(images) * self._ranks, generator)[
                self._rank :: self._ranks
            ]
        learns = any(value.requires_grad for value in net.parameters())
        self._is_real = learns and any(value is images for value in self._real_images())
        self._calls += 1
        with torch.autocast(images.device.type, enabled=False):
            noise = torch.stack([self._noise_of(number, image) for number, image in enumerate(images)])
            return (self.augmentation.diffuse(images, self._levels, noise), *inputs[1:])

    def _real_images(self) -> tuple[Tensor | None, ...]:
        if hasattr(self.model, "judged_images"):
            return self.model.judged_images.get(self.name, ())[:1]
        return getattr(self.model, "gt", None), getattr(self.model, "gt_usm", None)

    def _noise_of(self, number: int, image: Tensor) -> Tensor:
        """Each image's by itself: the same however many processes share a batch, image by image as BasicSR's sampler does."""
        place = number * self._ranks + self._rank
        generator = self._seeded(self._noise, "noise", self._iteration, self._part, self._calls, place)
        return torch.randn(image.shape, generator=generator, device=image.device)

    def _after(self, net: nn.Module, _inputs: tuple[Any, ...], judgement: Any) -> None:
        if self._is_within and self._is_real and torch.is_tensor(judgement):
            self._signs = self._signs + sign_of_real(self.kind, judgement.detach())
            self._count += 1

    def end(self, iteration: int, images: int) -> dict[str, Tensor]:
        """Finish an iteration; adjust if it is time.

        Args:
            iteration: From 1 up.
            images: Number of images of this process.

        Returns:
            For the log: ``diffusion_p`` and ``diffusion_t``, the strength and the number of levels; of another
            discriminator than ``d`` with its name, as ``diffusion_lr_p``.
        """
        self._is_within = False
        interval = self.augmentation.options.interval
        if iteration % interval == 0:
            sums = torch.as_tensor([float(self._signs), self._count, images], dtype=torch.float64)
            if dist.is_available() and dist.is_initialized():
                sums = sums.to(self.model.device)
                dist.all_reduce(sums)
            signs, count, batch = sums.tolist()
            mean = signs / count if count else self.augmentation.options.target
            self.augmentation.adjust(mean, int(batch), self._seeded(self._generator, "slots", iteration))
            self._signs, self._count = 0.0, 0.0
            self._warn_if_stuck(mean)
            self._figures = self._figures_now()
        return self._figures

    def _figures_now(self) -> dict[str, Tensor]:
        figures = {f"{self.label}_p": self.augmentation.p, f"{self.label}_t": float(self.augmentation.levels)}
        return {name: torch.tensor(value, device=self.model.device) for name, value in figures.items()}

    def _warn_if_stuck(self, mean: float) -> None:
        at_bound = self.augmentation.adaptive and self.augmentation.p in (0.0, 1.0)
        before = self._stuck
        self._stuck = before + self.augmentation.options.interval if at_bound and abs(mean) > 0.95 else 0
        if before < _WARN_AFTER <= self._stuck:
            get_root_logger().warning(
                f"train.diffusion_opt, net_{self.name}: for {_WARN_AFTER} iterations the mean of sign(D(real)) has been "
                f"{mean:.2f}, and the strength p {self.augmentation.p:g}: D is too strong or too weak for it. "
                "Change t_max, noise_std or D's rate."
            )

    def state_dict(self) -> dict[str, Any]:
        """For a training state."""
        return {
            **self.augmentation.state_dict(),
            "signs": float(self._signs),
            "count": self._count,
            "stuck": self._stuck,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave."""
        self.augmentation.load_state_dict(state)
        self._signs, self._count, self._stuck = state["signs"], state["count"], state["stuck"]
        self._figures = self._figures_now()


def diffused_discriminators(model: Any) -> list[DiffusedDiscriminator]:
    """A diffusion before each discriminator of a model that has a loss, if ``train.diffusion_opt`` asks for it.

    Raises:
        OptionError: As :class:`DiffusedDiscriminator`.
    """
    train_opt = model.opt["train"]
    section = train_opt.get("diffusion_opt")
    if section is None:
        return []
    losses = losses_of_discriminators(model)
    # Without any, the first says what is missing.
    built = {name: loss for name, loss in losses.items() if hasattr(model, f"net_{name}")} or {"d": losses["d"]}
    return [DiffusedDiscriminator(model, section, name, loss) for name, loss in built.items()]


def losses_of_discriminators(model: Any) -> Mapping[str, str]:
    """The key of each discriminator's loss under ``train``, by the discriminator's name; of a model or its class."""
    found: Mapping[str, str] = getattr(model, "discriminators", {"d": "gan_opt"})
    return found


def diffusion_options(section: Mapping[str, Any]) -> DiffusionOptions:
    """The keys of ``train.diffusion_opt``, with their defaults."""
    return DiffusionOptions(
        **{name: each.normalised(section.get(name, each.default)) for name, each in keys_of(DiffusionOptions).items()}
    )


def diffusion_problem(options: DiffusionOptions, gan_type: str) -> tuple[str, str] | None:
    """The key and the reason why a diffusion does not fit; None if it does."""
    if options.t_max < options.t_min:
        return "train.diffusion_opt.t_max", f"expected at least t_min = {options.t_min}, got {options.t_max}."
    if options.p == "adaptive" and gan_type == "wgan":
        return (
            "train.diffusion_opt.p",
            "wgan's judgements have no sign that tells real from restored: give a strength from 0 to 1 instead of adaptive.",
        )
    return None
