"""What all methods that learn by contrast share: one pass that projects the views, and in the joint phase restores."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor

from lightbsr_model.training.phased_model import TwoPhaseModel


class ContrastiveModel(TwoPhaseModel):
    """Trains a network whose encoder learns by contrast.

    A subclass says what the pass of :meth:`build_learning_pass` is given (:meth:`pass_inputs`); it returns the projections
    of the views, and in the joint phase the restored view 0. :meth:`contrast` makes the loss of the projections.

    Options, under ``train``, besides those of :class:`TwoPhaseModel`:
        contrastive_opt (dict): The contrastive loss, in both phases.
    """

    def init_training_settings(self) -> None:
        """Build the contrastive loss too."""
        self.cri_contrast = self.required_loss("contrastive_opt")
        super().init_training_settings()

    def pass_inputs(self) -> tuple[Tensor, ...]:
        """What the learning pass is given of the batch."""
        return (self.lq_views,)

    def contrast(self, projections: Any) -> Tensor:
        """The contrastive loss of a pass."""
        raise NotImplementedError

    def compute_losses(self, joint: bool) -> OrderedDict[str, Tensor]:
        """``l_contrast``, and ``l_pix`` in the joint phase."""
        inputs = self.pass_inputs()
        with self.precision.autocast():
            projections, output = self.learning_pass(*inputs)
        losses = OrderedDict(l_contrast=self.contrast(projections))
        if joint:
            self.output = output.float()
            losses["l_pix"] = self.cri_pix(self.output, self.gt)
        return losses


class MomentumContrastModel(ContrastiveModel):
    """One whose contrast has a queue of keys (``net_g.momentum_contrast``)."""

    net_g: Any
    same_views = True
    """Whether query i and key i are of one view, see :func:`~lightbsr_arch.layers.momentum_contrast.contrastive_loss`."""

    def encoder_phase_modules(self) -> list[Any]:
        """The query encoder with its head."""
        return [self.net_g.momentum_contrast.query]

    def contrast(self, projections: Any) -> Tensor:
        """InfoNCE; then the first view's keys enter the queue."""
        vectors = (projections.queries.float(), projections.keys.float(), projections.negatives.float())
        loss: Tensor = self.cri_contrast(*vectors, same_views=self.same_views)
        self.net_g.momentum_contrast.enqueue(projections.keys[0])
        return loss
