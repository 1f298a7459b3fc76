"""Files appear whole or not at all, and only where they belong."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lightbsr_arch.display import printable
from lightbsr_arch.errors import CommandFailed, OptionError
from lightbsr_arch.recorded_file import RecordedFile

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a full quota, and a file larger than is allowed."""

_BUFFER = 1 << 20
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)
"""What file systems answer that cannot flush a file or a folder (pipes, some network shares)."""


class WriteFailed(CommandFailed, OSError):
    """A file could not be written. What was there before is unchanged, and nothing is left beside it."""

    def __init__(self, path: Path, error: OSError) -> None:
        """Name the file and what the system said."""
        advice = "; make room and try again" if error.errno in NO_ROOM else ""
        # Without strerror and filename, which would make OSError print itself instead of this message.
        super().__init__(f"{path} cannot be written: {error.strerror or error}{advice}")
        self.errno = error.errno


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears whole, in the place of what was there, when the block ends without an error.

    What is written is buffered, flushed, synced to the disk, closed and renamed; a failure of any of these is raised, also
    if the library that writes ignores it. The file has no ``fileno``, so that no library writes past these checks.

    Args:
        path: The file; its folder is made.

    Raises:
        WriteFailed: It cannot be written. The old file, if any, is unchanged.
    """
    temporary = path.with_name(f".lightbsr-{secrets.token_hex(8)}.tmp")
    try:
        with _errors_of(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = _CheckedFile(temporary, "xb+")
        with _closing(io.BufferedRandom(raw, _BUFFER)) as file:
            try:
                yield file
            except Exception as error:
                if raw.error is None or isinstance(error, FileExistsError):
                    raise
                # The library's own words for it ("encoder error -2") say less.
                raise WriteFailed(path, raw.error) from error
            if raw.error is not None:
                raise WriteFailed(path, raw.error)
            with _errors_of(path):
                file.flush()
                raw.sync()
                file.close()
        with _errors_of(path):
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file whose content is in memory; text as UTF-8, names of files in it as they are.

    Raises:
        WriteFailed: It cannot be written. The old file, if any, is unchanged.
    """
    with new_file(path) as file:
        file.write(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)


def check_writable(*files: Path) -> None:
    """Check, before long work, that files can be written. What is made for it is removed again, folders too.

    Raises:
        WriteFailed: One cannot.
    """
    for file in {file.parent: file for file in files}.values():
        missing = [folder for folder in (file.parent, *file.parent.parents) if not folder.exists()]
        trial = file.with_name(f".lightbsr-{secrets.token_hex(8)}.trial")
        try:
            write_whole(trial, b"")
        except WriteFailed as error:
            raise WriteFailed(file, OSError(error.errno, os.strerror(error.errno or errno.EIO))) from error
        finally:
            with contextlib.suppress(OSError):
                trial.unlink(missing_ok=True)
                for folder in missing:
                    folder.rmdir()


def inside(folder: Path, name: str) -> Path:
    """The path of a file whose name comes from data: always below the folder that the user named.

    Names are judged alike on every system, so that an image set is not safe on one and harmful on another. Symbolic links
    that the user has put into the folder are followed.

    Args:
        folder: Where the file belongs.
        name: Its name; folders within it are separated by ``/``.

    Raises:
        OptionError: The name is empty or absolute, or holds ``..``, a backslash, a drive letter or a control character.
    """
    fault = _fault_of(name)
    if fault is not None:
        raise OptionError(
            f"the name '{printable(name)}' {fault}, and could lead out of the output folder: rename the image, or leave it "
            "out of its meta_info.txt."
        )
    return folder / name


def _fault_of(name: str) -> str | None:
    parts = PurePosixPath(name).parts
    if not parts:
        return "is empty"
    if name.startswith("/"):
        return "is absolute"
    if ".." in parts:
        return "holds '..'"
    if "\\" in name:
        return "holds a backslash"
    if re.match(r"[A-Za-z]:", name):
        return "begins with a drive letter"
    # C0, DEL and C1: a terminal acts on all of them.
    return "holds a control character" if re.search(r"[\x00-\x1f\x7f-\x9f]", name) else None


class _CheckedFile(RecordedFile):
    """Hides its descriptor, so that every write goes through it."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")

    def sync(self) -> None:
        with _unless_unsupported():
            os.fsync(super().fileno())


@contextmanager
def _closing(file: io.BufferedRandom) -> Iterator[io.BufferedRandom]:
    """Close a file in the end; what it could not write is another's to report."""
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.close()


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteFailed(path, error) from error


@contextmanager
def _unless_unsupported() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself survive a power cut, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        with _unless_unsupported():
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
