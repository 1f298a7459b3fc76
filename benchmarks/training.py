"""A training iteration by phase and part, against the plain formulation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from basicsr.data import build_dataset
from basicsr.models import build_model

from benchmarks import plain
from benchmarks.machine import Machine, flops, run_here, synchronise
from benchmarks.report import Section
from benchmarks.side_by_side import Timing, in_turns, ratio
from lightbsr_arch import LightBSRTeacher

_ENCODER_PHASE = {"teacher": ("momentum_contrast.query.",), "student": ("encoder.", "converters.")}
"""Key prefixes of what is trained in the encoder phase."""


def _options(kind: str, teacher: Path, device: torch.device, switches: dict[str, Any]) -> dict[str, Any]:
    losses = {
        "teacher": {"contrastive_opt": {"type": "DegradationContrastiveLoss"}},
        "student": {
            "channel_opt": {"type": "ChannelDistillationLoss"},
            "spatial_opt": {"type": "SpatialDistillationLoss"},
        },
    }
    networks = {
        "teacher": {"type": "LightBSRTeacher", "scale": 4, "prior_channels": 15},
        "student": {"type": "LightBSR", "scale": 4},
    }
    return {
        "model_type": f"LightBSR{kind.capitalize()}Model",
        **run_here(device),
        "network_g": networks[kind],
        "datasets": {"train": {"scale": 4, "preset": "setting1_x4"}},
        "teacher": {"network": networks["teacher"], "path": str(teacher)},
        "train": {
            "total_iter": 10**6,
            "encoder_iter": 10**5,
            "optim_g": {"type": "Adam", "lr": 2e-4, "betas": [0.9, 0.99], "fused": switches.get("fused", True)},
            "scheduler": {"type": "TwoPhaseCosineLR"},
            "pixel_opt": {"type": "L1Loss", "loss_weight": 255.0},
            **losses[kind],
            **{key: value for key, value in switches.items() if key != "fused"},
        },
    }


def _batch(kind: str, count: int, patch: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    views = 4 if kind == "teacher" else 1
    gt = torch.randint(0, 256, (count, views, 3, 4 * patch, 4 * patch), generator=generator, dtype=torch.uint8)
    sigma = 0.2 + 3.8 * torch.rand(count, generator=generator)
    return {
        "gt_views": gt,
        "kernel": plain.isotropic_kernels(sigma),
        "noise_level": torch.zeros(count),
        "gt_path": [""] * count,
    }


def _plain_step(
    kind: str, model: Any, joint: bool, batch: dict[str, Any], device: torch.device
) -> Callable[[], list[float]]:
    """The same iteration in the plain formulation, on its own weights."""
    net = copy.deepcopy(model.net_g).to(memory_format=torch.contiguous_format)
    weights = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    chosen = []
    for name, value in net.named_parameters():
        value.requires_grad_(".key." not in name and (joint or name.startswith(_ENCODER_PHASE[kind])))
        if value.requires_grad:
            chosen.append(value)
    optimizer = torch.optim.Adam(chosen, lr=2e-4, betas=(0.9, 0.99), foreach=False)
    teacher = None
    if kind == "student":
        teacher = {**dict(model.teacher.named_parameters()), **dict(model.teacher.named_buffers())}
        basis = model.teacher.prior_basis
    else:
        basis = net.prior_basis

    def step() -> list[float]:
        gt, kernel = batch["gt_views"].to(device), batch["kernel"].to(device)
        lq = plain.degrade(gt, kernel, 4)
        prior = kernel.flatten(1) @ basis
        target = gt[:, 0].float() / 255 if joint else None
        optimizer.zero_grad()
        if kind == "student":
            losses = plain.student_losses(lq[:, 0], target, prior, weights, teacher, 4)
        else:
            losses = plain.teacher_losses(lq, target, prior, weights, 4)
        sum(losses.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
        return [float(value.detach()) for value in losses.values()]

    return step


def _our_step(model: Any, iteration: int, batch: dict[str, Any]) -> Callable[[], list[float]]:
    def step() -> list[float]:
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        return []

    return step


def _loading(kind: str, count: int, patch: int, turns: int) -> float:
    """Seconds that one worker takes for a batch."""
    dataset = build_dataset(
        {
            "type": "BlindDegradationPairedDataset",
            "name": "bundled",
            "phase": "train",
            "io_backend": {"type": "bundled"},
            "pictures": ["astronaut", "coffee", "chelsea", "rocket"],
            "preset": "setting1_x4",
            "scale": 4,
            "gt_size": 4 * patch,
            "views": 4 if kind == "teacher" else 1,
        }
    )
    return in_turns({"": lambda: [dataset[number % len(dataset)] for number in range(count)]}, turns)[""].median


def _parts(kind: str, model: Any, iteration: int, batch: dict[str, Any], turns: int, wait: Any) -> dict[str, Timing]:
    """Times of the parts, measured separately."""
    phase = model.phase_of(iteration)
    kept: dict[str, Any] = {}

    def forward() -> None:
        kept["losses"] = phase.losses()

    def backward() -> None:
        model.optimizer_g.zero_grad(set_to_none=True)
        sum(phase.losses().values()).backward()

    ways: dict[str, Callable[[], object]] = {"degrade": lambda: model.feed_data(batch)}
    if kind == "student":
        ways["teacher"] = model.teacher_codes
    ways |= {"forward and losses": forward, "forward and backward": backward, "optimiser": model.optimizer_g.step}
    return in_turns(ways, turns, wait=wait)


def measure(
    device: torch.device, machine: Machine, turns: int, count: int, patch: int, switches: dict[str, dict[str, Any]]
) -> list[Section]:
    """Iterations of both networks in both phases: whole, and by parts.

    Args:
        device: Where.
        machine: Its rates.
        turns: How often.
        count: Samples in a batch.
        patch: Side of an LR patch.
        switches: Options under ``train`` by what to call them.

    Raises:
        RuntimeError: The plain losses are not ours.
    """
    wait = synchronise(device)
    whole = Section(
        "Training iteration",
        f"A batch of {count} samples ({patch}x{patch} LR patches; the teacher's with 4 views), already in host memory. "
        "`of matmul`: counted operations by time, as a share of the measured rate of a large matrix product.",
        ("network", "phase", "way", "ms", "spread", "plain / this", "GFLOP", "of matmul"),
    )
    by_part = Section(
        "Training iteration by part",
        "Parts of `defaults`, timed separately; backward is the difference of two of them. `load` is reading and cropping a "
        "batch of scikit-image's images in one process, which workers do in parallel.",
        ("network", "phase", "part", "ms", "share"),
    )
    with TemporaryDirectory() as folder:
        teacher_file = Path(folder, "teacher.pth")
        torch.manual_seed(0)
        torch.save({"params": LightBSRTeacher(scale=4, prior_channels=15).state_dict()}, teacher_file)
        for kind in ("teacher", "student"):
            batch = _batch(kind, count, patch)
            for joint in (False, True):
                iteration = 10**5 + 1 if joint else 1
                phase = "joint" if joint else "encoder"
                models = {}
                for name, values in switches.items():
                    torch.manual_seed(1)
                    models[name] = build_model(_options(kind, teacher_file, device, values))
                first, unswitched = next(iter(models)), "nothing on"
                # From a model that was never in channels-last layout, which the strides of its weights would keep.
                plain_step = _plain_step(kind, models[unswitched], joint, batch, device)
                ways: dict[str, Callable[[], object]] = {"plain": plain_step}
                ways |= {name: _our_step(model, iteration, batch) for name, model in models.items()}
                expected = plain_step()
                ways[first]()
                ours = list(models[first].get_current_log().values())
                if any(abs(a - b) > 1e-3 * abs(a) for a, b in zip(expected, ours, strict=True)):
                    raise RuntimeError(f"{kind}, {phase}: plain losses {expected}, ours {ours}.")
                operations = flops(ways[first])
                times = in_turns(ways, turns, wait=wait)
                for name, timing in times.items():
                    rate = machine.matmul["bfloat16" if "bf16" in name else "float32"]
                    share = operations / timing.median / 1e12 / rate
                    row = [timing.median * 1e3, timing.spread, ratio(times["plain"], timing), operations / 1e9, share]
                    whole.rows.append([kind, phase, name, *row])
                parts = {
                    name: t.median * 1e3
                    for name, t in _parts(kind, models[first], iteration, batch, turns, wait).items()
                }
                parts["backward"] = max(0.0, parts.pop("forward and backward") - parts["forward and losses"])
                if "teacher" in parts:
                    parts["forward and losses"] -= parts["teacher"]
                total = times[first].median * 1e3
                parts["idle and the rest"] = max(0.0, total - sum(parts.values()))
                by_part.rows += [[kind, phase, part, value, f"{value / total:.0%}"] for part, value in parts.items()]
                by_part.rows.append([kind, phase, "load", _loading(kind, count, patch, turns) * 1e3, "in parallel"])
    return [whole, by_part]
