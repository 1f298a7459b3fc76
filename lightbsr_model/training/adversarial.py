"""Adversarial training: a discriminator beside the network, with an optimiser of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import ClassVar

from basicsr.archs import build_network
from torch import Tensor, nn

from lightbsr_arch.errors import OptionError
from lightbsr_model.runtime.processes import wrap_for_processes
from lightbsr_model.training.phased_model import PhasedModel
from lightbsr_model.training.train_options import AdversarialOptions


class AdversarialModel(PhasedModel):
    """A model in phases whose losses may ask a discriminator, which then learns in the same iteration.

    A phase's losses call :meth:`adversarial_loss`; in an iteration that does not, the discriminator rests. Discriminators
    and GAN losses are BasicSR's, and so is the order of a step: the network, then the discriminator on real images, then
    on the restored ones, two backward passes and one step.

    Options, besides those of :class:`PhasedModel`:
        network_d (dict): The discriminator, such as UNetDiscriminatorSN or VGGStyleDiscriminator.
        path.pretrain_network_d, path.strict_load_d, path.param_key_d: As for ``network_g``.
        train.optim_d (dict): Its optimiser.
        train.gan_opt (dict): GANLoss.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": AdversarialOptions}
    networks: ClassVar[tuple[str, ...]] = ("network_g", "network_d")
    net_d: nn.Module

    def init_training_settings(self) -> None:
        """Build the discriminator and its loss too.

        Raises:
            OptionError: ``network_d``, ``train.optim_d`` or ``train.gan_opt`` is missing.
        """
        given = {"network_d": self.opt.get("network_d"), "optim_d": self.opt["train"].get("optim_d")}
        for missing in (key for key, section in given.items() if not section):
            raise OptionError(f"{missing}: missing; {type(self).__name__} trains a discriminator.")
        self.cri_gan = self.required_loss("gan_opt")
        # Its state is this model's own: the network is what DistributedDataParallel wraps for a step, not here.
        self.net_d = self.model_to_device(build_network(self.opt["network_d"]))
        path = self.opt["path"]
        if path.get("pretrain_network_d") is not None:
            key = path.get("param_key_d", "params")
            self.load_network(self.net_d, path["pretrain_network_d"], path.get("strict_load_d", True), key)
        self._judge: nn.Module | None = None
        self._judged: Tensor | None = None
        super().init_training_settings()
        self.net_d.train()

    def setup_optimizers(self) -> None:
        """The network's optimiser, then the discriminator's."""
        super().setup_optimizers()
        optim_opt = dict(self.opt["train"]["optim_d"])
        self.optimizer_d = self.get_optimizer(optim_opt.pop("type"), list(self.net_d.parameters()), **optim_opt)
        self.optimizers.append(self.optimizer_d)

    def adversarial_loss(self, output: Tensor) -> dict[str, Tensor]:
        """``l_gan`` of restored images (N, 3, H, W): how far the discriminator is from taking them for real."""
        with self.precision.autocast():
            judgement = self.net_d(output)
        self._judged = output.detach()
        return {"l_gan": self.cri_gan(judgement.float(), True, is_disc=False)}

    def optimize_parameters(self, current_iter: int) -> None:
        """The network's step, then the discriminator's if the phase's losses asked it."""
        self._judged = None
        self.net_d.requires_grad_(False)
        super().optimize_parameters(current_iter)
        self.net_d.requires_grad_(True)
        if self._judged is not None:
            self.log_dict.update(self._discriminator_step(self._judged))

    def _discriminator_step(self, restored: Tensor) -> OrderedDict[str, Tensor]:
        if self._judge is None:
            self._judge = wrap_for_processes(self.net_d, self.device)
        self.optimizer_d.zero_grad(set_to_none=True)
        log: OrderedDict[str, Tensor] = OrderedDict()
        for name, images, is_real in (("real", self.gt, True), ("fake", restored, False)):
            with self.precision.autocast():
                judgement = self._judge(images)
            loss = self.cri_gan(judgement.float(), is_real, is_disc=True)
            self.precision.backward(loss)
            log[f"l_d_{name}"], log[f"out_d_{name}"] = loss.detach(), judgement.detach().float().mean()
        self.optimizer_d.step()
        return log

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the discriminator too."""
        self.save_network(self.net_d, "net_d", current_iter)
        super().save(epoch, current_iter)
