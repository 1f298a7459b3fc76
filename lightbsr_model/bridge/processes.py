"""Several processes on any device: what BasicSR assumes of CUDA, crossed from outside.

- ``utils/dist_util.py:24``: ``_init_dist_pytorch`` divides by the number of GPUs, and ``utils/options.py:103`` keeps
  ``dist_params`` from it, so that the backend is nccl always. Here: gloo without CUDA; the GPU of LOCAL_RANK.
- ``utils/dist_util.py:12`` sets the start method to spawn, which costs 20 seconds an epoch. Here: fork, where it exists.
- ``models/base_model.py:98`` wraps networks for a CUDA device, and DistributedDataParallel refuses a network in which
  nothing learns. Here: any device, and such a network is left as it is.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.multiprocessing
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def init_process_group(backend: str = "nccl", **kwargs: Any) -> None:
    """Stand in for ``basicsr.utils.dist_util._init_dist_pytorch``, under torchrun or anything that sets its variables."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", os.environ["RANK"])) % torch.cuda.device_count())
    else:
        backend = "gloo"
    torch.distributed.init_process_group(backend=backend, **kwargs)


def start_workers_by_fork() -> None:
    """Choose the start method before BasicSR does, unless the program has chosen one."""
    if torch.multiprocessing.get_start_method(allow_none=True) is None:
        methods = torch.multiprocessing.get_all_start_methods()
        torch.multiprocessing.set_start_method("fork" if "fork" in methods else "spawn")


def is_distributed() -> bool:
    """Whether there are several processes to reduce gradients over."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def wrap_for_processes(module: nn.Module, device: torch.device, find_unused_parameters: bool = False) -> nn.Module:
    """Wrap a module so that its gradients are reduced over the processes; alone, or frozen, it stays as it is."""
    if not is_distributed() or not any(value.requires_grad for value in module.parameters()):
        return module
    device_ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=device_ids, find_unused_parameters=find_unused_parameters)


def broadcast_state(module: nn.Module) -> None:
    """Give every process rank 0's parameters and buffers: BasicSR seeds the ranks differently."""
    if is_distributed():
        for value in module.state_dict().values():
            torch.distributed.broadcast(value, 0)


def model_to_device(model: Any, net: nn.Module) -> nn.Module:
    """Stand in for ``BaseModel.model_to_device``, for BasicSR's own models."""
    net = net.to(model.device)
    if model.opt["dist"]:
        return wrap_for_processes(net, model.device, model.opt.get("find_unused_parameters", False))
    return nn.DataParallel(net) if model.opt["num_gpu"] > 1 else net
