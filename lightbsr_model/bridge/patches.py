"""Patch BasicSR 1.4.2 at run time.

Called by our launcher and, in an activated environment, when ``basicsr`` is imported; importing ``lightbsr_model``
alone changes only BasicSR's registries. Each patch is documented where it is defined.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import basicsr.test
import basicsr.train
import torch
from basicsr.data.prefetch_dataloader import CUDAPrefetcher, PrefetchGenerator
from basicsr.models.base_model import BaseModel
from basicsr.models.lr_scheduler import MultiStepRestartLR
from basicsr.models.sr_model import SRModel
from basicsr.models.swinir_model import SwinIRModel
from basicsr.utils import dist_util, get_root_logger, options
from basicsr.utils.file_client import LmdbBackend

from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge import (
    checkpoint_saving,
    cuda_requests,
    lmdb_backend,
    loading,
    optimiser_steps,
    option_parsing,
    resume,
    resumed_options,
    schedules,
    side_products,
    validation,
)
from lightbsr_model.bridge.progress import first_page
from lightbsr_model.bridge.run import Run
from lightbsr_model.bridge.supervision import Supervisor
from lightbsr_model.bridge.training_data import create_loaders, hand_errors_on, keep_batches_in_use
from lightbsr_model.runtime import ema, processes
from lightbsr_model.training import batch_degrader
from lightbsr_model.training.adaptation import adapted

_applied = False


def apply_patches() -> None:
    """Replace functions of BasicSR; once per process."""
    global _applied
    if _applied:
        return
    _applied = True
    dist_util._init_dist_pytorch = processes.init_process_group
    dist_util._init_dist_slurm = processes.init_slurm_process_group
    BaseModel.model_to_device = processes.model_to_device
    BaseModel.model_ema = ema.model_ema
    BaseModel.get_optimizer = optimiser_steps.get_optimizer
    BaseModel.load_network = loading.load_network
    BaseModel.save_network = checkpoint_saving.save_network
    BaseModel.save_training_state = checkpoint_saving.save_training_state
    for model in (SRModel, SwinIRModel):
        model.test = _test_unwrapped(model.test)
    cuda_requests.stay_on_their_device()
    SRModel.feed_data = batch_degrader.feed_data
    SRModel.dist_validation = validation.dist_validation
    MultiStepRestartLR.get_lr = schedules.multistep_rates
    LmdbBackend.__init__ = lmdb_backend.open_clients
    LmdbBackend.get = lmdb_backend.get_record
    hand_errors_on(PrefetchGenerator)
    side_products.guard_images()
    keep_batches_in_use(CUDAPrefetcher)
    for module in (options, basicsr.train, basicsr.test):
        module.parse_options = _parse_options
    _patch_training_script(basicsr.train)


def _parse_options(root_path: str, is_train: bool = True) -> Any:
    """Parse the options, and patch a stock script first.

    The stock ``train.py`` runs as ``__main__`` and defines functions there, which exist only by now.
    """
    main = sys.modules["__main__"]
    if hasattr(main, "load_resume_state") and hasattr(main, "train_pipeline"):
        _patch_training_script(main)
    opt, args = option_parsing.parse_options(root_path, is_train)
    side_products.begin_run(opt)
    return opt, args


def _patch_training_script(module: Any) -> None:
    """Replace the functions that a training script, BasicSR's own or a copy of it, calls before its loop."""
    run = Run()
    build_model = module.build_model
    init_tb_loggers = getattr(module, "init_tb_loggers", lambda opt: None)
    copy_opt_file = getattr(module, "copy_opt_file", options.copy_opt_file)

    def load_state(opt: dict[str, Any]) -> Any:
        run.reset()
        run.given_options = opt.get("given_options")
        run.resume_state = resume.load_resume_state(opt)
        return run.resume_state

    def copy_option_file(option_file: str, folder: str) -> None:
        option_parsing.copy_whole_file(copy_opt_file, run.given_options, option_file, folder)

    def open_tb_loggers(opt: dict[str, Any]) -> Any:
        run.tb_logger = side_products.open_guarded(init_tb_loggers, opt) if opt["rank"] == 0 else None
        return run.tb_logger

    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> Any:
        return create_loaders(opt, logger, run)

    def build_supervised_model(opt: dict[str, Any]) -> Any:
        if opt.get("deterministic"):
            torch.backends.cudnn.benchmark = False
        try:
            model = build_model(opt)
        except OptionError as error:
            changes = resumed_options.changed_networks(run.resume_state, opt) if run.resume_state else []
            if not changes:
                raise
            raise OptionError(
                f"Changed since the state was saved: {', '.join(changes)}. Sizes cannot be changed when resuming: "
                f"change them back, or start a new run. {error}"
            ) from error
        processes.take_rank_0s_values(model)
        get_root_logger().info(first_page(opt, model.device))
        Supervisor(run, model).attach()
        return model

    module.load_resume_state = load_state
    module.copy_opt_file = copy_option_file
    module.init_tb_loggers = open_tb_loggers
    module.create_train_val_dataloader = create_train_val_dataloader
    module.build_model = build_supervised_model


def _test_unwrapped(test: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wrap ``SRModel.test``: the ranks validate different images, and DistributedDataParallel would wait for the others.

    A wrapped network with buffers broadcasts them in its first forward pass in evaluation mode (sr_model.py:128).
    """

    @functools.wraps(test)
    def wrapper(model: Any) -> None:
        name = "net_g_ema" if hasattr(model, "net_g_ema") else "net_g"
        own = {each: getattr(model, each) for each in {name, "net_g"}}
        model.net_g = model.get_bare_model(model.net_g)
        setattr(model, name, adapted(model, getattr(model, name)))
        try:
            test(model)
        finally:
            vars(model).update(own)

    return wrapper
