"""What all methods share: a training in phases, in BasicSR's own loop."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, cast

import torch
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from lightbsr_arch.errors import OptionError
from lightbsr_model.runtime.ema import model_ema
from lightbsr_model.runtime.processes import synchronise_batchnorm, wrap_for_processes
from lightbsr_model.training.adaptation import adapted
from lightbsr_model.training.batch import Batch
from lightbsr_model.training.batch_degrader import BatchDegrader, to_device
from lightbsr_model.training.compilation import compile_pass
from lightbsr_model.training.mixed_precision import MixedPrecision
from lightbsr_model.training.phases import LearningPass, Phase
from lightbsr_model.training.readout import DegradationReadout, build_readout, true_quantities
from lightbsr_model.training.schedule import TWO_PHASE_SCHEDULES
from lightbsr_model.training.train_options import PhasedOptions


class CheckedOptions(Protocol):
    """An option file whose values were checked one by one."""

    def good(self, *key: str) -> Any:
        """The value at a path of keys; None where it is missing, ~, or has a problem."""

    def is_good(self, *key: str) -> bool:
        """Whether no problem was found with it."""


class PhasedModel(SRModel):
    """An SRModel whose training has phases, each with weights that learn, a learning pass and losses of its own.

    Validation, metrics, tensorboard and saving are BasicSR's. A subclass says what its phases are
    (:meth:`build_phases`).

    Options, under ``train``:
        ema_decay (float): As in BasicSR; the copy's buffers (BatchNorm statistics) follow too.
        scheduler (dict): ``type: TwoPhaseCosineLR``, ``TwoPhaseStepLR`` or one of BasicSR's.
        pixel_opt (dict): Loss between restored and GT images.
        degradation_opt (dict): DegradationRegressionLoss: the true degradation, read off the representation by a linear map
            that learns too, as a small loss in every phase. Default: none.
        amp (str): ``off`` (default), ``bf16`` or ``fp16``: what the networks compute in while they learn; losses, weights
            and optimiser stay in fp32.
        channels_last (bool): Keep weights and features in channels-last layout. Default: False.
        compile (bool): Compile the learning pass of each phase (torch.compile). Default: False.

    Reads from a batch ``gt_views`` with ``kernel`` and ``noise_level`` to degrade on the device, or a finished ``lq``
    with ``gt`` and ``views``, see :class:`~lightbsr_model.training.batch.Batch`.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": PhasedOptions}
    networks: ClassVar[tuple[str, ...]] = ("network_g",)
    """The sections of its networks."""
    optional_networks: ClassVar[tuple[str, ...]] = ()
    """The sections of networks that not all options need."""
    net_g: nn.Module
    batch: Batch
    _reading: Tensor

    def __init__(self, opt: dict[str, Any]) -> None:
        self._phase: Phase | None = None
        self._learning_pass: nn.Module | None = None
        self.readout: DegradationReadout | None = None
        super().__init__(opt)

    # ---- to be said by a subclass

    def build_phases(self) -> Sequence[Phase]:
        """The phases in their order; the last takes the iterations that are left."""
        raise NotImplementedError

    def prepare_start(self) -> None:
        """Whatever must happen to ``net_g`` before training starts, and before its EMA copy is made."""

    def learning_beside(self) -> Sequence[nn.Parameter]:
        """Weights outside ``net_g`` that the same losses teach, by the same optimiser: one step, one scale of fp16."""
        return ()

    @classmethod
    def check_options(cls, check: CheckedOptions) -> Iterator[tuple[tuple[str, ...], str]]:
        """What the check of an option file says before a start: keys, and what is wrong with their values together."""
        yield from ()

    def own_state(self) -> dict[str, Any]:
        """What a training state holds of this model besides its networks: plain values and tensors."""
        return {}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`own_state` gave when the training state was saved; empty for a state without it."""

    # ---- set-up

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Move a network; it is the learning pass that is wrapped for several processes, not the network."""
        net = synchronise_batchnorm(net, self.opt, self.device).to(self.device)
        if self.opt.get("train", {}).get("channels_last"):
            # Features follow the layout of the weights.
            net = cast(Any, net).to(memory_format=torch.channels_last)
        return net

    def init_training_settings(self) -> None:
        """Set up losses, optimiser and scheduler as SRModel does, after the options of the phases are checked."""
        self.degrader = BatchDegrader(self.opt, self.device)
        self.precision = MixedPrecision(self.opt["train"].get("amp"), self.device)
        self.grad_scaler = self.precision.scaler
        self.prepare_start()
        if self.opt["train"].get("degradation_opt"):
            self.cri_degradation = self.required_loss("degradation_opt")
            self.readout = build_readout(self.net_g, self.degrader.degradation)
        self.phases = tuple(self.build_phases())
        total_iter, before_last = int(self.opt["train"]["total_iter"]), self._length_before_last()
        if before_last > total_iter:
            names = ", ".join(phase.name for phase in self.phases[:-1])
            raise OptionError(
                "train.total_iter",
                f"the phases {names} take {before_last} iterations, got {total_iter}: raise it, or shorten the phases.",
            )
        self._trainable = {name for name, value in self.net_g.named_parameters() if value.requires_grad}
        super().init_training_settings()

    def phase_length(self, key: str) -> int:
        """The length of a phase in iterations, ``train.<key>``.

        Raises:
            OptionError: It is missing, or not an integer from 0 to ``total_iter``.
        """
        length, total_iter = self.opt["train"].get(key), int(self.opt["train"]["total_iter"])
        if not isinstance(length, int) or isinstance(length, bool) or not 0 <= length <= total_iter:
            raise OptionError(
                f"train.{key}",
                f"expected the phase's length in iterations, 0 to total_iter = {total_iter}, got {length!r}.",
            )
        return length

    def required_loss(self, key: str) -> nn.Module:
        """Build the loss of ``train.<key>``.

        Raises:
            OptionError: The section is missing.
        """
        loss_opt = self.opt["train"].get(key)
        if not loss_opt:
            raise OptionError(
                f"train.{key}", f"missing; {type(self).__name__} learns by it (see options/ for its recipe)."
            )
        return build_loss(loss_opt).to(self.device)

    def setup_optimizers(self) -> None:
        """One optimiser over all that ever learns. What rests has no gradient and is left alone by it."""
        optim_opt = dict(self.opt["train"]["optim_g"])
        optim_type = optim_opt.pop("type")
        params = [value for value in self.net_g.parameters() if value.requires_grad]
        params += [] if self.readout is None else list(self.readout.parameters())
        params += self.learning_beside()
        self.optimizer_g = self.get_optimizer(optim_type, params, **optim_opt)
        self.optimizers.append(self.optimizer_g)

    def setup_schedulers(self) -> None:
        """Add the two-phase schedules, which take their lengths from ``train``, to BasicSR's."""
        train_opt = self.opt["train"]
        scheduler_opt = dict(train_opt["scheduler"])
        schedule = TWO_PHASE_SCHEDULES.get(scheduler_opt.pop("type"))
        if schedule is None:
            super().setup_schedulers()
            return
        lengths = {"encoder_iter": self._length_before_last(), "total_iter": int(train_opt["total_iter"])}
        self.schedulers += [schedule(optimizer, **lengths, **scheduler_opt) for optimizer in self.optimizers]

    # ---- the step

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """As in BasicSR; the loop calls it first in every iteration."""
        self.degrader.begin(current_iter)
        super().update_learning_rate(current_iter, warmup_iter)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch to the device, and degrade it there if the loader has not.

        Args:
            data: What :class:`~lightbsr_model.training.batch_degrader.BatchDegrader` or
                :class:`~lightbsr_model.training.batch.Batch` takes.
        """
        tensors = to_device(data, self.device)
        is_finished = "lq" in tensors or "frames" in tensors or "gt_views" not in tensors
        if is_finished and self.is_train:
            self.degrader.begin_part()
        self.batch = Batch.of(tensors) if is_finished else self.degrader(tensors, self.arrange_views)
        # By these names SRModel's validation knows them.
        self.lq = self.batch.lq
        if self.batch.gt is not None:
            self.gt = self.batch.gt
        elif hasattr(self, "gt"):
            # SRModel's validation would compare with the last training GT (sr_model.py:147).
            del self.gt

    def arrange_views(self, gt_views: Tensor) -> Tensor:
        """What becomes of the (N, V, 3, H, W) GT views of a training batch before they are degraded."""
        return gt_views

    def _length_before_last(self) -> int:
        return sum(phase.iterations or 0 for phase in self.phases[:-1])

    def phase_of(self, current_iter: int) -> Phase:
        """The phase that an iteration, counted from 1, lies in."""
        end = 0
        for phase in self.phases[:-1]:
            end += phase.iterations or 0
            if current_iter <= end:
                return phase
        return self.phases[-1]

    def enter_phase(self, phase: Phase) -> None:
        """Let learn what a phase teaches, and wrap its learning pass; does nothing within a phase."""
        if phase is self._phase:
            return
        learning = phase.parameters()
        for name, value in self.net_g.named_parameters():
            value.requires_grad_(name in self._trainable and value in learning)
        # The old wrapper goes first: its hooks sit on the same parameters.
        self._learning_pass = None
        learning_pass: nn.Module = LearningPass(self.net_g, phase.call, self.readout)
        if self.opt["train"].get("compile"):
            learning_pass = compile_pass(learning_pass)
        self._learning_pass = wrap_for_processes(
            learning_pass, self.device, self.opt.get("find_unused_parameters", False)
        )
        self._phase = phase
        get_root_logger().info(f"The {phase.name} phase begins: {sum(v.numel() for v in learning):,d} parameters.")

    def learning_pass(self, *inputs: Any) -> Any:
        """Run the current phase's pass, in its precision, over the processes where there are several."""
        if self._learning_pass is None:
            raise RuntimeError("enter_phase comes before the first learning pass.")
        with self.precision.autocast():
            output = self._learning_pass(*inputs)
        if self.readout is not None:
            output, self._reading = output
        return output

    def pixel_loss(self, output: Tensor) -> dict[str, Tensor]:
        """``l_pix`` of restored images, which are kept as the model's output."""
        self.output = output.float()
        return {"l_pix": self.cri_pix(self.output, self.gt)}

    def optimize_parameters(self, current_iter: int) -> None:
        """One optimiser step on the batch that was fed.

        Args:
            current_iter: From 1 up.
        """
        phase = self.phase_of(current_iter)
        self.enter_phase(phase)
        self.optimizer_g.zero_grad(set_to_none=True)
        losses = {**phase.losses()}
        if self.readout is not None:
            target = self.readout.normalised(true_quantities(self.degrader.degradation, self.batch.params))
            losses["l_degradation"] = self.cri_degradation(self._reading.float(), target)
        self.precision.backward(torch.stack(list(losses.values())).sum())
        self.optimizer_g.step()
        # Tensors: reading one would make the host wait for the device in every iteration.
        self.log_dict = OrderedDict((name, loss.detach()) for name, loss in losses.items())
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def get_current_log(self) -> OrderedDict[str, float]:
        """The losses as numbers, averaged over the processes; BasicSR asks for them on all ranks when it logs."""
        return self.reduce_loss_dict(OrderedDict((name, torch.as_tensor(loss)) for name, loss in self.log_dict.items()))

    def model_ema(self, decay: float | Tensor = 0.999) -> None:
        """Move the EMA copy's parameters, and copy its buffers."""
        model_ema(self, decay)

    # ---- validation

    def restore_batch(self, net: Any) -> Tensor:
        """Super-resolve the batch that was fed, by ``net_g`` or its EMA copy."""
        return net(self.lq)

    def represent_batch(self, net: Any) -> Tensor:
        """The network's representation of the degradation of the batch that was fed, one vector a sample."""
        return net.represent(self.lq)

    @torch.no_grad()
    def test(self) -> None:
        """Restore the batch in evaluation mode, by the EMA copy if there is one; never through a process wrapper."""
        net = getattr(self, "net_g_ema", self.net_g)
        was_training = net.training
        net.eval()
        self.output = self.restore_batch(adapted(self, net))
        net.train(was_training)
