"""Training, testing and comparing LightBSR inside BasicSR. Importing this package registers everything once."""

import importlib.util
import sys

if importlib.util.find_spec("basicsr") is None:
    _why = (
        "BasicSR 1.4.2 cannot be built on Python 3.13 or newer; make an environment of Python 3.10 to 3.12 "
        "and install lightbsr there"
        if sys.version_info >= (3, 13)
        else "run `pip install basicsr`"
    )
    raise ImportError(
        f"lightbsr_model trains and tests in BasicSR, and basicsr is not installed here: {_why}. "
        "lightbsr_arch (the networks, and running them) works without it."
    )

from lightbsr_model.bridge.deferred_imports import deferred_imports
from lightbsr_model.bridge.torchvision_alias import install_torchvision_alias

with deferred_imports():
    install_torchvision_alias()
    import basicsr  # noqa: F401

from lightbsr_model.bridge.registration import register_all

register_all()
