"""The losses of the methods, registered for BasicSR's ``build_loss``."""

from lightbsr_model.losses.content_decoupled import ContentDecoupledContrastiveLoss
from lightbsr_model.losses.contrastive import DegradationContrastiveLoss
from lightbsr_model.losses.degradation_regression import DegradationRegressionLoss
from lightbsr_model.losses.distillation import ChannelDistillationLoss, SpatialDistillationLoss
from lightbsr_model.losses.flow_aligned import FlowAlignedL1Loss
from lightbsr_model.losses.low_pass import LowPassL1Loss
from lightbsr_model.losses.wavelet import HighFrequencyWeightedL1Loss, WaveletLoss

__all__ = [
    "ChannelDistillationLoss",
    "ContentDecoupledContrastiveLoss",
    "DegradationContrastiveLoss",
    "DegradationRegressionLoss",
    "FlowAlignedL1Loss",
    "HighFrequencyWeightedL1Loss",
    "LowPassL1Loss",
    "SpatialDistillationLoss",
    "WaveletLoss",
]
