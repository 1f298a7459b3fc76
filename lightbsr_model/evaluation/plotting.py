"""matplotlib and scikit-learn, which the extra ``plot`` installs."""

from __future__ import annotations

import importlib
from typing import Any

from lightbsr_arch.errors import OptionError


def require(*modules: str) -> None:
    """Make sure, before anything is computed, that modules needed later can be imported.

    Raises:
        OptionError: One cannot; the message says how to install it.
    """
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:  # noqa: PERF203 - one or two
            raise OptionError(f"{name} is required and cannot be imported: pip install 'lightbsr[plot]'.") from error


def pyplot() -> Any:
    """Matplotlib's pyplot, drawing to files.

    Raises:
        OptionError: matplotlib is not installed.
    """
    require("matplotlib")
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot


def plain_label(name: str) -> str:
    """Escape a name for matplotlib, which reads text between dollar signs as a formula."""
    return name.replace("$", r"\$")
