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

    A subclass may have several discriminators (:attr:`discriminators`); their optimisers have the same options. It may let
    users leave some out (:meth:`leaves_out`).

    Options, besides those of :class:`PhasedModel`:
        network_d (dict): The discriminator, such as UNetDiscriminatorSN or VGGStyleDiscriminator.
        path.pretrain_network_d, path.strict_load_d, path.param_key_d: As for ``network_g``.
        train.optim_d (dict): Its optimiser.
        train.gan_opt (dict): GANLoss.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": AdversarialOptions}
    networks: ClassVar[tuple[str, ...]] = ("network_g", "network_d")
    discriminators: ClassVar[Mapping[str, str]] = {"d": "gan_opt"}
    """The discriminators by the end of their section's name, ``network_d``, and the key of each one's loss."""
    net_d: nn.Module

    def init_training_settings(self) -> None:
        """Build the discriminators and their losses too.

        Raises:
            OptionError: A section ``network_d``, ``train.optim_d`` or a loss is missing.
        """
        used = {name: key for name, key in self.discriminators.items() if not self.leaves_out(key)}
        if used and not self.opt["train"].get("optim_d"):
            raise OptionError(f"optim_d: missing; {type(self).__name__} trains a discriminator.")
        self._criteria = {name: self.required_loss(key) for name, key in used.items()}
        for name in used:
            # Its state is this model's own: the network is what DistributedDataParallel wraps for a step, not here.
            setattr(self, f"net_{name}", self.model_to_device(self.build_beside(f"network_{name}")).train())
        self._judges: dict[str, nn.Module] = {}
        self.judged_images: dict[str, tuple[Tensor, Tensor]] = {}
        """Real and restored images that each discriminator is to learn from in this iteration."""
        super().init_training_settings()

    def leaves_out(self, key: str) -> bool:
        """Whether the discriminator of a loss, ``train.<key>``, is left out."""
        return False

    def build_beside(self, section: str) -> nn.Module:
        """Build a network beside ``network_g``, and load it where ``path`` names a checkpoint.

        Raises:
            OptionError: The section is missing.
        """
        if not self.opt.get(section):
            raise OptionError(f"{section}: missing; {type(self).__name__} trains it beside network_g.")
        net: nn.Module = build_network(self.opt[section])
        path, end = self.opt["path"], section.removeprefix("network_")
        if path.get(f"pretrain_{section}") is not None:
            key = path.get(f"param_key_{end}", "params")
            self.load_network(net, path[f"pretrain_{section}"], path.get(f"strict_load_{end}", True), key)
        return net

    def setup_optimizers(self) -> None:
        """The network's optimiser, then the discriminators'."""
        super().setup_optimizers()
        self._optimizers_of = {}
        for name in self._criteria:
            optim_opt = dict(self.opt["train"]["optim_d"])
            params = list(getattr(self, f"net_{name}").parameters())
            self._optimizers_of[name] = self.get_optimizer(optim_opt.pop("type"), params, **optim_opt)
        self.optimizers += self._optimizers_of.values()

    def adversarial_loss(self, output: Tensor, name: str = "d", real: Tensor | None = None) -> dict[str, Tensor]:
        """``l_gan`` of restored images: how far a discriminator is from taking them for real.

        Args:
            output: (N, 3, H, W).
            name: The discriminator.
            real: What it is to take for real when it learns; None is the batch's GT images.
        """
        with self.precision.autocast():
            judgement = getattr(self, f"net_{name}")(output)
        self.judged_images[name] = (self.gt if real is None else real, output.detach())
        return {f"l_gan{name[1:]}": self._criteria[name](judgement.float(), True, is_disc=False)}

    def optimize_parameters(self, current_iter: int) -> None:
        """The network's step, then that of each discriminator that the phase's losses asked."""
        self.judged_images = {}
        for name in self._criteria:
            getattr(self, f"net_{name}").requires_grad_(False)
        super().optimize_parameters(current_iter)
        for name in self._criteria:
            getattr(self, f"net_{name}").requires_grad_(True)
        for name, (real, restored) in self.judged_images.items():
            self.log_dict.update(self._discriminator_step(name, real, restored))

    def _discriminator_step(self, name: str, real: Tensor, restored: Tensor) -> OrderedDict[str, Tensor]:
        if name not in self._judges:
            self._judges[name] = wrap_for_processes(getattr(self, f"net_{name}"), self.device)
        self._optimizers_of[name].zero_grad(set_to_none=True)
        log: OrderedDict[str, Tensor] = OrderedDict()
        for kind, images, is_real in (("real", real, True), ("fake", restored, False)):
            with self.precision.autocast():
                judgement = self._judges[name](images)
            loss = self._criteria[name](judgement.float(), is_real, is_disc=True)
            self.precision.backward(loss)
            log[f"l_{name}_{kind}"], log[f"out_{name}_{kind}"] = loss.detach(), judgement.detach().float().mean()
        self._optimizers_of[name].step()
        return log

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the discriminators too."""
        for name in self._criteria:
            self.save_network(getattr(self, f"net_{name}"), f"net_{name}", current_iter)
        super().save(epoch, current_iter)
