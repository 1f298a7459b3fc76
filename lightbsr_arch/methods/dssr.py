"""DSSR: alternating optimisation of details and structure for blind super-resolution (TMM 2022, arXiv 2212.01624)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lightbsr_arch.layers.corner_sampling import shrink_corners_on_corners
from lightbsr_arch.layers.image import Place, check_image
from lightbsr_arch.layers.upsampling_network import TailActivation, UpsamplingNetwork
from lightbsr_arch.methods.base import Method
from lightbsr_arch.methods.published_layout import PublishedLayout, renames
from lightbsr_arch.methods.sizes import Sizes

_SLOPE = 0.2
_PUBLISHED_STEPS = 4
_MOST_STEPS = 1000
"""Of a network and of a checkpoint, so that a damaged file cannot ask for days of work."""
_RESIZING = {2: (4, 2, 1), 3: (5, 3, 1), 4: (4, 4, 0)}
"""Kernel, stride and padding of the convolutions between LR and HR size, by scale."""

Run = Callable[..., Any]
"""Runs a part of a step on its inputs."""


class ResidualBlock(nn.Module):
    """A fifth of conv3x3, LeakyReLU(0.2), conv3x3, plus the skip."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, num_feat, H, W)."""
        return torch.add(x, self.conv2(_activated(self.conv1(x))), alpha=0.2)


