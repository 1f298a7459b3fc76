"""What a training writes besides its checkpoints (TensorBoard's events, validation images) never ends it: one warning.

- torch's SummaryWriter writes in a separate thread; its errors are raised by a later ``add_scalar`` or ``close``, in the
  middle of BasicSR's loop.
- ``utils/img_util.py:152``: a validation image that cannot be written raises, and OpenCV may leave half of one, unreported.
  Here it appears whole or not at all. In a test the images are the product, and their failure ends it.
- The path of a validation image is made of names from the data (``lq_path`` of a record, ``folder`` of a video's list):
  ``..`` in them leads out of the run's folder (sr_model.py:172, video_base_model.py:80), equal names in two folders
  overwrite each other, and BasicSR's progress bar sends them to the terminal as they are. Here nothing is written outside
  the folder for the run's images, a second image of a name is reported, and the bar shows names escaped.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import cv2
from basicsr.utils import get_root_logger
from tqdm import tqdm

from lightbsr_arch.display import printable
from lightbsr_arch.saving import WriteFailed, write_whole

_is_training: ContextVar[bool] = ContextVar("_is_training", default=False)
_reported: set[str] = set()
_written: set[Path] = set()
"""Images of the current validation of a training, or of a whole test."""
_image_folder: Path | None = None
"""Where the images of this process's run belong; None before a run's options are read."""


def begin_run(opt: dict[str, Any]) -> None:
    """Take note of where a run's images belong, and forget an earlier run of this process."""
    global _image_folder
    _image_folder = Path(opt["path"]["visualization"])
    _reported.clear()
    _written.clear()


def report_once(what: str, error: Exception) -> None:
    """Warn about a side product that cannot be written, the first time in a run."""
    if what not in _reported:
        _reported.add(what)
        get_root_logger().warning(
            f"{what} cannot be written ({printable(error, 1000)}): the training continues without it."
        )


@contextmanager
def validation_of_a_training() -> Iterator[None]:
    """Where images are a side product."""
    token = _is_training.set(True)
    _written.clear()
    try:
        yield
    finally:
        _is_training.reset(token)


def write_image(img: Any, file_path: str, params: Any = None, auto_mkdir: bool = True) -> None:
    """Replaces ``basicsr.utils.imwrite`` in BasicSR's models.

    Args:
        img: (H, W, 3) or (H, W), BGR.
        file_path: The file; its extension determines the format.
        params: OpenCV's.
        auto_mkdir: Ignored; folders are always created.

    Raises:
        WriteFailed: The image cannot be written or its name leads outside its folder, and it is the result of a test.
    """
    path = Path(os.path.abspath(file_path))
    try:
        _check_place(path)
        write_whole(path, cv2.imencode(path.suffix, img, params or [])[1].tobytes())
    except WriteFailed as error:
        if not _is_training.get():
            raise
        report_once("A validation image", error)


def _check_place(path: Path) -> None:
    if "\0" in str(path):
        raise WriteFailed(path, OSError(errno.EINVAL, "a name cannot hold NUL"))
    if _image_folder is not None and not path.is_relative_to(os.path.abspath(_image_folder)):
        raise WriteFailed(path, OSError(errno.EPERM, f"the image's name leads out of {_image_folder}"))
    if path in _written and "equal names" not in _reported:
        _reported.add("equal names")
        get_root_logger().warning(
            f"Several validation images have the name {printable(path.name)}: of equal names in different folders, only "
            "the last image is kept."
        )
    _written.add(path)


class EscapingBar(tqdm):  # type: ignore[type-arg]
    """BasicSR's progress bar over a validation, with an image's name shown escaped."""

    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
        """Show what is being restored."""
        super().set_description(printable(desc or ""), refresh)


class GuardedLogger:
    """TensorBoard's writer, which warns once and then does nothing if it cannot write.

    Args:
        writer: A ``torch.utils.tensorboard.SummaryWriter``.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._has_failed = False
        _silence_writer_threads()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._writer, name)
        return self._guarded(attribute) if callable(attribute) else attribute

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._has_failed:
                return None
            try:
                return method(*args, **kwargs)
            except OSError as error:
                self._has_failed = True
                report_once("TensorBoard's file", error)
                return None

        return call


def open_guarded(open_loggers: Callable[[dict[str, Any]], Any], opt: dict[str, Any]) -> Any:
    """BasicSR's ``init_tb_loggers`` with a guarded writer; None without TensorBoard.

    A folder that cannot be created ends the run: nothing has started yet.
    """
    writer = open_loggers(opt)
    return None if writer is None else GuardedLogger(writer)


def _silence_writer_threads() -> None:
    """Suppress the traceback of TensorBoard's thread: the writer raises its error again, and it is reported then."""
    previous = threading.excepthook
    if getattr(previous, "leaves_writers_out", False):
        return

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if type(arguments.thread).__name__ != "_AsyncWriterThread":
            previous(arguments)

    hook.leaves_writers_out = True  # type: ignore[attr-defined]
    threading.excepthook = hook


def guard_images() -> None:
    """Make BasicSR's models write images with :func:`write_image`, and show their names in an :class:`EscapingBar`."""
    replacements = {"imwrite": write_image, "tqdm": EscapingBar}
    for name, module in list(sys.modules.items()):
        if name.startswith("basicsr.models."):
            for function, replacement in replacements.items():
                if hasattr(module, function):
                    setattr(module, function, replacement)
