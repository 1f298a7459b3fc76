"""The bytes of an image: from a regular file or from standard input, and from nothing that might never end."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from lightbsr_arch.errors import ImageError

_BYTES_PER_PIXEL = 16
"""Of the largest kind that is read: four channels of 32-bit floats."""

_AT_A_TIME = 1 << 20

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO (named pipe); pipes are read from standard input, as `-`"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def largest_file() -> int:
    """Bytes of the largest image that is read, uncompressed: a file with more holds none."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 1 << 40) * _BYTES_PER_PIXEL


def no_regular_file(mode: int) -> str | None:
    """What a file is that is not a regular one, of its ``st_mode``; None for regular files."""
    if stat.S_ISREG(mode):
        return None
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "a special file")


def read_file(path: Path) -> bytes:
    """Read a regular file, or a link to one.

    Raises:
        ImageError: A FIFO, a device, a socket or a folder, which might never end; or more bytes than an image has.
        OSError: It is not there or cannot be read.
    """
    _check_regular(path.stat().st_mode)
    # Not blocking, and checked again: it may have been replaced by a FIFO since.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        now = os.fstat(descriptor)
        _check_regular(now.st_mode)
        if now.st_size > largest_file():
            raise _too_large(now.st_size)
        return file.read(now.st_size)


def read_standard_input() -> bytes:
    """Read standard input to its end.

    Raises:
        ImageError: It is closed, a terminal or a device; or more bytes than an image has.
        OSError: It cannot be read.
    """
    if sys.stdin is None:
        raise ImageError("standard input is closed.")
    kind = None if _has_no_descriptor(sys.stdin.buffer) else os.fstat(sys.stdin.fileno()).st_mode
    if kind is not None and not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        what = "a terminal" if sys.stdin.isatty() else no_regular_file(kind)
        if what is not None:
            raise ImageError(f"standard input is {what}: pipe an image into it, or redirect it from a file.")
    return _read_to_the_end(sys.stdin.buffer)


def _read_to_the_end(file: BinaryIO) -> bytes:
    content, limit = bytearray(), largest_file()
    while part := file.read(_AT_A_TIME):
        content += part
        if len(content) > limit:
            raise _too_large(len(content))
    return bytes(content)


def _has_no_descriptor(file: BinaryIO) -> bool:
    try:
        file.fileno()
    except OSError:  # io.UnsupportedOperation: a program that uses this one as a library put something else there
        return True
    return False


def _check_regular(mode: int) -> None:
    what = no_regular_file(mode)
    if what is not None:
        raise ImageError(f"expected a regular file, got {what}.")


def _too_large(size: int) -> ImageError:
    return ImageError(
        f"too large: {size} bytes or more, but an image of {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels, the most that are "
        f"read, has at most {largest_file()}; cut it into parts."
    )
