"""What models share that use the feature of a meta-learning network, adapted to each batch (arXiv 2207.13963)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_arch.layers.meta_learner import RATES, MetaLearner
from lightbsr_model.runtime.declared_keys import key, values_of
from lightbsr_model.runtime.processes import average_over_processes
from lightbsr_model.training.phased_model import PhasedModel


@dataclass(frozen=True)
class AdaptOptions:
    """Keys of ``train.adapt_opt``."""

    rates: list[float] = key("Rate of each step of the adaptation.", list(RATES), above=0, high=10, filled=True)
    tail: bool = key("Adapt what lies behind the feature too: the upsampler and the last convolution.", True)
    reset: bool = key("Start from the meta-learned weights at every batch; false goes on from the last batch's.", True)


class AdaptingModel(PhasedModel):
    """A model with a frozen meta-learning network that adapts to each batch, and whose feature is used.

    Options, under ``train``, besides those of :class:`PhasedModel`:
        adapt_opt (dict): ``rates``, one for each step; ``tail``; ``reset``: false lets the weights drift from batch to batch
            as in the published code. A validation adapts from where the training is, and leaves it there. ~ does not adapt.
    """

    adapt_section: ClassVar[type] = AdaptOptions
    net_meta: MetaLearner | None = None
    """The weights that drift; None where every batch starts from the frozen ones. By its name the supervisor takes a step of
    it back where the iteration is skipped."""

    def __init__(self, opt: dict[str, Any]) -> None:
        given = (opt.get("train") or {}).get("adapt_opt", {})
        self._adapt = None if given is None else values_of(self.adapt_section, given, "train.adapt_opt")
        super().__init__(opt)

    @property
    def meta(self) -> MetaLearner:
        """The frozen meta-learning network."""
        raise NotImplementedError

    def init_training_settings(self) -> None:
        """Make the copy that drifts, and let all processes adapt to one degradation."""
        super().init_training_settings()
        if self._adapt is not None:
            self.degrader.is_shared = self.degrader.per == "batch"
            if not self._adapt["reset"]:
                self.net_meta = copy.deepcopy(self.meta)

    def adapted_feature(self, learning: bool) -> Tensor:
        """The feature of the batch that was fed.

        Args:
            learning: Whether this is a step of the training: then all processes adapt together, and weights may drift.
        """
        gt = known_gt(self)
        meta = self.meta if self.net_meta is None else self.net_meta
        weights = None
        if self._adapt is not None:
            average = average_over_processes if learning else None
            weights = meta.adapt(self.lq, gt, self._adapt["rates"], None, self._adapt["tail"], average).weights
        with torch.no_grad():
            feature = meta.features(self.lq, weights)
            if learning and weights is not None and self.net_meta is not None:
                torch._foreach_copy_(list(meta.parameters()), [weights[name] for name, _ in meta.named_parameters()])
        return feature

    def own_state(self) -> dict[str, Any]:
        """The weights that drift."""
        if self.net_meta is None:
            return {}
        return {"drift": {name: value.cpu() for name, value in self.net_meta.state_dict().items()}}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Go on where the weights had drifted to."""
        if self.net_meta is not None and "drift" in state:
            self.net_meta.load_state_dict(state["drift"])


def known_gt(model: Any) -> Tensor:
    """The HR images of the batch that a model was fed.

    Raises:
        OptionError: It has none.
    """
    if not hasattr(model, "gt"):
        raise OptionError("a network adapts to the GT image, and this data set gives none: take one with dataroot_gt.")
    gt: Tensor = model.gt
    return gt
