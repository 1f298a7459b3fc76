"""BasicSR 1.4.2 imports a torchvision module that torchvision 0.17 removed.

``basicsr/data/degradations.py:8`` says ``from torchvision.transforms.functional_tensor import rgb_to_grayscale``;
the function is still available in ``torchvision.transforms.functional``.
"""

from __future__ import annotations

import importlib.util
import sys
import types

_REMOVED = "torchvision.transforms.functional_tensor"


def install_torchvision_alias() -> None:
    """Provide the removed module, if it is missing. Must run before the first ``import basicsr`` of a process."""
    if _REMOVED in sys.modules or importlib.util.find_spec(_REMOVED) is not None:
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    alias = types.ModuleType(_REMOVED)
    alias.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[_REMOVED] = alias
