"""Work on many images in processes: in order, in bounded memory, with a progress bar."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context, parent_process
from typing import Any, Generic, TypeVar

import cv2
import torch
from tqdm import tqdm

from lightbsr_arch.errors import CommandFailed

WORTH_STARTING = 32
"""Workers take seconds to start: at most this number of items is processed without them."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerPool(Generic[Item, Result]):
    """Processes that work in order, a few items ahead of what is taken.

    Args:
        function: What is done with an item. Sent to a worker once, so it may hold long lists.
        count: How many processes; 0 works in this one, and so does a handful of items.
    """

    def __init__(self, function: Callable[[Item], Result], count: int) -> None:
        self._function = function
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> WorkerPool[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    @property
    def processes(self) -> int:
        """How many work: 1 is this one alone."""
        return 1 if self._pool is None else self._count

    def map(self, items: Sequence[Item], title: str = "") -> Iterator[Result]:
        """Results in the order of the items. At most twice as many are held as there are workers.

        Args:
            items: What the function is called with.
            title: Of a progress bar; none without.

        Raises:
            CommandFailed: A worker died.
        """
        if self._count > 0 and self._pool is None and len(items) > WORTH_STARTING:
            self._pool = self._started()
        results = map(self._function, items) if self._pool is None else self._ahead(self._pool, items)
        if not title:
            yield from results
            return
        on_terminal = sys.stderr.isatty()
        with tqdm(total=len(items), desc=title, unit="picture", mininterval=0.1 if on_terminal else 30) as bar:
            for result in results:
                yield result
                bar.update()

    def _started(self) -> ProcessPoolExecutor:
        # Workers forked off this process would inherit the locks of its threads, OpenCV's and torch's among them.
        context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
        if context.get_start_method() == "forkserver":
            context.set_forkserver_preload([__name__])
        return ProcessPoolExecutor(self._count, context, initializer=_start_worker, initargs=(self._function,))

    def _ahead(self, pool: ProcessPoolExecutor, items: Sequence[Item]) -> Iterator[Result]:
        under_way: deque[Future[Result]] = deque()
        try:
            for item in items:
                under_way.append(pool.submit(_work, item))
                if len(under_way) >= 2 * self._count:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BrokenProcessPool as error:
            raise CommandFailed(
                "a worker process was killed, probably for want of memory: take fewer --workers and run it again."
            ) from error


_function: Callable[[Any], Any] | None = None
"""What this process does, if it is a worker."""


def _start_worker(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent sees to it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(item: Any) -> Any:
    if _function is None:
        raise RuntimeError("a worker works only after _start_worker.")
    return _function(item)


def usable_cores() -> int:
    """Cores that this process may run on."""
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
