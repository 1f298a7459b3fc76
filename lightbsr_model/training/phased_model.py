"""What all methods share: an encoder phase, then a joint phase, in BasicSR's own loop."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from lightbsr_arch import LightBSRTeacher
from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation import Degradation, degrade, get_degradation
from lightbsr_model.runtime.ema import model_ema
from lightbsr_model.runtime.processes import synchronise_batchnorm, wrap_for_processes
from lightbsr_model.runtime.random_streams import derive_seed
from lightbsr_model.training.mixed_precision import MixedPrecision
from lightbsr_model.training.schedule import TWO_PHASE_SCHEDULES


class TwoPhaseModel(SRModel):
    """An SRModel whose training has an encoder phase and a joint phase.

    Validation, metrics, tensorboard and saving are BasicSR's. A subclass says what learns in the encoder phase
    (:meth:`encoder_phase_modules`), how a learning pass goes (:meth:`build_learning_pass`) and what it costs
    (:meth:`compute_losses`).

    Options, under ``train``:
        encoder_iter (int): Length of the encoder phase in iterations; the joint phase is the rest of ``total_iter``.
        ema_decay (float): As in BasicSR; the copy's buffers (BatchNorm statistics) follow too.
        scheduler (dict): ``type: TwoPhaseCosineLR``, ``TwoPhaseStepLR`` or one of BasicSR's.
        pixel_opt (dict): Loss between restored and GT images, in the joint phase.
        amp (str): ``off`` (default), ``bf16`` or ``fp16``: what the networks compute in while they learn; losses, weights
            and optimiser stay in fp32.
        channels_last (bool): Keep weights and features in channels-last layout. Default: False.
        compile (bool): Compile the learning pass of each phase (torch.compile). Default: False.

    Reads from a batch ``gt`` with ``kernel`` and ``noise_level`` to degrade on the device, or a finished ``lq`` and ``gt``.
    """

    net_g: nn.Module

    def __init__(self, opt: dict[str, Any]) -> None:
        self._current_iter = self._fed = 0
        self._phase: str | None = None
        self._learning_pass: nn.Module | None = None
        super().__init__(opt)

    # ---- to be said by a subclass

    def encoder_phase_modules(self) -> list[nn.Module]:
        """The parts of ``net_g`` that learn in the encoder phase."""
        raise NotImplementedError

    def build_learning_pass(self, joint: bool) -> nn.Module:
        """A module around ``net_g`` whose forward is one learning pass of a phase."""
        raise NotImplementedError

    def compute_losses(self, joint: bool) -> OrderedDict[str, Tensor]:
        """Run the learning pass on the current batch and return its weighted losses by their names in the log."""
        raise NotImplementedError

    def prepare_start(self) -> None:
        """Whatever must happen to ``net_g`` before training starts, and before its EMA copy is made."""

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
        train_opt = self.opt["train"]
        self.encoder_iter = train_opt.get("encoder_iter")
        total_iter = int(train_opt["total_iter"])
        if not isinstance(self.encoder_iter, int) or not 0 <= self.encoder_iter <= total_iter:
            raise OptionError(
                f"train.encoder_iter: expected the encoder phase's length in iterations, 0 to total_iter = {total_iter}, "
                f"got {self.encoder_iter!r}."
            )
        train_set = self.opt["datasets"].get("train", {})
        self._degradation: Degradation | None = None
        if train_set.get("preset") is not None:
            self._degradation = get_degradation(train_set["preset"], train_set.get("degradation"))
        self.precision = MixedPrecision(train_opt.get("amp"), self.device)
        self.grad_scaler = self.precision.scaler
        self.prepare_start()
        self._trainable = {name for name, value in self.net_g.named_parameters() if value.requires_grad}
        self._noise_generator = torch.Generator(self.device)
        super().init_training_settings()

    def required_loss(self, key: str) -> nn.Module:
        """Build the loss of ``train.<key>``.

        Raises:
            OptionError: The section is missing.
        """
        loss_opt = self.opt["train"].get(key)
        if not loss_opt:
            raise OptionError(
                f"train.{key}: missing; {type(self).__name__} learns by it (see options/ for its recipe)."
            )
        return build_loss(loss_opt).to(self.device)

    def setup_optimizers(self) -> None:
        """One optimiser over all that ever learns. What rests has no gradient and is left alone by it."""
        optim_opt = dict(self.opt["train"]["optim_g"])
        optim_type = optim_opt.pop("type")
        params = [value for value in self.net_g.parameters() if value.requires_grad]
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
        lengths = {"encoder_iter": self.encoder_iter, "total_iter": int(train_opt["total_iter"])}
        self.schedulers += [schedule(optimizer, **lengths, **scheduler_opt) for optimizer in self.optimizers]

    # ---- the step

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """As in BasicSR; the loop's first word on a new iteration."""
        self._current_iter, self._fed = current_iter, 0
        super().update_learning_rate(current_iter, warmup_iter)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch to the device, and degrade it there if the loader has not.

        Args:
            data: ``gt`` (N, V, 3, H, W) uint8 with ``kernel`` (N, 21, 21) and ``noise_level`` (N,); or ``lq``
                (N, 3, h, w) or (N, V, 3, h, w) in [0, 1] with ``gt`` (N, 3, H, W) or (N, V, 3, H, W) in [0, 1], if any.
                ``prior`` (N, prior_channels) is taken as it is; else the kernel, if any, is what a prior is made of.
        """
        batch = {key: value.to(self.device, non_blocking=True) for key, value in data.items() if torch.is_tensor(value)}
        self.kernel, self.noise_level = batch.get("kernel"), batch.get("noise_level")
        self.prior = batch.get("prior")
        gt = batch.get("gt")
        if "lq" in batch:
            lq = batch["lq"]
        else:
            if gt is None or self.kernel is None:
                raise OptionError(
                    f"a batch has {', '.join(data)}: expected `lq`, or `gt` and `kernel` (BlindDegradationPairedDataset)."
                )
            self._fed += 1
            train_set = self.opt["datasets"]["train"]
            degradation = self._degradation
            if train_set.get("degradation_per") == "batch":
                self.kernel = self.kernel[:1].expand_as(self.kernel)
                self.noise_level = (
                    None if self.noise_level is None else self.noise_level[:1].expand_as(self.noise_level)
                )
            gt = self.arrange_views(gt)
            lq = degrade(
                gt,
                self.kernel,
                None if degradation is not None and not degradation.is_noisy else self.noise_level,
                train_set["scale"],
                train_set.get("border", "clamp"),
                self.seeded_generator("noise", self._noise_generator),
                separable=degradation is not None and degradation.kernel == "isotropic",
            )
            gt = gt[:, 0].float() / 255
        self.lq_views = lq if lq.dim() == 5 else lq[:, None]
        self.lq = self.lq_views[:, 0]
        if gt is not None:
            self.gt = gt[:, 0] if gt.dim() == 5 else gt
        elif hasattr(self, "gt"):
            # SRModel's validation would compare with the last training GT (sr_model.py:147).
            del self.gt

    def batch_prior(self, teacher: LightBSRTeacher) -> Tensor:
        """The prior of the batch that was fed, in a teacher's basis.

        Raises:
            OptionError: The data have no kernels.
        """
        if self.prior is not None:
            return self.prior
        if self.kernel is None:
            raise OptionError(
                "a teacher sees the true kernel, and this data set gives none: take BlindDegradationBenchmarkDataset "
                "to validate it, and BlindDegradationPairedDataset to train."
            )
        return teacher.degradation_prior(self.kernel, self.noise_level)

    def arrange_views(self, gt: Tensor) -> Tensor:
        """What becomes of the (N, V, 3, H, W) GT views of a training batch before they are degraded."""
        return gt

    def seeded_generator(self, purpose: str, generator: torch.Generator) -> torch.Generator:
        """Seed a generator by purpose, rank, iteration and the part of its batch: a resumed run draws the same."""
        place = (self.opt["rank"], self._current_iter, self._fed)
        return generator.manual_seed(derive_seed(self.opt["manual_seed"], purpose, *place))

    def enter_phase(self, joint: bool) -> None:
        """Let learn what a phase teaches, and wrap its learning pass; does nothing within a phase."""
        phase = "joint" if joint else "encoder"
        if phase == self._phase:
            return
        learning = set(self.net_g.parameters()) if joint else _parameters(self.encoder_phase_modules())
        for name, value in self.net_g.named_parameters():
            value.requires_grad_(name in self._trainable and value in learning)
        # The old wrapper goes first: its hooks sit on the same parameters.
        self._learning_pass = None
        learning_pass = self.build_learning_pass(joint)
        if self.opt["train"].get("compile"):
            learning_pass = cast(nn.Module, torch.compile(learning_pass, dynamic=False))
        self._learning_pass = wrap_for_processes(
            learning_pass, self.device, self.opt.get("find_unused_parameters", False)
        )
        self._phase = phase
        get_root_logger().info(f"The {phase} phase begins: {sum(v.numel() for v in learning):,d} parameters.")

    @property
    def learning_pass(self) -> nn.Module:
        """The current phase's pass, wrapped for several processes where there are several."""
        if self._learning_pass is None:
            raise RuntimeError("enter_phase comes before the first learning pass.")
        return self._learning_pass

    def optimize_parameters(self, current_iter: int) -> None:
        """One optimiser step on the batch that was fed.

        Args:
            current_iter: From 1 up; the encoder phase lasts until ``train.encoder_iter``.
        """
        joint = current_iter > self.encoder_iter
        self.enter_phase(joint)
        self.optimizer_g.zero_grad(set_to_none=True)
        losses = self.compute_losses(joint)
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
        self.output = self.restore_batch(net)
        net.train(was_training)


def _parameters(modules: Iterable[nn.Module]) -> set[nn.Parameter]:
    return {value for module in modules for value in module.parameters()}
