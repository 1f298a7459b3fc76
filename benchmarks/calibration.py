"""``python -m benchmarks.calibration``: does diffusing what a discriminator sees calibrate it, as DifAugGAN claims?

    python -m benchmarks.calibration --images BSD400 --set Set14 -o OUT

The bundled student is trained on against a small discriminator by ``lightbsr train``, with and without ``diffusion_opt``, from
the same seeds. Then the discriminator judges patches that it never saw, half of them real and half restored by the network
that it was trained with: the expected calibration error is how far its sigmoid(D) is from the share of real ones among the
patches that it gave about that value. Run again, it continues where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network
from torch import Tensor

from benchmarks.study.report import over_seeds
from benchmarks.study.training import train
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_arch.weights.model_files import SMALL_MODEL, load_model
from lightbsr_model.data.image_sources import open_all
from lightbsr_model.degradation import get_degradation
from lightbsr_model.degradation.base import as_batch, in_float32

BINS = 15
"""Of equal width, over 0 to 1."""

PATCH = 96
"""Side of a judged patch, in HR pixels."""

VARIANTS: dict[str, dict[str, Any] | None] = {"plain": None, "diffused": {}}
"""``train.diffusion_opt``, by name. An adaptive strength rises within these short trainings only with a small ``kimg``."""


def calibration_error(probability: Tensor, is_real: Tensor, bins: int = BINS) -> float:
    """The expected calibration error.

    Args:
        probability: (N,) in [0, 1], of being real.
        is_real: (N,) booleans.
        bins: Number of bins of equal width.

    Returns:
        The mean over patches of the distance between a bin's mean probability and its share of real patches, 0 to 1.
    """
    place = (probability * bins).long().clamp(0, bins - 1)
    error = 0.0
    for number in range(bins):
        members = place == number
        if members.any():
            gap = probability[members].mean() - is_real[members].float().mean()
            error += float(members.float().mean() * gap.abs())
    return error


def options(
    variant: str, seed: int, images: str, pretrained: str, iterations: int, batch: int, kimg: float
) -> dict[str, Any]:
    """The options of one training."""
    model = load_model(SMALL_MODEL)
    diffusion = VARIANTS[variant]
    train_opt: dict[str, Any] = {
        "total_iter": iterations,
        "optim_g": {"type": "Adam", "lr": 1e-4, "betas": [0.9, 0.99]},
        "optim_d": {"type": "Adam", "lr": 1e-4, "betas": [0.9, 0.99]},
        "scheduler": {"type": "MultiStepLR", "milestones": [iterations], "gamma": 0.5},
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        "wavelet_opt": {"type": "WaveletLoss", "loss_weight": 0.5},
        "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 0.1},
        "max_psnr_loss": None,
    }
    if diffusion is not None:
        train_opt["diffusion_opt"] = {"kimg": kimg, **diffusion}
    return {
        "name": variant,
        "model_type": "BlindGANModel",
        "scale": 4,
        "num_gpu": "auto",
        "manual_seed": seed,
        "datasets": {
            "train": {
                "name": "train",
                "type": "BlindDegradationPairedDataset",
                "dataroot_gt": images,
                "preset": "setting1_x4",
                "gt_size": PATCH,
                "views": 1,
                "num_worker_per_gpu": 0,
                "batch_size_per_gpu": batch,
                "dataset_enlarge_ratio": 10,
            }
        },
        "network_g": dict(model.options),
        "network_d": _judge_options(),
        "path": {"pretrain_network_g": pretrained},
        "train": train_opt,
        "logger": {"print_freq": 20, "save_checkpoint_freq": max(iterations // 4, 1), "use_tb_logger": False},
    }


def _judge_options() -> dict[str, Any]:
    return {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 16, "skip_connection": True}


@torch.inference_mode()
def judge(folder: Path, variant: str, images: str, patches: int, seed: int) -> Mapping[str, float]:
    """The calibration error of a trained discriminator, its accuracy, and the PSNR of what it was trained with."""
    models = folder / "experiments" / variant / "models"
    model = load_model(models / "net_g_latest.pth")
    judging = build_network(_judge_options())
    judging.load_state_dict(load_state_dict(models / "net_d_latest.pth"))
    judging.eval()
    degradation, source = get_degradation("setting1_x4"), open_all(images)
    generator = torch.Generator().manual_seed(seed)
    probabilities, labels, errors = [], [], []
    for number in range(patches):
        image = torch.from_numpy(source.read(number % len(source)).transpose(2, 0, 1).copy())
        top, left = (int(torch.randint(side - PATCH + 1, (1,), generator=generator)) for side in image.shape[1:])
        gt = image[None, :, top : top + PATCH, left : left + PATCH]
        shown = gt.float() / 255
        is_real = number % 2 == 0
        if not is_real:
            lq = degradation.apply(gt, as_batch(in_float32(degradation.draw(generator))), 4, generator)
            restored = model.net(lq).clamp(0, 1)
            errors.append(float((restored - shown).square().mean()))
            shown = restored
        probabilities.append(torch.sigmoid(judging(shown).mean()))
        labels.append(is_real)
    probability, is_real = torch.stack(probabilities), torch.tensor(labels)
    right = (probability > 0.5) == is_real
    psnr = -10 * torch.tensor(errors).log10().mean()
    return {
        "calibration error": calibration_error(probability, is_real),
        "accuracy": float(right.float().mean()),
        "PSNR": float(psnr),
    }


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of training images, such as BSD400")
    parser.add_argument("--set", type=Path, required=True, help="folder of held-out images, such as Set14")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of all results")
    parser.add_argument("--iterations", type=int, default=600, help="of each training (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--patches", type=int, default=512, help="judged, half of them real (default: %(default)s)")
    parser.add_argument("--kimg", type=float, default=1.0, help="of diffusion_opt (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    args = parser.parse_args()
    pretrained = args.output.resolve() / "student.pth"
    pretrained.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"params": load_model(SMALL_MODEL).net.state_dict()}, pretrained)
    columns = ("calibration error", "accuracy", "PSNR")
    print(f"| discriminator | {' | '.join(columns)} |\n|---|---|---|---|")
    for variant in VARIANTS:
        found = []
        for seed in args.seeds:
            opt = options(
                variant, seed, str(args.images.resolve()), str(pretrained), args.iterations, args.batch, args.kimg
            )
            folder = args.output / f"seed{seed}"
            train(opt, folder)
            found.append(judge(folder, variant, str(args.set), args.patches, seed))
        cells = []
        for column in columns:
            mean, half = over_seeds([each[column] for each in found])
            cells.append(f"{mean:.3f}" + (f" ± {half:.3f}" if len(found) > 1 else ""))
        print(f"| {variant} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
