"""What all methods that learn by contrast share: contrast over views, then contrast and restoration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from lightbsr_model.training.phased_model import PhasedModel
from lightbsr_model.training.phases import Phase
from lightbsr_model.training.train_options import ContrastiveOptions


class ContrastiveModel(PhasedModel):
    """Trains a network whose encoder learns by contrast, first alone, then with the SR network.

    The network's ``project`` gives the projections of the views, its ``project_and_restore`` the restored first view too.
    A subclass says what they are given (:meth:`pass_inputs`), what learns in the encoder phase (:meth:`encoder_modules`)
    and what the loss of the projections is (:meth:`contrast`).

    Options, under ``train``, besides those of :class:`PhasedModel`:
        encoder_iter (int): Length of the encoder phase in iterations; the joint phase is the rest of ``total_iter``.
        contrastive_opt (dict): The contrastive loss, in both phases.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"train": ContrastiveOptions}

    def init_training_settings(self) -> None:
        """Build the contrastive loss too."""
        self.cri_contrast = self.required_loss("contrastive_opt")
        super().init_training_settings()

    def build_phases(self) -> Sequence[Phase]:
        """Contrast alone, then contrast and restoration."""
        length = self.phase_length("encoder_iter")
        return (
            Phase("encoder", length, self.encoder_modules(), "project", self._encoder_losses),
            Phase("joint", None, (self.net_g,), "project_and_restore", self._joint_losses),
        )

    def encoder_modules(self) -> tuple[nn.Module, ...]:
        """What learns in the encoder phase."""
        raise NotImplementedError

    def pass_inputs(self) -> tuple[Tensor, ...]:
        """What the learning pass is given of the batch."""
        return (self.batch_views(),)

    def batch_views(self) -> Tensor:
        """The views of the batch, (N, V, 3, h, w); of one without views its images as the only view."""
        return self.batch.lq[:, None] if self.batch.views is None else self.batch.views

    def contrast(self, projections: Any) -> Tensor:
        """The contrastive loss of a pass."""
        raise NotImplementedError

    def _encoder_losses(self) -> Mapping[str, Tensor]:
        return {"l_contrast": self.contrast(self.learning_pass(*self.pass_inputs()))}

    def _joint_losses(self) -> Mapping[str, Tensor]:
        projections, output = self.learning_pass(*self.pass_inputs())
        return {"l_contrast": self.contrast(projections), **self.pixel_loss(output)}


class MomentumContrastModel(ContrastiveModel):
    """One whose contrast has a queue of keys (``net_g.momentum_contrast``)."""

    net_g: Any
    same_views = True
    """Whether query i and key i are of one view, see :func:`~lightbsr_arch.layers.momentum_contrast.contrastive_loss`."""

    def encoder_modules(self) -> tuple[nn.Module, ...]:
        """The query encoder with its head."""
        return (self.net_g.momentum_contrast.query,)

    def contrast(self, projections: Any) -> Tensor:
        """InfoNCE; then the first view's keys enter the queue."""
        vectors = (projections.queries.float(), projections.keys.float(), projections.negatives.float())
        loss: Tensor = self.cri_contrast(*vectors, same_views=self.same_views)
        self.net_g.momentum_contrast.enqueue(projections.keys[0])
        return loss
