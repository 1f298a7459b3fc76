"""Run on every rank by test_equal_ranks.py, through fork_server.py: what the ranks hold at the first step and after it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import basicsr.models
import basicsr.train
import torch

from lightbsr_model.bridge.patches import apply_patches
from lightbsr_model.bridge.validation import dist_validation
from lightbsr_model.runtime.processes import init_process_group

from support.model_options import TEACHER_NETWORK, basicsr_options, model_options
from support.small_models import noise_batch_of
from support.training_cases import TRAININGS


def options_of(kind: str, teacher_file: str) -> dict[str, Any]:
    """Options of a model with an EMA copy, as parse_options leaves them on this rank."""
    if kind in TRAININGS:
        opt = TRAININGS[kind].apply(model_options("teacher", TEACHER_NETWORK, 0), teacher_file)
        opt.get("teacher", {})["start_student"] = False
    else:
        opt = basicsr_options(kind)
    opt["train"].update(ema_decay=0.5, accum_iter=2, cyclic_shift=False, encoder_iter=0)
    opt["logger"] = {"print_freq": 100, "save_checkpoint_freq": 100}
    opt["val"] = {}
    opt["name"] = "run"
    opt["rank"], opt["world_size"] = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    opt["dist"] = True
    return opt


def values_of(model: Any) -> dict[str, torch.Tensor]:
    """Every weight and buffer of every network."""
    return {
        f"{name}.{key}": value.clone()
        for name, module in vars(model).items()
        if isinstance(module, torch.nn.Module) and name.startswith("net_")
        for key, value in model.get_bare_model(module).state_dict().items()
    }


def main(out: str, kinds: list[str], teacher_files: dict[str, str]) -> None:
    """Build each model twice, from new weights and from a checkpoint, and take a step."""
    apply_patches()
    init_process_group()
    rank = torch.distributed.get_rank()
    held = {}
    no_images = SimpleNamespace(dataset=_Images())
    for kind in kinds:
        opt = options_of(kind, teacher_files.get(kind, ""))
        # As BasicSR seeds the ranks: differently.
        torch.manual_seed(10 + rank)
        model = basicsr.train.build_model(opt)
        held[f"{kind}, first step"] = values_of(model)
        model.update_learning_rate(1)
        lq = torch.rand(4, TRAININGS[kind].views if kind in TRAININGS else 1, 3, 16, 16)
        batch = {"gt": torch.rand(4, 3, 64, 64), "prior": torch.rand(4, 15)}
        finished = {**batch, "lq": lq[:, 0], **({"views": lq} if lq.shape[1] > 1 else {})}
        case = TRAININGS.get(kind)
        own = case is not None and (case.degrades_by_itself or case.frames > 0)
        model.feed_data(noise_batch_of(case, rank) if own else finished)
        model.optimize_parameters(1)
        # Nothing to validate: what a validation would find.
        dist_validation(model, no_images, 1, None, False)
        held[f"{kind}, validation"] = values_of(model)
        checkpoint = Path(out) / f"{kind}.pth"
        if rank == 0:
            # What a checkpoint without some weights leaves random.
            weights = model.get_bare_model(model.net_g).state_dict()
            torch.save({"params": dict(list(weights.items())[4:])}, checkpoint)
        torch.distributed.barrier()
        opt = options_of(kind, teacher_files.get(kind, ""))
        opt["path"] = {"pretrain_network_g": str(checkpoint), "strict_load_g": False}
        if kind in ("SRModel", "SRGANModel"):
            held[f"{kind}, logged"] = {
                name: torch.tensor(list(logged(kind, build).values()))
                for name, build in (("BasicSR", basicsr.models.build_model), ("here", basicsr.train.build_model))
            }
        held[f"{kind}, from a checkpoint"] = values_of(basicsr.train.build_model(opt))
    torch.save(held, Path(out) / f"rank{rank}.pth")


def logged(kind: str, build: Callable[[Any], Any]) -> dict[str, float]:
    """What a step of one of BasicSR's own models logs, under supervision or not."""
    opt = options_of(kind, "")
    opt["train"]["accum_iter"] = 1
    torch.manual_seed(10)
    model = build(opt)
    generator = torch.Generator().manual_seed(20 + opt["rank"])
    model.update_learning_rate(1)
    model.feed_data(
        {
            "lq": torch.rand(4, 3, 16, 16, generator=generator),
            "gt": torch.rand(4, 3, 64, 64, generator=generator),
        }
    )
    model.optimize_parameters(1)
    return dict(model.get_current_log())


class _Images(list[Any]):
    """An empty validation set."""

    opt: ClassVar = {"name": "none"}


def different_networks(out: str) -> None:
    """Build a model of another size on rank 1."""
    apply_patches()
    init_process_group()
    opt = options_of("SRModel", "")
    opt["network_g"]["num_feat"] += opt["rank"]
    opt["dist"] = False
    basicsr.train.build_model(opt)
