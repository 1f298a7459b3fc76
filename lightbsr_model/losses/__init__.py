"""Losses of teacher and student, registered for BasicSR's ``build_loss``."""

from lightbsr_model.losses.contrastive import DegradationContrastiveLoss
from lightbsr_model.losses.distillation import ChannelDistillationLoss, SpatialDistillationLoss

__all__ = ["ChannelDistillationLoss", "DegradationContrastiveLoss", "SpatialDistillationLoss"]
