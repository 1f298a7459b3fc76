"""Ctrl-C, SIGTERM and SIGHUP end a command cleanly: temporary files are removed, and the exit status shows the signal."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP asked the command to end; handled like Ctrl-C."""


class SignalsAsExceptions:
    """A context in which signals raise: Ctrl-C KeyboardInterrupt; SIGTERM and SIGHUP Terminated, once.

    Handlers other than Python's or the system's defaults are kept (nohup's, those of a calling program). Outside the main
    thread, where Python has no signal handling, this does nothing.

    Args:
        termination: Whether to handle SIGTERM and SIGHUP too.
    """

    def __init__(self, termination: bool = True) -> None:
        self.received: signal.Signals | None = None
        """The first signal received."""
        self._termination = termination
        self._process = os.getpid()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> SignalsAsExceptions:
        if threading.current_thread() is not threading.main_thread():
            return self
        ends = ("SIGTERM", "SIGHUP") if self._termination else ()
        for name in ("SIGINT", *ends):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)

    @property
    def status(self) -> int:
        """The exit status of a command that a signal ended."""
        return 128 + (self.received or signal.SIGINT)

    @property
    def name(self) -> str:
        """Name of the signal that ended the command, for a message."""
        return "Ctrl-C" if self.received in (None, signal.SIGINT) else signal.Signals(self.received or 0).name

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked worker, which its parent ends with SIGTERM
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        first = self.received is None
        if first:
            self.received = signal.Signals(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if first:  # a repeated signal would interrupt the clean-up
            raise Terminated
