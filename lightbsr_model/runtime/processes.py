"""Several processes on any device, where BasicSR assumes CUDA.

- ``utils/dist_util.py:24``: ``_init_dist_pytorch`` divides by the number of GPUs, and ``utils/options.py:103`` does not pass
  ``dist_params`` on, so that the backend is always nccl. Here: gloo without CUDA; the GPU of LOCAL_RANK.
- ``utils/dist_util.py:43``: the same for slurm.
- ``utils/dist_util.py:12`` sets the start method to spawn, which costs 20 seconds per epoch. Here: fork, if available.
- ``models/base_model.py:98`` wraps networks for a CUDA device, and DistributedDataParallel rejects a network without
  trainable parameters. Here: any device, and such a network is not wrapped.
- ``utils/options.py:118`` seeds every rank differently, so that networks that are not wrapped (EMA copies in particular)
  start from different random weights on each. Here: all ranks start from rank 0's.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.multiprocessing
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lightbsr_arch.errors import OptionError
from lightbsr_model.runtime.orphans import end_with_launcher

_TIMEOUT_MINUTES = 180
"""torch's default timeouts are 10 minutes (nccl) and 30 (gloo), less than a long validation takes."""


def init_process_group(
    backend: str = "nccl", port: int | None = None, timeout_minutes: float = _TIMEOUT_MINUTES
) -> None:
    """Replaces ``dist_util._init_dist_pytorch``, under torchrun or any launcher that sets its variables.

    Args:
        backend: ``dist_params.backend``; without CUDA always gloo.
        port: Not used: the launcher has chosen one.
        timeout_minutes: ``dist_params.timeout_minutes``: how long a process waits for the others.
    """
    end_with_launcher()
    if torch.cuda.is_available() and backend != "gloo":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", os.environ["RANK"])) % torch.cuda.device_count())
    else:
        backend = "gloo"
    torch.distributed.init_process_group(backend=backend, timeout=timedelta(minutes=timeout_minutes))
    atexit.register(_leave_process_group)


def _leave_process_group() -> None:
    """Close the connections. BasicSR leaves that to the interpreter's exit, where gloo's threads sometimes abort.

    Not after an uncaught error: the other processes may be gone, and nccl would wait for them.
    """
    if is_distributed() and getattr(sys, "last_type", None) is None:
        torch.distributed.destroy_process_group()


def init_slurm_process_group(
    backend: str = "nccl", port: int | None = None, timeout_minutes: float = _TIMEOUT_MINUTES
) -> None:
    """Replaces ``dist_util._init_dist_slurm``: set torchrun's variables from slurm's, then proceed as under torchrun."""
    os.environ["RANK"] = os.environ["SLURM_PROCID"]
    os.environ["WORLD_SIZE"] = os.environ["SLURM_NTASKS"]
    os.environ["LOCAL_RANK"] = os.environ.get("SLURM_LOCALID", "0")
    if port is not None:
        os.environ["MASTER_PORT"] = str(port)
    os.environ.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in os.environ:
        nodes = ["scontrol", "show", "hostnames", os.environ["SLURM_NODELIST"]]
        os.environ["MASTER_ADDR"] = subprocess.run(nodes, check=True, capture_output=True, text=True).stdout.split()[0]
    init_process_group(backend, timeout_minutes=timeout_minutes)


def start_workers_by_fork() -> None:
    """Choose the start method before BasicSR does, unless the program has chosen one."""
    if torch.multiprocessing.get_start_method(allow_none=True) is None:
        methods = torch.multiprocessing.get_all_start_methods()
        torch.multiprocessing.set_start_method("fork" if "fork" in methods else "spawn")


