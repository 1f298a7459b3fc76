"""Running a trained network fast and in little memory."""

from lightbsr_arch.inference.network import InferenceLightBSR

__all__ = ["InferenceLightBSR"]
