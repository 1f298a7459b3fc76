"""Ctrl-C, SIGTERM, SIGHUP, or a launcher that has ended: save after the current iteration and stop.

BasicSR dies in the middle of an iteration and loses everything since the last checkpoint. A batch system sends SIGTERM some
seconds before it kills: torchrun and Kubernetes 30, slurm 30 (``KillWait``; ``--signal=TERM@300`` requests 300). It may
send it to every process, and torchrun forwards its own to its ranks, so that one request arrives several times.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import torch
from basicsr.utils import get_root_logger

from lightbsr_arch.errors import OptionError
from lightbsr_model.runtime.orphans import is_under_torchrun, launcher_is_gone
from lightbsr_model.runtime.processes import is_distributed

GRACE_VARIABLE = "LIGHTBSR_STOP_GRACE"
"""Environment variable: seconds after a signal until a rank that cannot finish its iteration ends without saving."""

_GRACE_SECONDS = 300.0
_REPEAT_SECONDS = 2.0
"""Signals closer together than this are one request."""
_ASK_SECONDS = 1.0
"""Seconds between two checks of several processes whether to stop."""
_LONGEST_INTERVAL = 20
"""In iterations, should they suddenly take longer."""

_current: StopRequest | None = None


class ValidationInterrupted(Exception):
    """The run was asked to stop during a validation, which a resumed run repeats."""


class StopRequest:
    """Remembers that the run was asked to stop. A second Ctrl-C some seconds after the first ends it immediately.

    A thread receives the signals, since Python runs no handler while the main thread waits in a collective. Any number of
    SIGTERMs is one request: batch systems repeat it, and SIGKILL is available to those who cannot wait.

    Args:
        grace: With several processes, seconds after the first signal until this one ends without saving: another one may be
            dead, and this one would wait for it. Default: from the environment, else 300.
        repeat: Seconds within which a second Ctrl-C is a duplicate of the first.

    Raises:
        OptionError: The environment variable is not a positive number.
    """

    signals = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

    def __init__(self, grace: float | None = None, repeat: float = _REPEAT_SECONDS) -> None:
        self.received: str | None = None
        """The signal that asked, for the log."""
        self.grace = _grace_of_environment() if grace is None else grace
        self.repeat = repeat
        self._first: dict[int, float] = {}
        self._previous: dict[int, Any] = {}
        self._previous_fd = -1
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._thread: threading.Thread | None = None
        self._next_question = 0
        self._last_question: tuple[int, float] | None = None

    def install(self) -> None:
        """Install the signal handlers. Does nothing outside the main thread, where Python has no signal handling."""
        global _current
        if threading.current_thread() is not threading.main_thread():
            return
        give_signals_back()
        self._sockets = socket.socketpair()
        for end in self._sockets:
            end.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._sockets[1].fileno(), warn_on_full_buffer=False)
        for number in self.signals:
            # nohup's SIGHUP stays ignored, but for torchrun, which overrides nohup and kills its ranks 30 s later.
            ignored = signal.getsignal(number) is signal.SIG_IGN and number not in (signal.SIGINT, signal.SIGTERM)
            if not ignored or is_under_torchrun():
                # The number reaches the thread below through the socket; this handler only keeps the default one away.
                self._previous[number] = signal.signal(number, lambda *_: None)
        self._thread = threading.Thread(target=self._watch, args=(self._sockets[0],), name="signals", daemon=True)
        self._thread.start()
        _current = self

    def uninstall(self) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        if self._sockets is not None and self._thread is not None:
            signal.set_wakeup_fd(self._previous_fd)
            self._sockets[1].send(b"\0")
            self._thread.join()
            for end in self._sockets:
                end.close()
            self._sockets = self._thread = None

    def _watch(self, reader: socket.socket) -> None:
        deadline = None
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([reader], [], [], left)[0]:
                self._leave(
                    f"{self.received} {self.grace:g} s ago, and this process is still in its iteration ({GRACE_VARIABLE}): "
                    "it ends now. The work since the last checkpoint is lost."
                )
            for number in reader.recv(4096):
                if number == 0:
                    return
                if number not in self._previous:
                    continue  # every signal that Python has a handler for comes here, a data loader's SIGCHLD too
                self._note(signal.Signals(number))
                if deadline is None and is_distributed():
                    deadline = time.monotonic() + self.grace

    def _note(self, number: signal.Signals) -> None:
        """Classify a signal: the first request, a duplicate of it, or a second Ctrl-C that ends the run immediately."""
        now = time.monotonic()
        first = self._first.setdefault(number, now)
        if number == signal.SIGINT and now - first >= self.repeat:
            self.received = number.name
            self._leave("A second Ctrl-C: ended immediately. The work since the last checkpoint is lost.")
        if self.received is None:
            self.received = "the end of torchrun" if launcher_is_gone.is_set() else number.name
            get_root_logger().info(f"{self.received}: the run saves and stops after the current iteration.")

    def _leave(self, message: str) -> None:
        """End this process and its workers, even if its main thread is blocked."""
        with suppress(OSError):
            print(f"\nlightbsr: {message}", file=sys.stderr, flush=True)
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(128 + (signal.SIGINT if self.received == "SIGINT" else signal.SIGTERM))

    def ask_next_time(self) -> None:
        """Make the next iteration check again. To be called in all processes or in none."""
        self._next_question = 0

    def agreed(self, iteration: int, device: torch.device) -> bool:
        """Whether to stop before an iteration; with several processes, whether any of them was asked to.

        They check about once a second, since on CUDA this needs a host sync, and before every iteration that takes longer.
        """
        if not is_distributed():
            return self.received is not None
        if iteration < self._next_question:
            return False
        now, interval = time.monotonic(), 1
        if self._last_question is not None and iteration > self._last_question[0]:
            seconds = (now - self._last_question[1]) / (iteration - self._last_question[0])
            interval = max(1, min(_LONGEST_INTERVAL, int(_ASK_SECONDS / max(seconds, 1e-9))))
        self._last_question = iteration, now
        answer = torch.tensor([int(self.received is not None), -interval], device=device)
        torch.distributed.all_reduce(answer, torch.distributed.ReduceOp.MAX)
        asked, shortest = answer.tolist()
        self._next_question = iteration - shortest
        return bool(asked)


def give_signals_back() -> None:
    """Undo the last :meth:`StopRequest.install`."""
    global _current
    if _current is not None and threading.current_thread() is threading.main_thread():
        _current.uninstall()
        _current = None


def _grace_of_environment() -> float:
    text = os.environ.get(GRACE_VARIABLE)
    if not text:
        return _GRACE_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise OptionError(f"{GRACE_VARIABLE}: expected a number of seconds above 0, got {text!r}.")
    return seconds


def shield_worker() -> None:
    """In a worker of a data loader: leave signals to the training process, which needs its workers to finish an iteration.

    With torch's own handler a worker dies on any SIGTERM that is not its parent's, and the training with it.
    """
    signal.set_wakeup_fd(-1)
    for number in StopRequest.signals:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, name="signals", daemon=True).start()


def _obey_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
