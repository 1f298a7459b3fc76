"""Put this project's names into BasicSR's registries, once."""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY

from lightbsr_arch import LightBSR, LightBSRTeacher
from lightbsr_arch.baselines import DASR, KDSR, BicubicUpsampler, CdCL, KDSRTeacher


def register_all() -> None:
    """Register the archs, and import the modules whose classes register themselves.

    BasicSR scans only its own folders (``basicsr/archs/__init__.py:17`` and its sisters), and its registry raises
    where a name is taken (``utils/registry.py:42``).
    """
    for arch in (LightBSR, LightBSRTeacher, DASR, KDSR, KDSRTeacher, CdCL, BicubicUpsampler):
        if arch.__name__ not in ARCH_REGISTRY:
            ARCH_REGISTRY.register(arch)
    import lightbsr_model.data.blind_degradation_benchmark_dataset
    import lightbsr_model.data.blind_degradation_paired_dataset
    import lightbsr_model.losses
    import lightbsr_model.models  # noqa: F401
