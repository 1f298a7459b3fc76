"""What LightBSR is compared with."""

from lightbsr_arch.baselines.bicubic import BicubicUpsampler

__all__ = ["BicubicUpsampler"]
