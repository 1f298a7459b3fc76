"""What the LightBSR networks are, and running them. Needs torch and safetensors; knows nothing of BasicSR or training.

Names are imported when they are first used: the command reports errors, versions and progress before torch is loaded.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lightbsr_arch.version import __version__

if TYPE_CHECKING:
    from lightbsr_arch.inference import Upscaler
    from lightbsr_arch.layers.codes import Codes
    from lightbsr_arch.methods.lightbsr import LightBSR, LightBSRTeacher
    from lightbsr_arch.weights.identify import infer_options
    from lightbsr_arch.weights.published import convert_published_state_dict, is_published_state_dict

__all__ = [
    "Codes",
    "LightBSR",
    "LightBSRTeacher",
    "Upscaler",
    "__version__",
    "convert_published_state_dict",
    "infer_options",
    "is_published_state_dict",
]

_MODULES = {
    "Codes": "layers.codes",
    "LightBSR": "methods.lightbsr",
    "LightBSRTeacher": "methods.lightbsr",
    "Upscaler": "inference",
    "convert_published_state_dict": "weights.published",
    "infer_options": "weights.identify",
    "is_published_state_dict": "weights.published",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lightbsr_arch' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lightbsr_arch.{_MODULES[name]}"), name)
