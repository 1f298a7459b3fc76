"""Several processes on any device: what BasicSR assumes of CUDA, crossed from outside.

- ``utils/dist_util.py:24``: ``_init_dist_pytorch`` divides by the number of GPUs, and ``utils/options.py:103`` keeps
  ``dist_params`` from it, so that the backend is nccl always. Here: gloo without CUDA; the GPU of LOCAL_RANK.
- ``utils/dist_util.py:43``: the same for slurm.
- ``utils/dist_util.py:12`` sets the start method to spawn, which costs 20 seconds an epoch. Here: fork, where it exists.
- ``models/base_model.py:98`` wraps networks for a CUDA device, and DistributedDataParallel refuses a network in which
  nothing learns. Here: any device, and such a network is left as it is.
- ``utils/options.py:118`` seeds every rank differently, so that whatever is not wrapped (the EMA copy of a network above
  all) starts from other random weights on each. Here: all ranks start from rank 0's.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.multiprocessing
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lightbsr_arch.errors import OptionError
from lightbsr_model.runtime.orphans import end_with_launcher

_TIMEOUT_MINUTES = 180
"""torch gives up waiting for another process after 10 minutes (nccl) or 30 (gloo), less than a long validation takes."""


def init_process_group(
    backend: str = "nccl", port: int | None = None, timeout_minutes: float = _TIMEOUT_MINUTES
) -> None:
    """Stand in for ``dist_util._init_dist_pytorch``, under torchrun or anything else that sets its variables.

    Args:
        backend: ``dist_params.backend``; without CUDA it is gloo in any case.
        port: Of no use here: whoever started the processes chose one.
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
    """Close the connections in order. BasicSR leaves that to the interpreter's end, where gloo's threads abort now and then.

    Not after an uncaught error: the others may be gone, and nccl would wait for them.
    """
    if is_distributed() and getattr(sys, "last_type", None) is None:
        torch.distributed.destroy_process_group()


def init_slurm_process_group(
    backend: str = "nccl", port: int | None = None, timeout_minutes: float = _TIMEOUT_MINUTES
) -> None:
    """Stand in for ``dist_util._init_dist_slurm``: set torchrun's variables from slurm's, then as under torchrun."""
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
    """Whether there are several processes to reduce gradients over."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


@torch.no_grad()
def take_rank_0s_values(model: Any) -> None:
    """Give the networks of a model, EMA copies included, rank 0's weights and buffers on every rank.

    Args:
        model: Any model of BasicSR's: every network and other module that it holds is taken.

    Raises:
        OptionError: The ranks hold different networks, so that nothing could be copied.
    """
    if not is_distributed():
        return
    values: dict[str, torch.Tensor] = {}
    for name, module in sorted(vars(model).items()):
        if isinstance(module, nn.Module):
            named = (*module.named_parameters(), *module.named_buffers())
            values.update((f"{name}.{key}", value) for key, value in named)
    # Once each: a learning pass holds the network.
    values = dict({id(value): (key, value) for key, value in values.items()}.values())
    layout = [(key, tuple(value.shape), str(value.dtype)) for key, value in values.items()]
    layouts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(layouts, layout)
    for rank, other in enumerate(layouts):
        if other != layouts[0]:
            differing = sorted({key for key, *_ in set(other) ^ set(layouts[0])})
            raise OptionError(
                f"rank {rank} has other networks than rank 0 (first difference: {(differing or ['their order'])[0]}): "
                "start all processes from the same option file and the same version."
            )
    for value in values.values():
        # Of a contiguous copy: channels-last weights keep their layout, and a collective takes no other.
        whole = value.detach().contiguous()
        torch.distributed.broadcast(whole, 0)
        value.detach().copy_(whole)


def of_rank_0(value: Any) -> Any:
    """Rank 0's value of something that can be pickled, on all ranks."""
    values = [value]
    if is_distributed():
        torch.distributed.broadcast_object_list(values, 0)
    return values[0]


def wrap_for_processes(module: nn.Module, device: torch.device, find_unused_parameters: bool = False) -> nn.Module:
    """Wrap a module so that its gradients are reduced over the processes; alone, or frozen, it stays as it is."""
    if not is_distributed() or not any(value.requires_grad for value in module.parameters()):
        return module
    device_ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=device_ids, find_unused_parameters=find_unused_parameters)


def synchronise_batchnorm(net: nn.Module, opt: Mapping[str, Any], device: torch.device) -> nn.Module:
    """Turn BatchNorm into SyncBatchNorm where ``train.sync_bn`` asks for it: statistics over all processes' samples.

    Raises:
        OptionError: On a CPU, where torch has no SyncBatchNorm.
    """
    if not (opt.get("train") or {}).get("sync_bn") or not opt.get("is_train"):
        return net
    if device.type != "cuda":
        raise OptionError("train.sync_bn: torch has SyncBatchNorm on CUDA only; leave it out on a CPU.")
    return nn.SyncBatchNorm.convert_sync_batchnorm(net) if opt["dist"] else net


def model_to_device(model: Any, net: nn.Module) -> nn.Module:
    """Stand in for ``BaseModel.model_to_device``, for BasicSR's own models."""
    net = synchronise_batchnorm(net, model.opt, model.device).to(model.device)
    if model.opt["dist"]:
        return wrap_for_processes(net, model.device, model.opt.get("find_unused_parameters", False))
    return nn.DataParallel(net) if model.opt["num_gpu"] > 1 else net