def is_distributed() -> bool:
    """Whether a process group is initialised."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


@torch.no_grad()
def take_rank_0s_values(model: Any) -> None:
    """Copy rank 0's weights and buffers of all networks of a model, including EMA copies, to every rank.

    Args:
        model: Any BasicSR model: all modules in its attributes are copied.

    Raises:
        OptionError: The ranks have different networks, so that nothing can be copied.
    """
    if not is_distributed():
        return
    values: dict[str, torch.Tensor] = {}
    for name, module in sorted(vars(model).items()):
        if isinstance(module, nn.Module):
            named = (*module.named_parameters(), *module.named_buffers())
            values.update((f"{name}.{key}", value) for key, value in named)
    # Each once: a learning pass contains the network too.
    values = dict({id(value): (key, value) for key, value in values.items()}.values())
    layout = [(key, tuple(value.shape), str(value.dtype)) for key, value in values.items()]
    layouts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(layouts, layout)
    for rank, other in enumerate(layouts):
        if other != layouts[0]:
            differing = sorted({key for key, *_ in set(other) ^ set(layouts[0])})
            raise OptionError(
                f"rank {rank} has other networks than rank 0 (first difference: {(differing or ['their order'])[0]}): "
                "start all processes with the same option file and the same version."
            )
    for value in values.values():
        # On a contiguous copy, which collectives need; channels-last weights keep their layout.
        whole = value.detach().contiguous()
        torch.distributed.broadcast(whole, 0)
        value.detach().copy_(whole)


def of_rank_0(value: Any) -> Any:
    """Broadcast a picklable value from rank 0 to all ranks."""
    values = [value]
    if is_distributed():
        torch.distributed.broadcast_object_list(values, 0)
    return values[0]


@torch.no_grad()
def average_over_processes(values: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """The means of tensors over all processes, the same on every rank; the tensors themselves for a single process."""
    if not is_distributed():
        return values
    together = torch.cat([value.flatten() for value in values])
    torch.distributed.all_reduce(together)
    together /= torch.distributed.get_world_size()
    parts = together.split([value.numel() for value in values])
    return [part.view(value.shape) for part, value in zip(parts, values, strict=True)]


@torch.no_grad()
def tensors_of_rank_0(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rank 0's values of tensors that have the same names and shapes on all ranks."""
    if not is_distributed():
        return dict(values)
    # NCCL takes no tensors that are on the host.
    where = {
        name: "cuda" if torch.distributed.get_backend() == "nccl" else value.device for name, value in values.items()
    }
    copies = {
        name: value.to(where[name]).clone(memory_format=torch.contiguous_format) for name, value in values.items()
    }
    for copy in copies.values():
        torch.distributed.broadcast(copy, 0)
    return {name: copy.to(values[name].device) for name, copy in copies.items()}


def wrap_for_processes(module: nn.Module, device: torch.device, find_unused_parameters: bool = False) -> nn.Module:
    """Wrap a module so that its gradients are reduced over the processes; unchanged for a single process or if frozen."""
    if not is_distributed() or not any(value.requires_grad for value in module.parameters()):
        return module
    device_ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=device_ids, find_unused_parameters=find_unused_parameters)


def synchronise_batchnorm(net: nn.Module, opt: Mapping[str, Any], device: torch.device) -> nn.Module:
    """Convert BatchNorm to SyncBatchNorm if ``train.sync_bn`` is set: statistics over the samples of all processes.

    Raises:
        OptionError: The device is a CPU, for which torch has no SyncBatchNorm.
    """
    if not (opt.get("train") or {}).get("sync_bn") or not opt.get("is_train"):
        return net
    if device.type != "cuda":
        raise OptionError("train.sync_bn: torch has SyncBatchNorm on CUDA only; leave it out on a CPU.")
    return nn.SyncBatchNorm.convert_sync_batchnorm(net) if opt["dist"] else net


def model_to_device(model: Any, net: nn.Module) -> nn.Module:
    """Replaces ``BaseModel.model_to_device``, for BasicSR's own models."""
    net = synchronise_batchnorm(net, model.opt, model.device).to(model.device)
    if model.opt["dist"]:
        return wrap_for_processes(net, model.device, model.opt.get("find_unused_parameters", False))
    return nn.DataParallel(net) if model.opt["num_gpu"] > 1 else net
