"""matplotlib and scikit-learn, which the extra ``plot`` brings."""

from __future__ import annotations

import importlib
from typing import Any

from lightbsr_arch.errors import OptionError


def require(*modules: str) -> None:
    """Make sure, before anything is computed, that what draws or probes it can be imported.

    Raises:
        OptionError: It cannot; the message says how to install it.
    """
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:  # noqa: PERF203 - one or two
            raise OptionError(f"{name} is needed and cannot be imported: pip install 'lightbsr[plot]'.") from error


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
    """A name that matplotlib shows as it is: it takes what is between dollar signs for a formula."""
    return name.replace("$", r"\$")
