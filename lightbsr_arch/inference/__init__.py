"""Running a trained network fast and in little memory."""

from lightbsr_arch.inference.lightbsr.network import InferenceLightBSR
from lightbsr_arch.inference.upscaler import Upscaler

__all__ = ["InferenceLightBSR", "Upscaler"]
