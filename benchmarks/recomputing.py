"""DSSR's training step: activations kept, or computed again in the backward pass (``train.checkpoint_steps``)."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from basicsr.models import build_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.machine import run_here, synchronise
from benchmarks.report import Section
from benchmarks.side_by_side import in_turns, ratio
from lightbsr_arch.methods.dssr import DSSR

PUBLISHED_WIDTH, PUBLISHED_PATCH = 128, 64
_WAYS = {"kept": False, "computed again": True}


class LiveBytes(TorchDispatchMode):
    """While active, counts the bytes of the tensors that operations make, until they are freed; backward passes too."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor):
                self._see(value.untyped_storage())
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        number, size = storage._cdata, storage.nbytes()
        if number not in self._known:
            self._known.add(number)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._forget, number, size)

    def _forget(self, number: int, size: int) -> None:
        self._known.discard(number)
        self.now -= size


def peak_bytes(device: torch.device, step: Callable[[], object]) -> int:
    """The most memory of tensors in a step, above what was in use before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    with LiveBytes() as live:
        step()
    return live.most


def measure(device: torch.device, turns: int, num_feat: int, patch: int) -> Section:
    """Training steps of one sample.

    Args:
        device: Where.
        turns: How often each is timed.
        num_feat: Number of channels; published: 128. The numbers of blocks and steps are the published ones.
        patch: Side of the LR patch; published: 64.

    Raises:
        RuntimeError: The two do not learn the same.
    """
    models = {name: _model(device, num_feat, again) for name, again in _WAYS.items()}
    generator = torch.Generator().manual_seed(0)
    batch = {
        "lq": torch.rand(1, 3, patch, patch, generator=generator),
        "gt": torch.rand(1, 3, 4 * patch, 4 * patch, generator=generator),
    }
    steps: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        model.feed_data(batch)
        steps[name] = lambda model=model: model.optimize_parameters(1)
    times = in_turns(steps, turns, wait=synchronise(device))
    bytes_of = {}
    for name, step in steps.items():
        models[name].optimizer_g.zero_grad(set_to_none=True)
        bytes_of[name] = peak_bytes(device, step)
    kept, again = (list(model.net_g.parameters()) for model in models.values())
    # Kernels of CUDA sum in an order of their own.
    tolerance = 0.0 if device.type == "cpu" else 1e-3
    if any((one - other).abs().max() > tolerance for one, other in zip(kept, again, strict=True)):
        raise RuntimeError("DSSR's weights differ where its activations are computed again.")
    section = Section(
        "DSSR's training step",
        f"x4, 4 steps, {num_feat} features, one sample, LR patch {patch}x{patch}; forward and backward pass and optimiser. "
        "`MiB`: most memory of tensors above what was in use before, gradients included. Weights are equal after all steps. "
        "The last two rows: the published size, counted by the shapes of tensors without computing them (no optimiser).",
        ("activations", "MiB", "share", "ms", "spread", "this / kept"),
    )
    for name, timing in times.items():
        share = bytes_of[name] / bytes_of["kept"]
        row = [name, bytes_of[name] / 2**20, share, timing.median * 1e3, timing.spread, ratio(timing, times["kept"])]
        section.rows.append(row)
    counted = {name: _counted(again) for name, again in _WAYS.items()}
    for name, most in counted.items():
        label = f"{name}, {PUBLISHED_WIDTH} features, {PUBLISHED_PATCH}x{PUBLISHED_PATCH}, by shapes"
        section.rows.append([label, most / 2**20, most / counted["kept"], "", "", ""])
    return section


def _counted(again: bool) -> int:
    """The most memory of a forward and backward pass at the published size, from shapes alone: nothing is computed."""
    net = DSSR(scale=4, num_feat=PUBLISHED_WIDTH).to("meta")
    lq = torch.empty(1, 3, PUBLISHED_PATCH, PUBLISHED_PATCH, device="meta")

    def step() -> None:
        outputs, details = (net.unroll_recomputed if again else net.unroll)(lq)
        torch.stack([image.mean() for image in (*outputs, *details)]).sum().backward()

    return peak_bytes(lq.device, step)


def _model(device: torch.device, num_feat: int, again: bool) -> Any:
    loss = {"type": "L1Loss", "loss_weight": 1.0}
    torch.manual_seed(0)
    return build_model(
        {
            "model_type": "DSSRModel",
            **run_here(device),
            "network_g": {"type": "DSSR", "scale": 4, "num_feat": num_feat},
            "datasets": {"train": {"scale": 4, "preset": "setting1_x4"}},
            "train": {
                "total_iter": 10**6,
                "optim_g": {"type": "Adam", "lr": 2e-4, "betas": [0.9, 0.99], "fused": True},
                "scheduler": {"type": "MultiStepLR", "milestones": [10**5], "gamma": 0.5},
                "pixel_opt": dict(loss),
                "detail_opt": dict(loss),
                "checkpoint_steps": again,
            },
        }
    )
