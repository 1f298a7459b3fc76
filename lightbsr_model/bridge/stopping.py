"""Ctrl-C and SIGTERM: end after the iteration at hand, saved.

BasicSR dies in the midst of an iteration, and loses all since the last checkpoint. A batch scheduler sends SIGTERM some
seconds before it kills.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import torch

from lightbsr_model.bridge.processes import is_distributed

_GRACE_SECONDS = 10.0
"""How long several processes may take to agree on stopping; one of them may be dead."""


class StopRequest:
    """Remembers that a signal asked the run to stop. A second one stops it at once."""

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: str | None = None
        self._process = os.getpid()
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """Take the signals over. Does nothing outside the main thread, where Python has no signals."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in self.signals}

    def uninstall(self) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, _: Any) -> None:
        if os.getpid() != self._process:
            return  # a worker: its training process sees to the end of both
        if self.received is not None:
            self.uninstall()
            signal.raise_signal(number)
            return
        self.received = signal.Signals(number).name
        if is_distributed():
            timer = threading.Timer(_GRACE_SECONDS, os._exit, args=(128 + number,))
            timer.daemon = True
            timer.start()

    def agreed(self, iteration: int, device: torch.device) -> bool:
        """Whether to stop now; with several processes, whether any of them was asked to."""
        if not is_distributed():
            return self.received is not None
        if device.type == "cuda" and iteration % 20:
            return False  # asking costs a synchronisation
        asked = torch.tensor([int(self.received is not None)], device=device)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        return bool(asked.item())
