"""Restoration alone, for any network: the baseline that has no teacher, no contrast and no second phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightbsr_model.training.phased_model import PhasedModel
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.train_options import OnePhaseOptions


@MODEL_REGISTRY.register()
class BlindSRModel(PhasedModel):
    """Trains any ``network_g``, one of BasicSR's too, by the pixel loss alone.

    It learns what BasicSR's SRModel would, and may be degraded on the device, computed in 16 bits, kept in channels-last
    layout and compiled like every method, so that a baseline is trained on equal terms.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": OnePhaseOptions}
    net_g: nn.Module

    def build_phases(self) -> Sequence[Phase]:
        """Restoration."""
        return (Phase("restoration", None, (self.net_g,), "forward", self._losses),)

    def inputs(self) -> tuple[Tensor, ...]:
        """What the network restores from."""
        return (self.lq,)

    def _losses(self) -> Mapping[str, Tensor]:
        return self.pixel_loss(self.learning_pass(*self.inputs()))

    def restore_batch(self, net: Any) -> Tensor:
        """Restore the batch that was fed, by ``net_g`` or its EMA copy."""
        return net(*self.inputs())

    def represent_batch(self, net: Any) -> Tensor:
        """The network's representation of the degradation of the batch that was fed, one vector a sample."""
        return net.represent(*self.inputs())
