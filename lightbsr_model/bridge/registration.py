"""Register this project's classes with BasicSR, once."""

from __future__ import annotations

import importlib

from basicsr.utils.registry import ARCH_REGISTRY

from lightbsr_arch.methods.registry import registered


def register_all() -> None:
    """Register the networks, and import the modules whose classes register themselves.

    BasicSR scans only its own folders (``basicsr/archs/__init__.py:17`` and the like), and its registry raises an error if a
    name is taken (``utils/registry.py:42``).
    """
    for method in registered():
        for name, network in method.load().classes.items():
            if name not in ARCH_REGISTRY:
                ARCH_REGISTRY.register(network)
    import lightbsr_model.data.blind_degradation_benchmark_dataset
    import lightbsr_model.data.blind_degradation_paired_dataset
    import lightbsr_model.data.burst_folder_dataset
    import lightbsr_model.data.synthetic_burst_dataset
    import lightbsr_model.losses
    import lightbsr_model.training.blind_gan_model
    import lightbsr_model.training.blind_sr_model  # noqa: F401

    for method in registered():
        if method.training:
            importlib.import_module(method.training)
