"""Standard streams that are closed, full, or in an encoding that cannot represent a file name."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import BinaryIO, TextIO, cast

from lightbsr_arch.recorded_file import RecordedFile

_STANDARD = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))


def prepare_streams() -> bool:
    """Make printing safe: line-buffered even into a pipe, and escaped where the encoding lacks a character.

    Closed descriptors are opened on the null device: otherwise the next opened file would get their numbers, and with them
    the output of libraries that write to descriptor 1 or 2. ``sys.stdin`` stays None if standard input is closed.

    Returns:
        Whether standard output is open.
    """
    output_is_open = sys.stdout is not None
    for number, name, mode in _STANDARD:
        if getattr(sys, name) is None:
            _open_null_device(number)
            if mode == "w":
                setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - as long as the process
    sys.stdout = _with_memory_for_errors(sys.stdout)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    return output_is_open


def report(message: str) -> None:
    """Print a line on standard error, if that is writable."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def write_out() -> OSError | None:
    """Flush the standard streams, so that nothing can fail when the interpreter exits.

    Returns:
        Why standard output could not be written, now or earlier, or None. What could not be written is dropped.
    """
    try:
        sys.stderr.flush()
    except OSError:
        _drop(sys.stderr)
    remembered = _remembered(sys.stdout)
    try:
        sys.stdout.flush()
    except OSError as error:
        remembered = remembered or error
    if remembered is not None:
        _drop(sys.stdout)
    return remembered


def _with_memory_for_errors(stream: TextIO) -> TextIO:
    """Standard output over a RecordedFile, if it is the interpreter's own and a file."""
    if stream is not sys.__stdout__ or not isinstance(stream, io.TextIOWrapper):
        return stream
    unbuffered = isinstance(stream.buffer, io.FileIO)  # python -u
    if type(stream.buffer if unbuffered else getattr(stream.buffer, "raw", None)) is not io.FileIO:
        return stream  # the Windows console uses another class
    stream.flush()
    raw = RecordedFile(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        cast(BinaryIO, raw) if unbuffered else io.BufferedWriter(raw),
        encoding=stream.encoding,
        write_through=stream.write_through,
    )


def _remembered(stream: TextIO) -> OSError | None:
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw.error if isinstance(raw, RecordedFile) else None


def _drop(stream: TextIO) -> None:
    """Discard the rest: the interpreter flushes again when it exits, and would print its own error."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _open_null_device(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.set_inheritable(number, True)