class ResidualChain(nn.Module):
    """Residual blocks in one skip connection."""

    def __init__(self, num_feat: int, num_block: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_block)))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, num_feat, H, W)."""
        features: Tensor = self.blocks(x)
        return x + features


class Modulator(nn.Module):
    """Scales features by a factor from 0 to 1 and shifts them, each value by its own, predicted from other features."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv3 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv4 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.gamma = nn.Conv2d(num_feat, num_feat, 1)
        self.beta = nn.Conv2d(num_feat, num_feat, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Modulate (N, num_feat, H, W) features by others of the same shape."""
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            condition = _activated(conv(condition))
        return torch.addcmul(self.beta(condition), x, self.gamma(condition).sigmoid())


class Step(NamedTuple):
    """What a step leaves besides its output."""

    detail: Tensor
    """What its draft adds to the enlarged LR image, (N, 3, scale * H, scale * W)."""
    hidden: Tensor
    """The features that the next step starts from, and that the output is made of, (N, num_feat, H, W)."""
    run: Run
    """Runs what makes its output."""


class AlternatingNetwork(UpsamplingNetwork):
    """The layers that all steps share, and the steps (section 3). Arguments as in :class:`DSSR`."""

    def __init__(self, scale: int, num_feat: int, num_block: int, num_refine_block: int) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.merge = nn.Conv2d(2 * num_feat, num_feat, 1)
        self.features = ResidualChain(num_feat, num_block)
        self.up = nn.ConvTranspose2d(num_feat, num_feat, *_RESIZING[scale])
        self.detail = nn.Conv2d(num_feat, 3, 3, 1, 1)
        self.embed = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.hr_modulator = Modulator(num_feat)
        self.down = nn.Conv2d(num_feat, num_feat, *_RESIZING[scale])
        self.lr_modulator = Modulator(num_feat)
        self.refine = ResidualChain(num_feat, num_refine_block)
        self.build_end(scale, num_feat)

    def image_layers(self) -> tuple[nn.Module, ...]:
        """That of the output and that of the draft."""
        return (self.last, self.detail)

    def enlarge(self, lq: Tensor) -> Tensor:
        """Bicubic interpolation (a = -0.75) of (N, 3, H, W) to (N, 3, scale * H, scale * W)."""
        return F.interpolate(lq, scale_factor=self.scale, mode="bicubic", align_corners=False)

    def steps(
        self, lq: Tensor, enlarged: Tensor, num_step: int, recompute: bool = False, place: Place | None = None
    ) -> Iterator[Step]:
        """Alternate between details and structure.

        Args:
            lq: (N, 3, H, W) in [0, 1].
            enlarged: :meth:`enlarge` of it.
            num_step: How often.
            recompute: Keep what passes between the parts of a step alone, and compute the rest again in the backward pass.
            place: Where ``lq`` lies in an image that it is a tile of; None for a whole image.
        """
        x = hidden = self.head(lq)
        for number in range(1, num_step + 1):
            x, features = (_recomputed if recompute else _at_once)(self._features, x, hidden)
            # The backward pass begins with the last step's other parts: computed again, they would take the same memory.
            run = _recomputed if recompute and number < num_step else _at_once
            detail, low, condition = run(self._details, features, enlarged, place)
            hidden = run(self._structure, features, low, condition)
            yield Step(detail, hidden, run)

    def restore(self, step: Step, enlarged: Tensor) -> Tensor:
        """A step's output, (N, 3, scale * H, scale * W). What is refined here goes into no later step."""
        output: Tensor = step.run(self._output, step.hidden, enlarged)
        return output

    def _features(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What the next step merges, and this step's features; both (N, num_feat, H, W)."""
        x = self.merge(torch.cat([x, hidden], dim=1))
        return x, self.features(x)

    def _details(self, features: Tensor, enlarged: Tensor, place: Place | None) -> tuple[Tensor, Tensor, Tensor]:
        """The part of a step at HR size: the detail, and at LR size the features modulated by it and its embedding."""
        high = self.up(features)
        detail = self.detail(high)
        if self.image_skip is None:  # the layer makes the draft; with a skip, what the draft adds
            detail = detail - enlarged
        embedded = self.embed(detail)
        condition = shrink_corners_on_corners(embedded, self.scale, place)
        return detail, self.down(self.hr_modulator(high, embedded) + high), condition

    def _structure(self, features: Tensor, low: Tensor, condition: Tensor) -> Tensor:
        return self.lr_modulator(low, condition) + features

    def _output(self, hidden: Tensor, enlarged: Tensor) -> Tensor:
        return self.enlarge_features(self.refine(hidden)) + enlarged


class DSSR(nn.Module):
    """Blind super-resolution without an estimate of the blur: a recurrent network whose steps' outputs are averaged.

    Every step drafts the image and takes the details that the draft adds to the bicubic enlargement; these modulate the LR
    features, the structure, which the step's output and the next step are made of. At the published sizes and x4, 8.90 million
    parameters and 4,644 GMACs for a 180x320 image, half of them where features have HR size.

    All steps share their weights, so that any number of them runs on the weights of a checkpoint, which records the number
    that it was trained with (``num_step``). A network that loads another one's weights keeps its own number.

    Args:
        scale: 2, 3 or 4.
        num_feat: Number of channels of the features.
        num_step: Number of steps, 1 to 1000.
        num_block: Number of residual blocks that a step begins with.
        num_refine_block: Number of residual blocks before a step's output.
        image_skip: Make of features what a draft adds to the enlarged LR image, instead of the draft; outputs start from that
            image in either case. For short trainings, as are the following two; see docs/short_trainings.md.
        tail_activation: ``lr`` puts activations before the upsampler, ``hr`` into it; without, it is linear.
        init_scale: Factor of Kaiming's normal distribution that the initial weights are drawn from, above 0 and at most 10;
            None is torch's own initialisation.

    Raises:
        ValueError: An argument is invalid; the message names it.

    Example:
        >>> net = DSSR(scale=4, num_feat=8, num_step=2, num_block=1, num_refine_block=1)
        >>> outputs, details = net.unroll(torch.rand(1, 3, 6, 5))
        >>> [tuple(image.shape) for image in (*outputs, *details)] == 4 * [(1, 3, 24, 20)]
        True
    """

    def __init__(
        self,
        scale: int = 4,
        num_feat: int = 128,
        num_step: int = 4,
        num_block: int = 15,
        num_refine_block: int = 5,
        image_skip: bool = False,
        tail_activation: TailActivation = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(scale, int) or scale not in _RESIZING:
            raise ValueError(f"scale: expected 2, 3 or 4, got {scale!r}.")
        self.options: dict[str, Any] = {
            "scale": scale,
            "num_feat": num_feat,
            "num_step": num_step,
            "num_block": num_block,
            "num_refine_block": num_refine_block,
        }
        for name, value in self.options.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name}: expected an integer >= 1, got {value!r}.")
        if num_step > _MOST_STEPS:
            raise ValueError(f"num_step: expected 1 to {_MOST_STEPS}, got {num_step}.")
        self.scale = scale
        self.register_buffer("num_step", torch.tensor(num_step))
        self.sr = AlternatingNetwork(scale, num_feat, num_block, num_refine_block)
        self.options.update(self.sr.start_freely(image_skip, tail_activation, init_scale))

    def forward(self, lq: Tensor, place: Place | None = None) -> Tensor:
        """Super-resolve (N, 3, H, W) in [0, 1] to (N, 3, scale * H, scale * W), not clamped: the mean of the steps' outputs.

        Args:
            lq: The images, or a tile of each.
            place: Where the tile lies; None for whole images.

        Raises:
            ValueError: ``lq`` is not a float batch of RGB images.
        """
        enlarged = self._enlarged(lq)
        total: Any = 0
        for step in self._steps(lq, enlarged, place=place):
            total = total + self.sr.restore(step, enlarged)
        return total / self.options["num_step"]

    def unroll(self, lq: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Every step's output and detail: a learning pass.

        Args:
            lq: (N, 3, H, W) in [0, 1].

        Returns:
            Two lists of ``num_step`` images (N, 3, scale * H, scale * W), not clamped: the outputs, whose mean is
            :meth:`forward`'s result, and the details, what each step's draft adds to the enlarged LR image.
        """
        return self._unrolled(lq)

    def unroll_recomputed(self, lq: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """As :meth:`unroll`, but activations are computed again in the backward pass instead of kept; equal gradients."""
        return self._unrolled(lq, recompute=True)

    def represent(self, lq: Tensor, place: Place | None = None) -> Tensor:
        """The average of the last step's hidden features, (N, num_feat). The network has no code: it is for analysis alone.

        Arguments as in :meth:`forward`.
        """
        for step in self._steps(lq, self._enlarged(lq), place=place):
            hidden = step.hidden
        return hidden.mean(dim=(2, 3))

    def enlarge(self, lq: Tensor) -> Tensor:
        """The bicubic enlargement of (N, 3, H, W) that details are added to, (N, 3, scale * H, scale * W)."""
        return self.sr.enlarge(lq)

    def _enlarged(self, lq: Tensor) -> Tensor:
        check_image(lq)
        return self.sr.enlarge(lq)

    def _steps(
        self, lq: Tensor, enlarged: Tensor, recompute: bool = False, place: Place | None = None
    ) -> Iterator[Step]:
        return self.sr.steps(lq, enlarged, self.options["num_step"], recompute, place)

    def _unrolled(self, lq: Tensor, recompute: bool = False) -> tuple[list[Tensor], list[Tensor]]:
        enlarged = self._enlarged(lq)
        outputs, details = [], []
        for step in self._steps(lq, enlarged, recompute):
            outputs.append(self.sr.restore(step, enlarged))
            details.append(step.detail)
        return outputs, details

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        if f"{prefix}num_step" in state_dict:
            state_dict[f"{prefix}num_step"] = self.get_buffer("num_step")
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _activated(features: Tensor) -> Tensor:
    # In place: a convolution's output has no other use, and its gradient does not need it.
    return F.leaky_relu(features, _SLOPE, inplace=True)


def _at_once(part: Run, *inputs: Any) -> Any:
    return part(*inputs)


def _recomputed(part: Run, *inputs: Any) -> Any:
    # No part draws anything, and reading the state of a device's generator would make the host wait.
    return checkpoint(part, *inputs, use_reentrant=False, preserve_rng_state=False)


def _sizes(sizes: Sizes) -> dict[str, Any]:
    return {
        "type": "DSSR",
        **sizes.network(),
        "num_step": _recorded_steps(sizes),
        "num_block": sizes.count(r"sr\.features\.blocks\.(\d+)\."),
        "num_refine_block": sizes.count(r"sr\.refine\.blocks\.(\d+)\."),
        **sizes.start(),
    }


def _recorded_steps(sizes: Sizes) -> int:
    if sizes.shape("num_step") != () or sizes.state_dict["num_step"].is_floating_point():
        raise ValueError("not a state dict of DSSR: num_step is not an integer.")
    num_step = int(sizes.state_dict["num_step"])
    if not 1 <= num_step <= _MOST_STEPS:
        raise ValueError(f"not a state dict of DSSR: num_step is {num_step}; expected 1 to {_MOST_STEPS}.")
    return num_step


def _finish(converted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the last convolution, whose number depends on the scale, its name, and record the number of steps."""
    last = max((key for key in converted if key.startswith("sr.upsampler.")), default="none").rpartition(".")[0]
    named = {key.replace(f"{last}.", "sr.last."): value for key, value in converted.items()}
    return {**named, "num_step": torch.tensor(_PUBLISHED_STEPS)}


def _modulator(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return (
        (rf"{theirs}\.conv_gama\.", f"sr.{ours}.gamma."),
        (rf"{theirs}\.conv_beta\.", f"sr.{ours}.beta."),
        (rf"{theirs}\.conv(\d)\.", rf"sr.{ours}.conv\1."),
    )


METHOD = Method(
    name="DSSR",
    paper="TMM 2022, arXiv 2212.01624",
    networks={"DSSR": DSSR},
    sizes=_sizes,
    published=PublishedLayout(
        rgb_mean=(0.0, 0.0, 0.0),
        renames=renames(
            (r"conv1\.", "sr.head."),
            (r"compress_in\.", "sr.merge."),
            (r"feat_ext\.crb\.crb\.(\d+)\.", r"sr.features.blocks.\1."),
            (r"feat_refine\.crb\.crb\.(\d+)\.", r"sr.refine.blocks.\1."),
            (r"up\.", "sr.up."),
            (r"down\.", "sr.down."),
            (r"conv_recon\.", "sr.detail."),
            (r"conv2\.", "sr.embed."),
            *_modulator("spatial_trans1", "hr_modulator"),
            *_modulator("spatial_trans2", "lr_modulator"),
            (r"UPNet\.", "sr.upsampler."),
        ),
        finish=_finish,
    ),
    tiling="lightbsr_arch.inference.placed_network.PlacedNetwork",
)
