"""``python -m benchmarks.steering``: what a model's codes do to its results, and how well ``--strength`` and ``--as-if`` steer.

    python -m benchmarks.steering --images Set5 Set14
    python -m benchmarks.steering --images Set5 Set14 -m lightbsr_photo_x4 --sigmas 0.2 2.4 --jpeg 0 60 90

Prints four tables, of the middle of every image: its restoration under the codes that the same image has under other
degradations; at strengths; under codes that stand for another degradation, compared with the image's own code under it; and as
if compressed to the qualities of ``--jpeg``, of a model whose probe reads them.
Sharpness is the root mean square of the second differences of Y (0 to 255), noise that of the difference between two results
that differ in the noise alone, divided by the root of 2.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import product, starmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightbsr_arch import Upscaler
from lightbsr_arch.inference.shifting import encode_shifted
from lightbsr_arch.methods.bicubic import BicubicUpsampler
from lightbsr_arch.weights.model_files import SMALL_MODEL, load_model
from lightbsr_model.data.image_sources import open_all
from lightbsr_model.degradation.base import as_batch, in_float32
from lightbsr_model.degradation.gaussian import GaussianDegradation

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


class Kind(NamedTuple):
    """A degradation."""

    sigma: float
    """Of the blur, in pixels."""
    noise: float = 0
    """Standard deviation, of 255."""
    jpeg: int = 0
    """Quality; 0 for none."""

    def __str__(self) -> str:
        return f"{self.sigma:g}, {self.noise:g}" + (f", JPEG {self.jpeg}" if self.jpeg else "")


def middles(folders: Sequence[Path], side: int) -> Iterator[Tensor]:
    """The middle of every image, (3, H, W) in 0..255, with sides that are multiples of 48.

    Then LR sides are multiples of the encoder's stride of 4. Others change what is read: 45 instead of 48 pixels, sigma by 1.
    """
    for folder in folders:
        reader = open_all(str(folder))
        for number in range(len(reader)):
            image = torch.from_numpy(reader.read(number).transpose(2, 0, 1).copy())
            sides = [min(side, length) // 48 * 48 for length in image.shape[1:]]
            top, left = ((length - wanted) // 2 for length, wanted in zip(image.shape[1:], sides, strict=True))
            yield image[:, top : top + sides[0], left : left + sides[1]]


def degraded(gt: Tensor, kind: Kind, scale: int, seed: int = 0) -> Tensor:
    """The LR image, (1, 3, H / scale, W / scale) in [0, 1]."""
    sigma, noise, jpeg = kind
    degradation = GaussianDegradation("isotropic", (sigma, sigma), noise_level=(noise, noise), jpeg=(jpeg, jpeg))
    generator = torch.Generator().manual_seed(seed)
    return degradation.apply(gt[None], as_batch(in_float32(degradation.draw(generator))), scale, generator)


def luma(image: Tensor) -> Tensor:
    """Y of (1, 3, H, W) in [0, 1], 16 to 235, without a border of 4 pixels."""
    weights = torch.tensor([65.481, 128.553, 24.966]).view(1, 3, 1, 1)
    return ((image.clamp(0, 1) * weights).sum(dim=1) + 16)[:, 4:-4, 4:-4]


def psnr(one: Tensor, other: Tensor) -> float:
    """Of Y, in dB."""
    return float(10 * torch.log10(255**2 / (luma(one) - luma(other)).square().mean().clamp(min=1e-6)))


def sharpness(image: Tensor) -> float:
    """Root mean square of Y's second differences."""
    y = luma(image)
    centre = 4 * y[:, 1:-1, 1:-1]
    return float((centre - y[:, :-2, 1:-1] - y[:, 2:, 1:-1] - y[:, 1:-1, :-2] - y[:, 1:-1, 2:]).square().mean().sqrt())


def noise_between(one: Tensor, other: Tensor) -> float:
    """Standard deviation of the noise in results that differ in the noise alone."""
    return float((luma(one) - luma(other)).square().mean().sqrt()) / 2**0.5


def figures(restore: Any, images: Sequence[Tensor], kind: Kind, scale: int) -> str:
    """PSNR, sharpness and noise of what becomes of images, as a cell of a table."""
    found = []
    for gt in images:
        one, other = (restore(gt, degraded(gt, kind, scale, seed)) for seed in (1, 2)) if kind.noise else (None, None)
        one = restore(gt, degraded(gt, kind, scale)) if one is None else one
        noise = 0.0 if other is None else noise_between(one, other)
        found.append((psnr(one, gt[None] / 255), sharpness(one), noise))
    mean = np.mean(found, axis=0)
    return f"{mean[0]:.2f} / {mean[1]:.2f}" + (f" / {mean[2]:.2f}" if kind.noise else "")


def shifted(net: Any, lq: Tensor, shift: Tensor) -> Tensor:
    """An LR image restored under a shifted representation."""
    restored: Tensor = net.restore(lq, encode_shifted(net, lq, shift))
    return restored


