"""What the models share that adapt a trained network in BasicSR's loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from basicsr.utils import get_root_logger
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_arch.weights.fit import differences
from lightbsr_model.adaptation.adaptation_dataset import read_targets
from lightbsr_model.adaptation.adapting import check_network, check_noise
from lightbsr_model.adaptation.degraders import Degrader, degrade, learn_degrader
from lightbsr_model.adaptation.targets import Crops, TargetImages
from lightbsr_model.runtime.declared_keys import key
from lightbsr_model.runtime.random_streams import derive_seed
from lightbsr_model.training.batch_degrader import to_device
from lightbsr_model.training.perceptual import PerceptualModel, PerceptualOptions
from lightbsr_model.training.phases import Phase


@dataclass(frozen=True)
class AdaptingOptions(PerceptualOptions):
    """Keys of ``train`` for models that adapt."""

    parent: str = key("Checkpoint or model file of the trained network that is adapted; a new run starts from it.")
    reconstructor: str | None = key("Checkpoint of the network that degrades; ~ takes the one in the package.", None)


class AdaptingModel(PerceptualModel):
    """Adapts ``network_g``, one that estimates the degradation before it restores, to the images of an AdaptationDataset.

    The encoder stays as it is; all of the network runs in evaluation mode. The parent is named under ``train``, apart from
    ``path``, which a resume of BasicSR's would redirect (misc.py:108): what the network was like at the start is known then
    too.

    Options, under ``train``, besides those of :class:`PerceptualModel`:
        parent (str): The trained network's checkpoint.
        reconstructor (str): Checkpoint of the network that degrades; default: the one in the package.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": AdaptingOptions}
    net_g: Any
    learnt: Degrader
    """The degradation of the LR images."""

    def degrader_name(self) -> str:
        """The name of the degradation that is learnt from the LR images."""
        return "reconstructor"

    def prepare_start(self) -> None:
        """Load the parent, and learn the degradation of the LR images.

        Raises:
            OptionError: The network or its parent do not fit, or the images.
        """
        check_network(self.net_g)
        train_opt = self.opt["train"]
        state_dict = load_state_dict(train_opt["parent"])
        self.start = deepcopy(self.net_g)
        if found := differences(self.start.state_dict(), state_dict):
            raise OptionError("train.parent", f"{train_opt['parent']} does not fit network_g: {found}.")
        self.start.load_state_dict(state_dict)
        self.start.requires_grad_(False).eval()
        if not self.opt["path"].get("pretrain_network_g"):
            self.net_g.load_state_dict(state_dict)
            get_root_logger().info(f"The network starts from its parent, {train_opt['parent']}.")
        self.targets: TargetImages = read_targets({**self.opt["datasets"]["train"], "scale": self.opt["scale"]})
        check_noise(self.targets)
        name = self.degrader_name()
        path = train_opt.get("reconstructor") if name == "reconstructor" else None
        self.learnt = learn_degrader(
            name, self.start, self.targets, derive_seed(self.opt["manual_seed"], name), path=path
        )

    def learning_parts(self) -> Sequence[Any]:
        """The parts of the network that learn."""
        return (self.net_g.sr,)

    def build_phases(self) -> Sequence[Phase]:
        """The adaptation."""
        return (Phase("adaptation", None, tuple(self.learning_parts()), "forward", self.losses),)

    def losses(self) -> Mapping[str, Tensor]:
        """The weighted losses of a batch, by their names in the log."""
        raise NotImplementedError

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch, of a training with ``detail`` and ``image``."""
        super().feed_data(data)
        tensors = to_device(data, self.device)
        if "image" in tensors:
            self.crops = Crops(self.lq, tensors["detail"], tensors["image"].cpu())

    def enter_phase(self, phase: Phase) -> None:
        """As in :class:`PhasedModel`, but in evaluation mode: BatchNorm keeps the statistics of the training."""
        super().enter_phase(phase)
        self.net_g.eval()

    def pairs(self) -> tuple[Tensor, Tensor]:
        """The references of the batch, degraded as the LR images beside them were, and themselves."""
        generator = self.degrader.seeded("noise of references", torch.Generator())
        return degrade(self.learnt, self.targets, self.gt, self.crops.images, generator), self.gt
