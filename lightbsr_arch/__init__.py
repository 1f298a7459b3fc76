"""What the LightBSR networks are, and running them. Needs torch and safetensors; knows nothing of BasicSR or training."""

from lightbsr_arch.idr_converters import Codes
from lightbsr_arch.inference import Upscaler
from lightbsr_arch.lightbsr import LightBSR, LightBSRTeacher
from lightbsr_arch.options import infer_options
from lightbsr_arch.published import convert_published_state_dict, is_published_state_dict
from lightbsr_arch.version import __version__

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
