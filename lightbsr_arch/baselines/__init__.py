"""What LightBSR is compared with."""

from lightbsr_arch.baselines.bicubic import BicubicUpsampler
from lightbsr_arch.baselines.cdcl import CdCL
from lightbsr_arch.baselines.dasr import DASR
from lightbsr_arch.baselines.kdsr import KDSR, KDSRTeacher

__all__ = ["DASR", "KDSR", "BicubicUpsampler", "CdCL", "KDSRTeacher"]
