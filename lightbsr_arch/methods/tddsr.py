"""After TDDSR: a diffusion network that restores in one step, and a downsampler that learns too (arXiv 2410.07663).

Of the paper only the abstract is known here. The process is ResShift's with SinSR's deterministic sampler
(:mod:`lightbsr_arch.layers.residual_shift`); the networks are this project's, in the space of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.diffusion_unet import DiffusionUNet
from lightbsr_arch.layers.image import check_image, crop
from lightbsr_arch.layers.noise_field import normal_noise
from lightbsr_arch.layers.residual_shift import ResidualShift
from lightbsr_arch.layers.spectrum import full_precision
from lightbsr_arch.layers.window_attention import pad_to_multiple
from lightbsr_arch.methods.base import Method, Pairing
from lightbsr_arch.methods.sizes import Sizes

_DIGITS = 6
"""Significant decimal digits of the schedule's numbers, which float32 holds."""


class ResidualShiftUNet(nn.Module):
    """Predicts the HR image from a noisy one, the step and the LR image; in one step or in several it restores.

    Images are in [-1, 1] inside, shuffled to LR size. A fresh network's prediction is the bicubic enlargement.

    Args:
        scale: 2, 3 or 4.
        num_feat: Channels at LR size, a multiple of 8.
        mult: Channels of each level of the U-Net, as multiples of ``num_feat``.
        num_block: Blocks per level.
        steps: Number of steps of the process, at least 2.
        kappa: Strength of its noise, above 0.
        power: Of its schedule, above 0.
        min_noise: Noise of its first step, above 0.
        sample_steps: Number of predictions in :meth:`forward`, 1 to ``steps``: a teacher restores in all of them.
        seed: Of the noise that :meth:`forward` starts from.

    Raises:
        ValueError: A size or a value that does not exist.
    """

    schedule: Tensor
    sample_steps: int
    seed: int

    def __init__(
        self,
        scale: int = 4,
        num_feat: int = 64,
        mult: Sequence[int] = (1, 2, 2, 4),
        num_block: int = 2,
        steps: int = 15,
        kappa: float = 1.0,
        power: float = 0.3,
        min_noise: float = 0.04,
        sample_steps: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if scale not in (2, 3, 4):
            raise ValueError(f"scale: expected 2, 3 or 4, got {scale!r}.")
        if num_block < 1 or not mult or min(mult) < 1:
            raise ValueError(f"num_block and mult: expected numbers >= 1, got {num_block!r} and {list(mult)!r}.")
        # Rounded, so that a state dict says the same.
        kappa, power, min_noise = (_rounded(value) for value in (kappa, power, min_noise))
        self.process = ResidualShift(steps, kappa, power, min_noise)
        self.scale = scale
        self.options: dict[str, Any] = {
            **{"scale": scale, "num_feat": num_feat, "mult": list(mult), "num_block": num_block},
            **{"steps": steps, "kappa": kappa, "power": power, "min_noise": min_noise},
        }
        self.set_sampling(sample_steps, seed)
        self.unet = DiffusionUNet(3 * scale**2 + 3, 3 * scale**2, num_feat, mult, num_block)
        # In the checkpoint: weights are of one schedule.
        self.register_buffer("schedule", torch.tensor([steps, kappa, power, min_noise], dtype=torch.float32))

    def set_sampling(self, steps: int | None = None, seed: int | None = None) -> None:
        """Change how :meth:`forward` restores; None leaves a value as it is.

        Args:
            steps: Number of predictions, 1 to the process's.
            seed: Of the noise, at least 0.

        Raises:
            ValueError: No such number.
        """
        if steps is not None:
            if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= self.process.steps:
                raise ValueError(
                    f"steps: this network's process has {self.process.steps}: expected 1 to that, got {steps!r}."
                )
            self.sample_steps = steps
        if seed is not None:
            if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
                raise ValueError(f"seed: expected an integer >= 0 below 2^63, got {seed!r}.")
            self.seed = seed

    @property
    def window_size(self) -> int:
        """What the sides of LR images are padded to multiples of, inside."""
        return self.unet.stride

    def enlarge(self, lq: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] enlarged by bicubic interpolation, in [-1, 1]: where the process ends."""
        lq = lq.to(torch.promote_types(lq.dtype, torch.float32))
        return F.interpolate(lq, scale_factor=self.scale, mode="bicubic", align_corners=False) * 2 - 1

    def predict(self, x: Tensor, t: int | Tensor, lq: Tensor, y: Tensor | None = None) -> Tensor:
        """The HR image in [-1, 1], predicted from x_t.

        Args:
            x: x_t, (N, 3, scale * H, scale * W).
            t: Its step, or (N,) steps.
            lq: (N, 3, H, W) in [0, 1].
            y: What :meth:`enlarge` gives for it.
        """
        y = self.enlarge(lq) if y is None else y
        times = torch.full((x.shape[0],), t, device=x.device) if isinstance(t, int) else t
        inputs = torch.cat([F.pixel_unshuffle(self.process.scaled(x, t), self.scale), lq.to(x.dtype) * 2 - 1], dim=1)
        inputs = pad_to_multiple(inputs.to(self.unet.head.weight.dtype), self.unet.stride)
        rest = crop(self.unet(inputs, times), lq.shape[2], lq.shape[3])
        return y + F.pixel_shuffle(rest, self.scale).to(y.dtype)

    def noise_for(self, lq: Tensor, top: int = 0, left: int = 0, draw: int = 0) -> Tensor:
        """Standard normal noise of the size of the restored images, the same for each of a batch and at every call.

        Args:
            lq: (N, 3, H, W), which may be a tile of an image: it has the noise of its place.
            top: LR rows of that image above the tile.
            left: LR columns left of it.
            draw: Number of the noise, 0 for that of the start; all are independent.

        Returns:
            (N, 3, scale * H, scale * W).
        """
        height, width = self.scale * lq.shape[2], self.scale * lq.shape[3]
        seeds = torch.full((1,), self.seed, device=lq.device)
        channels = range(3 * draw, 3 * draw + 3)
        noise = normal_noise(seeds, channels, height, width, self.scale * top, self.scale * left)
        return noise.expand(lq.shape[0], -1, -1, -1)

    def sample(
        self,
        lq: Tensor,
        noise: Tensor | None = None,
        steps: int | None = None,
        kind: Literal["deterministic", "ancestral"] = "deterministic",
    ) -> Tensor:
        """Restore in several steps.

        Args:
            lq: (N, 3, H, W) in [0, 1].
            noise: Of the start, (N, 3, scale * H, scale * W); None is :meth:`noise_for`'s.
            steps: Number of predictions, 1 to the process's; None is all of them.
            kind: ``deterministic``, or ``ancestral``, which adds noise of :meth:`noise_for` at every step.

        Returns:
            (N, 3, scale * H, scale * W), about [0, 1], not clamped.

        Raises:
            ValueError: ``steps`` or ``kind`` is none of these.
        """
        check_image(lq)
        if kind not in ("deterministic", "ancestral"):
            raise ValueError(f"kind: expected deterministic or ancestral, got {kind!r}.")
        y = self.enlarge(lq)
        noise = self.noise_for(lq) if noise is None else noise
        noises = None
        if kind == "ancestral":
            noises = [self.noise_for(lq, draw=t + 1) for t in range(self.process.steps)]
        x0 = self.process.sample(lambda x, t: self.predict(x, t, lq, y), y, noise, steps, noises)
        return (x0 + 1) / 2

    def forward(self, lq: Tensor, noise: Tensor | None = None) -> Tensor:
        """Restore (N, 3, H, W) in [0, 1] in ``sample_steps`` steps, to (N, 3, scale * H, scale * W), not clamped."""
        return self.sample(lq, noise, self.sample_steps)

    def restore_once(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Restore batches in one step each: a learning pass of the co-learning.

        Args:
            inputs: LR images and their noise, and so on in turn.
        """
        return tuple(self.sample(lq, noise, steps=1) for lq, noise in zip(inputs[::2], inputs[1::2], strict=True))


class DiffusionDownsampler(nn.Module):
    """Makes an LR image of an HR image and noise: the antialiased bicubic one, and what a U-Net adds.

    Args:
        scale: 2, 3 or 4.
        num_feat: Channels at LR size, a multiple of 8.
        mult: Channels of each level of the U-Net, as multiples of ``num_feat``.
        num_block: Blocks per level.
        kappa: Strength of the noise that it is given, above 0.
    """

    def __init__(
        self, scale: int = 4, num_feat: int = 32, mult: Sequence[int] = (1, 2), num_block: int = 1, kappa: float = 0.2
    ) -> None:
        super().__init__()
        self.scale, self.kappa = scale, kappa
        self.unet = DiffusionUNet(3 * scale**2 + 3, 3, num_feat, mult, num_block)

    def forward(self, gt: Tensor, noise: Tensor) -> Tensor:
        """Shrink images.

        Args:
            gt: (N, 3, scale * H, scale * W) in [0, 1].
            noise: (N, 3, H, W), standard normal.

        Returns:
            (N, 3, H, W), about [0, 1], not clamped.
        """
        size = (gt.shape[2] // self.scale, gt.shape[3] // self.scale)
        x = gt * 2 - 1
        small = _shrunk(x, size)
        inputs = torch.cat([F.pixel_unshuffle(x, self.scale), small + self.kappa * noise], dim=1)
        first = torch.zeros(gt.shape[0], dtype=torch.long, device=gt.device)
        rest = crop(self.unet(pad_to_multiple(inputs, self.unet.stride), first), *size)
        return (small + rest + 1) / 2


def _shrunk(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Antialiased bicubic downsampling by products with matrices.

    The gradient of torch's own is summed in another order at every run on CUDA.
    """
    with full_precision(x.device):
        rows, columns = (
            F.interpolate(
                torch.eye(before, device=x.device)[None, None],
                (after, before),
                mode="bicubic",
                align_corners=False,
                antialias=True,
            )[0, 0].to(x.dtype)
            for before, after in zip(x.shape[2:], size, strict=True)
        )
        return rows @ x @ columns.T


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _sizes(sizes: Sizes) -> dict[str, Any]:
    if not sizes.has("schedule"):
        raise ValueError(
            "the weights of a DiffusionDownsampler, which makes LR images for a training; it restores none."
        )
    num_feat, channels = sizes.shape("unet.head.weight")[:2]
    scale = {15: 2, 30: 3, 51: 4}.get(channels)
    if scale is None:
        raise ValueError("not a state dict of a known method: its first convolution is not that of x2, x3 or x4.")
    levels, blocks = sizes.count(r"unet\.down\.(\d+)\."), sizes.count(r"unet\.down\.0\.(\d+)\.")
    widths = [sizes.shape(f"unet.down.{level}.0.conv1.weight")[0] for level in range(levels)]
    if sizes.shape("schedule") != (4,):
        raise ValueError("not a state dict of a known method: `schedule` is not that of a residual shift.")
    steps, kappa, power, min_noise = map(_rounded, sizes.state_dict["schedule"].tolist())
    return {
        **{"type": "ResidualShiftUNet", "scale": scale, "num_feat": num_feat, "num_block": blocks},
        **{"mult": [width // num_feat for width in widths], "steps": int(steps)},
        **{"kappa": kappa, "power": power, "min_noise": min_noise},
    }


METHOD = Method(
    name="TDDSR (after)",
    paper="arXiv 2410.07663",
    networks={"ResidualShiftUNet": ResidualShiftUNet},
    helpers={"DiffusionDownsampler": DiffusionDownsampler},
    sizes=_sizes,
    distils=Pairing(
        student="ResidualShiftUNet",
        teacher="ResidualShiftUNet",
        code_sizes=("steps", "kappa", "power", "min_noise"),
        shared=(("", ""),),
        recipe="options/tddsr/train_teacher.yml",
    ),
    tiling="lightbsr_arch.inference.sampling_network.SamplingNetwork",
)
