"""The degradations of blind super-resolution: kernels, blur, resize, noise, JPEG, presets."""

from lightbsr_arch.layers.degradation_prior import kernel_pca_basis
from lightbsr_model.degradation.base import Degradation
from lightbsr_model.degradation.blur import blur
from lightbsr_model.degradation.gaussian import GaussianDegradation
from lightbsr_model.degradation.jpeg import compress_jpeg
from lightbsr_model.degradation.kernels import anisotropic_gaussian_kernels, isotropic_gaussian_kernels
from lightbsr_model.degradation.noise import add_gaussian_noise, quantise
from lightbsr_model.degradation.pipeline import blur_and_downsample, degrade
from lightbsr_model.degradation.presets import PRESETS, get_degradation
from lightbsr_model.degradation.resize import bicubic_downsample

__all__ = [
    "PRESETS",
    "Degradation",
    "GaussianDegradation",
    "add_gaussian_noise",
    "anisotropic_gaussian_kernels",
    "bicubic_downsample",
    "blur",
    "blur_and_downsample",
    "compress_jpeg",
    "degrade",
    "get_degradation",
    "isotropic_gaussian_kernels",
    "kernel_pca_basis",
    "quantise",
]
