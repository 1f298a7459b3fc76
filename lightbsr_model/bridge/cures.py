"""Switch on what a run needs to cross the hurdles of BasicSR 1.4.2 on today's stack.

Called by our launcher and, in an activated environment, when ``basicsr`` is imported; importing ``lightbsr_model``
alone changes nothing of BasicSR but its registries.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import basicsr.test
import basicsr.train
from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel
from basicsr.utils import dist_util, get_root_logger, options

from lightbsr_model.bridge.epochs import count_whole_batches
from lightbsr_model.bridge.processes import init_process_group, model_to_device, start_workers_by_fork
from lightbsr_model.bridge.resume import load_resume_state

_applied = False


def apply_cures() -> None:
    """Replace the functions of BasicSR that stand in the way; once a process."""
    global _applied
    if _applied:
        return
    _applied = True
    dist_util._init_dist_pytorch = init_process_group
    BaseModel.model_to_device = model_to_device
    SRModel.test = _test_unwrapped(SRModel.test)
    parse_options = _prepare_run(options.parse_options)
    for module in (options, basicsr.train, basicsr.test):
        module.parse_options = parse_options
    _cure_training_script(basicsr.train)


def _cure_training_script(module: Any) -> None:
    module.load_resume_state = load_resume_state
    module.create_train_val_dataloader = count_whole_batches(module.create_train_val_dataloader)


def _prepare_run(parse_options: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``parse_options``, the first word of every run.

    The stock ``train.py`` runs as ``__main__`` and holds functions of its own there, which only now exist.
    """

    @functools.wraps(parse_options)
    def wrapper(root_path: str, is_train: bool = True) -> Any:
        main = sys.modules["__main__"]
        if hasattr(main, "load_resume_state") and hasattr(main, "train_pipeline"):
            _cure_training_script(main)
        # torch.distributed.launch passes --local-rank, which BasicSR's parser does not know.
        sys.argv[1:] = [word.replace("--local-rank", "--local_rank", 1) for word in sys.argv[1:]]
        start_workers_by_fork()
        opt, args = parse_options(root_path, is_train=is_train)
        _one_gpu_without_launcher(opt)
        return opt, args

    return wrapper


def _one_gpu_without_launcher(opt: dict[str, Any]) -> None:
    """Our models do not run under DataParallel, which ``num_gpu: auto`` means on a machine with several GPUs."""
    if opt["dist"] or opt["num_gpu"] in (0, 1) or not str(opt.get("model_type")).startswith("LightBSR"):
        return
    found, opt["num_gpu"] = opt["num_gpu"], 1
    get_root_logger().warning(
        f"One of {found} GPUs is used. For all of them: torchrun --nproc_per_node={found} -m lightbsr train -opt FILE "
        "--launcher pytorch"
    )


def _test_unwrapped(test: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wrap ``SRModel.test``: validation runs on rank 0 alone, where DistributedDataParallel would wait for the others.

    A wrapped network with buffers broadcasts them at its first forward in evaluation mode (sr_model.py:128).
    """

    @functools.wraps(test)
    def wrapper(model: Any) -> None:
        wrapped = model.net_g
        model.net_g = model.get_bare_model(wrapped)
        try:
            test(model)
        finally:
            model.net_g = wrapped

    return wrapper
