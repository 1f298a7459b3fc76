"""Two optimiser steps of every method in each phase, alone or as one of several processes.

Called by test_equal_steps.py in processes of their own. Every rank takes its share of the same joined batch and writes its
gradients of the first step, and its queue after the second, to a file of its own.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import torch
from basicsr.models import build_model
from torch.utils.data import default_collate

from lightbsr_model.adaptation.adaptation_dataset import AdaptationDataset
from lightbsr_model.degradation import isotropic_gaussian_kernels
from lightbsr_model.runtime.processes import init_process_group, take_rank_0s_values
from lightbsr_model.runtime.random_streams import seeded
from lightbsr_model.training.diffusion_augmentation import DiffusedDiscriminator

from support.adapting import ALL_LOSSES, GAN, WEIGHTED, adapting_options
from support.method_cases import MethodCase
from support.model_options import TEACHER_NETWORK, basicsr_options, model_options
from support.small_models import burst_batch, noise_batch
from support.training_cases import TRAININGS

ADAPTING = {
    "LWayModel": {"pixel_opt": WEIGHTED},
    "ReferenceAdaptationModel": ALL_LOSSES,
    "AdversarialReferenceAdaptationModel": GAN,
}
"""Keys of ``train`` by the model that adapts."""


def main(folder: str, teachers: dict[str, str]) -> None:
    """Write the values of this rank to a file of the folder."""
    out = Path(folder)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    if world_size > 1:
        init_process_group()
    results = {}
    for case in TRAININGS.values():
        for phase, encoder_iter in (("encoder", 8), ("joint", 0)):
            opt = case.apply(model_options("teacher", TEACHER_NETWORK, encoder_iter), teachers.get(str(case)))
            opt.update(dist=world_size > 1, rank=rank, world_size=world_size)
            # Images change places within a process's own share.
            opt["train"]["cyclic_shift"] = False
            if case.network == "DASR":
                opt["train"]["degradation_opt"] = {"type": "DegradationRegressionLoss"}
            # As BasicSR seeds the ranks: differently.
            torch.manual_seed(10 + rank)
            model = build_model(opt)
            if case.beside:  # as the launcher does; a step uses them without DistributedDataParallel too
                take_rank_0s_values(model)
            results[f"{case} {phase}"] = _two_steps(model, case, rank, world_size)
    results["adversarial"] = _adversarial_step(rank, world_size)
    results.update({name: _adapting_step(name, out, rank, world_size) for name in ADAPTING})
    torch.save(results, out / f"{world_size}_{rank}.pth")


def _adversarial_step(rank: int, world_size: int) -> dict[str, torch.Tensor]:
    """A step of the adversarial stage, whose discriminator sees diffused images."""
    opt = basicsr_options("BlindGANModel")
    opt.update(dist=world_size > 1, rank=rank, world_size=world_size)
    torch.manual_seed(10)
    model = build_model(opt)
    diffused = DiffusedDiscriminator(model, {"p": 1.0, "beta_end": 0.1})
    diffused.begin(1, 0)
    generator = torch.Generator().manual_seed(1)
    batch = {
        "lq": torch.rand(4, 3, 8, 8, generator=generator),
        "gt": torch.rand(4, 3, 32, 32, generator=generator),
    }
    # Image by image, as BasicSR's sampler shares a batch.
    model.feed_data({key: value[rank::world_size].contiguous() for key, value in batch.items()})
    model.optimize_parameters(1)
    learning = [*model.net_g.named_parameters(), *model.net_d.named_parameters()]
    result = {f"grad {name}": value.grad.clone() for name, value in learning}
    result.update({f"log {name}": torch.tensor(value) for name, value in model.get_current_log().items()})
    return result


def _adapting_step(model_type: str, out: Path, rank: int, world_size: int) -> dict[str, torch.Tensor]:
    """A step of a model that adapts to the LR images in OUT, which have no noise."""
    opt = adapting_options(out / "adapting", model_type, **ADAPTING[model_type])
    opt.update(dist=world_size > 1, rank=rank, world_size=world_size)
    torch.manual_seed(10)
    model = build_model(opt)
    dataset = AdaptationDataset(opt["datasets"]["train"])
    with seeded(1):
        batch = default_collate([dataset[number % len(dataset)] for number in range(4)])
    model.update_learning_rate(1)
    model.feed_data({key: value[rank::world_size] for key, value in batch.items()})
    model.optimize_parameters(1)
    nets = [model.net_g, getattr(model, "net_d", torch.nn.Identity())]
    learning = [pair for net in nets for pair in net.named_parameters() if pair[1].grad is not None]
    result = {f"grad {name}": value.grad.clone() for name, value in learning}
    result.update({f"log {name}": torch.tensor(value) for name, value in model.get_current_log().items()})
    return result


def _two_steps(model, case: MethodCase, rank: int, world_size: int) -> dict[str, torch.Tensor]:
    for module in model.net_g.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.eval()
    with torch.no_grad():
        # Without batch statistics CdCL's signal fades from layer to layer, and every image has one code: no gradient is left.
        for name, value in model.net_g.named_parameters():
            if "contrast" in name.split(".") and value.dim() > 1:
                value.mul_(5)
        # Nor would a code of MRDA, at this size, say much of what it is extracted from.
        for net in (model.net_g, getattr(model, "teacher", torch.nn.Identity())):
            for name, value in net.named_parameters():
                if {"extractor", "kernel", "code_layer"} & set(name.split(".")) and value.dim() > 1:
                    value.mul_(3)
        # A last layer of zeros lets no gradient through.
        generator = torch.Generator().manual_seed(0)
        for net in (model.net_g, getattr(model, "net_down", torch.nn.Identity())):
            for value in net.parameters():
                if value.dim() > 1 and not value.any():
                    value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    result = {}
    for step in (1, 2):
        generator = torch.Generator().manual_seed(step)
        batch = {
            "gt": torch.rand(4, 3, 32, 32, generator=generator),
            "prior": torch.rand(4, 15, generator=generator),
        }
        lq = torch.rand(4, case.views, 3, 8, 8, generator=generator)
        batch.update({"lq": lq[:, 0]} if case.views == 1 else {"views": lq})
        shares = {key: value.chunk(world_size)[rank] for key, value in batch.items()}
        if case.draws_by_sample:
            shares = {key: value[rank::world_size].contiguous() for key, value in batch.items()}
        if case.degrades_by_itself:
            shares = _share_of_halves(noise_batch(1, step), rank, world_size)
        if case.frames:
            shares = {key: value.chunk(world_size)[rank] for key, value in _burst(case.frames, step).items()}
        model.feed_data(shares)
        if model.readout is not None:
            sigma, none = 4 * torch.rand(4, generator=generator), torch.zeros(4)
            params = {
                "kernel": isotropic_gaussian_kernels(sigma),
                "noise_level": none,
                "jpeg_quality": none,
                "axes": torch.stack([sigma, sigma, none], dim=1),
            }
            params = {key: value.chunk(world_size)[rank] for key, value in params.items()}
            model.batch = dataclasses.replace(model.batch, params=params)
        model.optimize_parameters(step)
        if step == 1:
            others = (getattr(model, name, None) or torch.nn.Identity() for name in ("readout", "net_mim", "net_down"))
            learning = [*model.net_g.named_parameters(), *(pair for net in others for pair in net.named_parameters())]
            gradients = {name: value.grad for name, value in learning if value.grad is not None}
            result.update({f"grad {name}": value.clone() for name, value in gradients.items()})
            result.update({f"log {name}": torch.tensor(value) for name, value in model.get_current_log().items()})
    result.update({f"state {name}": value for name, value in model.net_g.state_dict().items()})
    return result


def _burst(frames: int, step: int) -> dict[str, torch.Tensor]:
    return {key: value for key, value in burst_batch(frames, step).items() if torch.is_tensor(value)}


def _share_of_halves(batch, rank: int, world_size: int) -> dict[str, torch.Tensor]:
    """A process's share of both halves of a batch; the kernels, which rank 0 gives to all, in their order."""
    halves = batch["gt_views"].chunk(2)
    gt_views = torch.cat([half.chunk(world_size)[rank] for half in halves])
    return {"gt_views": gt_views, **{key: batch[key].chunk(world_size)[rank] for key in ("kernel", "noise_level")}}
