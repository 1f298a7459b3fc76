"""Two optimiser steps of every method in each phase, alone or as one of several processes.

Run by test_processes.py: ``python two_steps.py OUT TEACHERS`` or the same under torchrun. Every rank takes its share of
the same joined batch and writes its gradients of the first step, and its queue after the second, to OUT.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))


import lightbsr_model  # noqa: F401  # isort: skip - BasicSR does not import without it
from basicsr.models import build_model

from lightbsr_model.degradation import isotropic_gaussian_kernels
from lightbsr_model.runtime.processes import init_process_group

from support.method_cases import TRAININGS, MethodCase
from support.model_options import TEACHER_NETWORK, model_options


def main(out: Path, teachers: dict[str, str]) -> None:
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    if world_size > 1:
        init_process_group()
    results = {}
    for case in TRAININGS.values():
        for phase, encoder_iter in (("encoder", 8), ("joint", 0)):
            opt = case.apply(model_options("teacher", TEACHER_NETWORK, encoder_iter), teachers.get(case.network))
            opt.update(dist=world_size > 1, rank=rank, world_size=world_size)
            # Images change places within a process's own share.
            opt["train"]["cyclic_shift"] = False
            if case.network == "DASR":
                opt["train"]["degradation_opt"] = {"type": "DegradationRegressionLoss"}
            # As BasicSR seeds the ranks: differently.
            torch.manual_seed(10 + rank)
            results[f"{case} {phase}"] = _two_steps(build_model(opt), case, rank, world_size)
    torch.save(results, out / f"{world_size}_{rank}.pth")


def _two_steps(model, case: MethodCase, rank: int, world_size: int) -> dict[str, torch.Tensor]:
    for module in model.net_g.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.eval()
    with torch.no_grad():
        # Without batch statistics CdCL's signal fades from layer to layer, and every image has one code: no gradient is left.
        for name, value in model.net_g.named_parameters():
            if "contrast" in name.split(".") and value.dim() > 1:
                value.mul_(5)
    result = {}
    for step in (1, 2):
        generator = torch.Generator().manual_seed(step)
        batch = {
            "gt": torch.rand(4, 3, 32, 32, generator=generator),
            "prior": torch.rand(4, 15, generator=generator),
        }
        lq = torch.rand(4, case.views, 3, 8, 8, generator=generator)
        batch.update({"lq": lq[:, 0]} if case.views == 1 else {"views": lq})
        model.feed_data({key: value.chunk(world_size)[rank] for key, value in batch.items()})
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
            others = (getattr(model, name, None) or torch.nn.Identity() for name in ("readout", "net_mim"))
            learning = [*model.net_g.named_parameters(), *(pair for net in others for pair in net.named_parameters())]
            gradients = {name: value.grad for name, value in learning if value.grad is not None}
            result.update({f"grad {name}": value.clone() for name, value in gradients.items()})
            result.update({f"log {name}": torch.tensor(value) for name, value in model.get_current_log().items()})
    result.update({f"state {name}": value for name, value in model.net_g.state_dict().items()})
    return result


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
