"""A rank whose torchrun was killed ends itself, since nothing else would."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress

launcher_is_gone = threading.Event()
"""Set once this process is known to be an orphan."""


def is_under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def end_with_launcher(seconds: float = 1.0) -> None:
    """Under torchrun, send SIGTERM to this process once torchrun is gone: killed by SIGKILL, it cannot end its ranks.

    A process that was started by a person or another program continues when its parent ends, as under nohup.

    Args:
        seconds: Seconds between two checks.
    """
    if not is_under_torchrun() or not hasattr(os, "getppid"):
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        launcher_is_gone.set()
        with suppress(OSError):
            print("lightbsr: torchrun is gone: this process ends too.", file=sys.stderr, flush=True)
        # A started run saves first.
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="launcher", daemon=True).start()