def other_codes(net: Any, images: Sequence[Tensor], kinds: Sequence[Kind]) -> None:
    """Print the first table."""
    print("| LR images, sigma and noise | " + " | ".join(f"code of {kind}" for kind in kinds) + " |")
    print("|---|" + "---|" * len(kinds))
    for kind in kinds:
        cells = []
        for told in kinds:

            def restore(gt: Tensor, lq: Tensor, told: Kind = told) -> Tensor:
                return shifted(net, lq, net.represent(degraded(gt, told, net.scale, 3)) - net.represent(lq))

            cells.append(figures(restore, images, kind, net.scale))
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def strengths(model: str, images: Sequence[Tensor], kinds: Sequence[Kind]) -> None:
    """Print the second table."""
    upscalers = [Upscaler.from_checkpoint(model, device="cpu", strength=strength) for strength in STRENGTHS]
    scale = upscalers[0].scale
    bicubic = BicubicUpsampler(scale)
    print("| LR images, sigma and noise | bicubic | " + " | ".join(f"strength {one:g}" for one in STRENGTHS) + " |")
    print("|---|---|" + "---|" * len(STRENGTHS))
    for kind in kinds:
        cells = [figures(lambda _, lq: bicubic(lq), images, kind, scale)]
        cells += [figures(lambda _, lq, run=one: run.upscale(lq), images, kind, scale) for one in upscalers]
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def targets(model: str, images: Sequence[Tensor], sigmas: Sequence[float]) -> None:
    """Print the third table, of a model whose probe reads ``sigma`` alone."""
    loaded = load_model(model)
    net: Any = loaded.net
    probe: Any = loaded.card.probe
    if probe is None or probe.inverse is None or set(probe.inverse.ranges) != {"sigma"}:
        print("(No table of targets: it is of models whose probe has an inverse, of sigma alone.)")
        return
    weights = torch.tensor(probe.readings["sigma"].weights, dtype=torch.float32)[None]
    plain, gentle = (Upscaler.from_checkpoint(model, device="cpu", strength=strength) for strength in (1, 0))
    kinds = ("as seen", "a step along the probe's weights", "the fitted inverse", "the clean image's (strength 0)")
    print(f"| sigma | as if | {' | '.join(kinds)} |\n|---|---|---|---|---|---|")
    for sigma in sigmas:
        for told in sigmas:
            found = []
            for gt in images:
                lq = degraded(gt, Kind(sigma), net.scale)
                seen = net.represent(lq)
                aim = shifted(net, lq, net.represent(degraded(gt, Kind(told), net.scale)) - seen)
                read = probe.read(seen[0].numpy())["sigma"]
                along = shifted(net, lq, weights * (told - read) / weights.square().sum())
                fitted = shifted(net, lq, torch.from_numpy(probe.inverse.representation({"sigma": told}))[None] - seen)
                results = [plain.upscale(lq), along, fitted, gentle.upscale(lq)]
                found.append([(psnr(one, aim), sharpness(one) / sharpness(aim)) for one in results])
            cells = [
                f"{np.median(one[:, 0]):.1f} dB, {one[:, 1].mean():.2f}" for one in np.array(found).transpose(1, 0, 2)
            ]
            if told > min(sigmas):
                cells[-1] = ""
            print(f"| {sigma:g} | {told:g} | {' | '.join(cells)} |", flush=True)


def words(model: str, images: Sequence[Tensor], kinds: Sequence[Kind], qualities: Sequence[int]) -> None:
    """Print the fourth table."""
    probe: Any = load_model(model).card.probe
    if probe is None or probe.inverse is None or "jpeg_quality" not in probe.inverse.ranges:
        print("(No table of JPEG: the model's probe does not read it.)")
        return
    upscalers = [Upscaler.from_checkpoint(model, device="cpu", as_if=f"jpeg {quality}") for quality in qualities]
    print("| LR images, sigma and noise | " + " | ".join(f"as if JPEG {quality}" for quality in qualities) + " |")
    print("|---|" + "---|" * len(qualities))
    for kind in kinds:
        cells = [figures(lambda _, lq, run=one: run.upscale(lq), images, kind, one.scale) for one in upscalers]
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steering", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--images", type=Path, nargs="+", required=True, help="folders of sharp images, such as Set5")
    add("-m", "--model", default=SMALL_MODEL, help="default: %(default)s")
    add("--sigmas", type=float, nargs="+", default=[0.2, 1.2, 2.4, 3.6], help="of the blurs (default: 0.2 1.2 2.4 3.6)")
    add("--noise", type=float, nargs="+", default=[0], help="noise levels of the first two tables (default: 0)")
    add("--jpeg", type=int, nargs="+", default=[0], help="qualities of the same, 0 for none (default: 0)")
    add("--side", type=int, default=192, help="of the middle that is taken of an image (default: %(default)s)")
    args = parser.parse_args()
    kinds = list(starmap(Kind, product(args.sigmas, args.noise, args.jpeg)))
    images = list(middles(args.images, args.side))
    net = load_model(args.model).net
    with torch.inference_mode():
        other_codes(net, images, kinds)
        print()
        strengths(args.model, images, kinds)
        print()
        targets(args.model, images, args.sigmas)
        print()
        words(args.model, images, kinds, sorted({quality for quality in args.jpeg if quality} | {100}))


if __name__ == "__main__":
    main()
