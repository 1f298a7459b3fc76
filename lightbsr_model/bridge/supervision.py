"""Supervises the training of one model: every call that BasicSR's loop makes on the model goes through here.

The loop itself stays BasicSR's (``basicsr/train.py:163``). It calls, in this order and for every iteration,
``update_learning_rate``, ``feed_data``, ``optimize_parameters``, then ``save`` and ``validation`` when due.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import nn

from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge.optimiser_steps import StepControl
from lightbsr_model.bridge.progress import Progress, add_picture, add_rates
from lightbsr_model.bridge.resumed_options import take_options_from_file
from lightbsr_model.bridge.run import Run
from lightbsr_model.bridge.side_products import validation_of_a_training
from lightbsr_model.bridge.skipped_iterations import Iteration, SkippedIterations
from lightbsr_model.bridge.stopping import StopRequest, ValidationInterrupted
from lightbsr_model.bridge.training_data import batch_names
from lightbsr_model.runtime.random_streams import derive_seed, seed_everything
from lightbsr_model.training.diffusion_augmentation import diffused_discriminators
from lightbsr_model.training.readout import resume_readout
from lightbsr_model.training.training_pool import pool_of


class Supervisor:
    """Supervises the training of one model.

    Options, under ``train``, for any model:
        accum_iter (int): Number of parts that a batch is split into for gradient accumulation, to save memory. Default: 1.
        grad_clip (float): Maximum norm of an optimiser's gradients. Default: none.
        max_nonfinite (int): Number of consecutive iterations with a non-finite loss or gradient after which the run stops.
            Each such iteration is skipped. Default: 3.

    Args:
        run: The training run.
        model: Any model of BasicSR's.
    """

    def __init__(self, run: Run, model: Any) -> None:
        self.run, self.model, self.opt = run, model, model.opt
        train_opt = self.opt["train"]
        self.accum_iter = int(train_opt.get("accum_iter") or 1)
        self.total_iter = int(train_opt["total_iter"])
        self.steps = StepControl(model.optimizers, train_opt.get("grad_clip"), getattr(model, "grad_scaler", None))
        self.stop = StopRequest()
        self.progress = Progress(self.opt, self.total_iter)
        self.iterations = SkippedIterations(int(train_opt.get("max_nonfinite") or 3), self.steps.scaler)
        self._skipped_images = 0
        self._batch: dict[str, Any] = {}
        self._validated: set[tuple[str, int]] = set()
        self._validating = False
        self._visuals: Any = None
        model.completed_iter = 0
        model.diffusions = diffused_discriminators(model)

    def attach(self) -> None:
        """Insert the supervision between BasicSR's loop and the model."""
        model = self.model
        self._feed_model = model.feed_data
        for name in (
            "update_learning_rate",
            "feed_data",
            "optimize_parameters",
            "validation",
            "resume_training",
            "get_current_visuals",
            "get_current_log",
        ):
            setattr(model, name, self._supervised(getattr(self, f"_{name}"), getattr(model, name)))
        self.stop.install()

    @staticmethod
    def _supervised(method: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return method(original, *args, **kwargs)

        return call

    # ---- one iteration

    def _update_learning_rate(self, original: Callable[..., Any], current_iter: int, warmup_iter: int = -1) -> None:
        self._validate_before_the_first_iteration()
        self._validate_what_a_kill_left_out()
        if self.stop.agreed(current_iter, self.model.device):
            self._save_and_exit()
        seed_everything(derive_seed(self.opt["manual_seed"], "iteration", current_iter, self.opt["rank"]))
        original(current_iter, warmup_iter=warmup_iter)

    def _feed_data(self, original: Callable[..., Any], data: dict[str, Any]) -> None:
        if self._validating:
            if self.stop.received is not None:
                raise ValidationInterrupted
            if "gt" not in data and hasattr(self.model, "gt"):
                del self.model.gt  # the last training GT, which sr_model.py:147 would compare with
            original(data)
        else:
            self._batch = data

    def _optimize_parameters(self, original: Callable[..., Any], current_iter: int) -> None:
        parts = _split(self._batch, self.accum_iter)
        before = self._changed_by_a_pass()
        self.steps.begin()
        logs = []
        with _recorded(self.model, "model_ema") as averagings, _losses_unread(self.model):
            for number, part in enumerate(parts):
                self.steps.begin_part(number, len(parts))
                for diffusion in self.model.diffusions:
                    diffusion.begin(current_iter, number)
                self._feed_model(part)
                original(current_iter)
                logs.append(self.model.log_dict)
        self.model.log_dict = OrderedDict((key, sum(log[key] for log in logs) / len(logs)) for key in logs[0])
        for diffusion in self.model.diffusions:
            self.model.log_dict.update(diffusion.end(current_iter, _length(self._batch)))
        self.iterations.unchecked.append(
            Iteration(
                current_iter,
                self.model.log_dict,
                self.steps.skipped,
                self.model.get_current_learning_rate(),
                batch_names(self._batch),
            )
        )
        self._take_back(before)
        if averagings:
            self._average(*averagings[-1])
        self.model.completed_iter = current_iter
        is_due = current_iter % self.opt["logger"]["print_freq"] == 0 or current_iter == self.total_iter
        # If only the device knows, reading it needs a host sync: done only when the losses are read anyway.
        if is_due or not torch.is_tensor(self.steps.skipped):
            figures = self.iterations.check()
            self.progress.show(current_iter, {**figures, "lr": self.model.get_current_learning_rate()[0]})
        if is_due:
            add_rates(self.run.tb_logger, self.model, current_iter)
            self._tell_of_skipped_images()

    def _get_current_log(self, original: Callable[..., Any]) -> Any:
        """The losses as numbers, averaged over the processes; BasicSR's loop asks for them on all ranks when it logs."""
        log = original()
        return self.model.reduce_loss_dict(log) if any(torch.is_tensor(value) for value in log.values()) else log

    def _tell_of_skipped_images(self) -> None:
        skipped = self.run.train_set.skipped
        if skipped > self._skipped_images:
            self._skipped_images = skipped
            get_root_logger().warning(f"{skipped} images skipped so far (datasets.train.skip_bad_images).")

    def _changed_by_a_pass(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Copies of what a forward pass changes and no optimiser holds: BatchNorm statistics, a queue, a key encoder."""
        networks = [
            value
            for name, value in vars(self.model).items()
            if name.startswith("net_") and not name.endswith("_ema") and isinstance(value, nn.Module)
        ]
        learning = {
            id(value)
            for optimizer in self.model.optimizers
            for group in optimizer.param_groups
            for value in group["params"]
        }
        values = [value for network in networks for value in (*network.buffers(), *network.parameters())]
        return [(value, value.detach().clone()) for value in values if id(value) not in learning]

    def _average(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Update the EMA copy unless the iteration is skipped; if only the device knows, it decides."""
        skipped = self.iterations.unchecked[-1].skipped
        if torch.is_tensor(skipped):
            decay = kwargs.get("decay", args[0] if args else 0.999)
            self.model.model_ema(torch.where(skipped, 1.0, torch.full_like(skipped, decay, dtype=torch.float64)))
        elif not skipped:
            self.model.model_ema(*args, **kwargs)

    def _take_back(self, before: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Restore the values that a pass changed, if the iteration is skipped."""
        skipped = self.steps.skipped
        if not torch.is_tensor(skipped) and not skipped:
            if all(math.isfinite(value) for value in self.model.log_dict.values()):
                return
            self.iterations.unchecked[-1].skipped = skipped = True
        with torch.no_grad():
            for changed, value in before:
                changed.copy_(torch.where(skipped, value, changed) if torch.is_tensor(skipped) else value)

    # ---- saving and stopping

    def _save_and_exit(self) -> None:
        done = self.model.completed_iter
        if self.iterations.unchecked:
            self.iterations.check()
        if done and not self._is_saved(done):
            self.model.save(self.run.sampler.epoch, done)
        self.progress.close()
        get_root_logger().info(
            f"Stopped by {self.stop.received or 'a signal to another process'} after iteration {done}, saved. "
            "The same command with --auto_resume continues from here."
        )
        raise SystemExit(0)

    def _is_saved(self, iteration: int) -> bool:
        return iteration % self.opt["logger"]["save_checkpoint_freq"] == 0 or iteration == (
            self.run.resume_state or {}
        ).get("iter")

    # ---- validation and resuming

    def _validation(
        self, original: Callable[..., Any], loader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False
    ) -> None:
        done = self.model.completed_iter
        name = loader.dataset.opt["name"]
        if (name, done) in self._validated:
            return
        self._validated.add((name, done))
        self._validating, self._visuals = True, None
        folder = self.opt["path"]["visualization"]
        if len(self.run.val_loaders) > 1:
            # Images with equal names in two sets would overwrite each other (sr_model.py:172).
            self.opt["path"]["visualization"] = str(Path(folder) / name)
        try:
            with validation_of_a_training():
                original(loader, done, tb_logger, save_img)
        except ValidationInterrupted:
            # It takes longer than an iteration. A resumed run repeats it.
            get_root_logger().info(f"Validation of {name} at iteration {done} interrupted.")
            self._validated.discard((name, done))
            self.stop.ask_next_time()
            return
        finally:
            self._validating = False
            self.opt["path"]["visualization"] = folder
        if self._visuals is not None:
            add_picture(tb_logger, name, self._visuals, done)

    def _get_current_visuals(self, original: Callable[..., Any]) -> Any:
        visuals = original()
        if self._visuals is None and self._validating:
            self._visuals = {key: value.clone() for key, value in visuals.items()}
        return visuals

    def _resume_training(self, original: Callable[..., Any], state: dict[str, Any]) -> None:
        resume_readout(getattr(self.model, "readout", None), state.get("readout"))
        for diffusion in self.model.diffusions:
            if state.get(diffusion.label):
                diffusion.load_state_dict(state[diffusion.label])

        # BasicSR's models make their degrader with the first batch.
        self.model.saved_pool = pool_of(state.get("pools"), self.opt["rank"])
        if hasattr(self.model, "degrader"):
            self.model.degrader.resume(self.model.saved_pool)
        original(take_options_from_file(self.model, state))
        if hasattr(self.model, "load_own_state"):
            self.model.load_own_state(state.get("model") or {})
        self.model.completed_iter = state["iter"]
        if self.steps.scaler is not None and state.get("grad_scaler"):
            self.steps.scaler.load_state_dict(state["grad_scaler"])
        if state.get("best_metric_results"):
            self.model.best_metric_results = state["best_metric_results"]
        self.progress.start_at(state["iter"])

    def _validate_before_the_first_iteration(self) -> None:
        val_opt = self.opt.get("val")
        if val_opt and val_opt.get("at_start") and self.model.completed_iter == 0:
            self._validate_all(0)

    def _validate_all(self, iteration: int) -> None:
        for loader in self.run.val_loaders:
            self.model.validation(loader, iteration, self.run.tb_logger, self.opt["val"].get("save_img", False))

    def _validate_what_a_kill_left_out(self) -> None:
        """BasicSR saves before it validates: a resumed run first repeats the validation of the iteration it starts from."""
        state, val_opt = self.run.resume_state, self.opt.get("val")
        if state is None or not val_opt or self.model.completed_iter != state["iter"]:
            return
        if state["iter"] % val_opt["val_freq"] == 0:
            self._validate_all(state["iter"])


@contextmanager
def _recorded(owner: Any, name: str) -> Iterator[list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """A context in which a method of an object only records its arguments."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    setattr(owner, name, lambda *args, **kwargs: calls.append((args, kwargs)))
    try:
        yield calls
    finally:
        delattr(owner, name)


@contextmanager
def _losses_unread(model: Any) -> Iterator[None]:
    """A context in which BasicSR's models keep their losses on the device.

    ``models/base_model.py:378`` reads every loss in every iteration, which makes the host wait for the device, and
    averages them over the processes before; both are for the log alone (:meth:`Supervisor._get_current_log`).
    """
    model.reduce_loss_dict = lambda losses: OrderedDict(
        (name, loss.detach() if torch.is_tensor(loss) else loss) for name, loss in losses.items()
    )
    try:
        yield
    finally:
        del model.reduce_loss_dict


def _length(batch: dict[str, Any]) -> int:
    return next(len(value) for value in batch.values() if torch.is_tensor(value))


def _split(batch: dict[str, Any], parts: int) -> list[dict[str, Any]]:
    """Split a batch into equal parts.

    Raises:
        OptionError: Its number of samples is not a multiple of ``parts``.
    """
    if parts == 1:
        return [batch]
    size = _length(batch)
    if size % parts:
        raise OptionError(f"train.accum_iter: a batch of {size} cannot be split into {parts} equal parts.")
    step = size // parts
    return [{key: value[start : start + step] for key, value in batch.items()} for start in range(0, size, step)]
