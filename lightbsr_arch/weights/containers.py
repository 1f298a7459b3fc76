"""How much a model file holds, judged by its own tables before anything is read or unpacked.

A kilobyte of a compressed archive unpacks into a gigabyte; what a file may take in memory is bounded by its own size.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from lightbsr_arch.display import printable
from lightbsr_arch.weights.pickle_scan import check_plain_pickles

_RATIO = 16
"""Weights are all but incompressible: whatever unpacks to more than this many times the file is no weights."""

_ALWAYS = 32 * 2**20
"""Bytes that any archive may unpack to."""

LARGEST_PICKLE = 32 * 2**20
"""Bytes of names, sizes and plain values; the weights themselves lie apart."""

_LARGEST_HEADER = 8 * 2**20
"""Bytes of a safetensors file's header; a thousand weights take a hundred kilobytes."""

_LARGEST_JSON = 2**20
"""Bytes of what a graph for ``torch.export.load`` says of itself."""

_MOST_ENTRIES = 100_000
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RuntimeError, OverflowError)
"""What zipfile raises for archives that nobody's software wrote; NotImplementedError is a RuntimeError."""


def path_of(given: str) -> Path:
    """A path as someone typed it, with ``~`` for their home."""
    return Path(os.path.expanduser(given))  # noqa: PTH111 - pathlib's raises where there is no such user


def is_regular_file(path: Path) -> bool:
    """Whether a path leads to a regular file: no folder, pipe or device, no name that the system cannot take."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def is_archive(start: bytes) -> bool:
    """Whether a file that starts like this is a zip archive, which torch's format has been since 1.6."""
    return start.startswith(b"PK")


def is_safetensors(start: bytes) -> bool:
    """Whether a file that starts like this, by at least ten bytes, is a safetensors file."""
    return start[8:9] == b"{" and not is_archive(start)


class Archive:
    """A zip archive whose entries may be read: none encrypted, none beyond what the file's size warrants.

    Args:
        path: Of the file.

    Raises:
        ValueError: It is none, is damaged, or would unpack into more; the message gives the reason.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self.entries = archive.infolist()
        except _DAMAGED as error:
            raise ValueError("a damaged archive, or one that is cut short") from error
        if len(self.entries) > _MOST_ENTRIES:
            raise ValueError(f"an archive of {len(self.entries)} entries, more than any model has")
        for entry in self.entries:
            name = printable(entry.filename, 60)
            if entry.flag_bits & 1:
                raise ValueError(f"its entry {name} is encrypted")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"its entry {name} is compressed in a way that torch does not read")
        self.size = sum(entry.file_size for entry in self.entries)
        """Bytes that all entries unpack to."""
        if self.size > max(_RATIO * path.stat().st_size, _ALWAYS):
            raise ValueError(
                f"an archive of {path.stat().st_size} bytes that unpacks into {self.size}, more than weights would"
            )

    def find(self, ending: str) -> zipfile.ZipInfo | None:
        """The first entry whose name ends like this."""
        return next((entry for entry in self.entries if entry.filename.endswith(ending)), None)

    def read(self, entry: zipfile.ZipInfo, limit: int) -> bytes:
        """Read an entry.

        Args:
            entry: One of ``entries``.
            limit: Bytes that it may have.

        Raises:
            ValueError: It is larger, or damaged.
        """
        name = printable(entry.filename, 60)
        if entry.file_size > limit:
            raise ValueError(f"its entry {name} has {entry.file_size} bytes, more than {limit}")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(entry) as file:
                return file.read(limit + 1)
        except _DAMAGED as error:
            raise ValueError(f"its entry {name} is damaged") from error

    def read_json(self, ending: str) -> dict[str, Any]:
        """The JSON object in an entry; an empty one where there is no such entry.

        Args:
            ending: Of the entry's name.

        Raises:
            ValueError: It is none, or too large.
        """
        entry = self.find(ending)
        if entry is None:
            return {}
        text = self.read(entry, _LARGEST_JSON).decode("utf-8")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"its entry {printable(entry.filename, 60)} is no JSON") from error
        if not isinstance(value, dict):
            raise ValueError(f"its entry {printable(entry.filename, 60)} is no JSON object")
        return value


def check_torch_file(path: Path) -> int:
    """Check that ``torch.load`` may read a file: an archive with a pickle, or pickles in a row.

    Returns:
        The bytes that it unpacks to.

    Raises:
        ValueError: It must not; the message gives the reason.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if is_archive(file.read(10)):
            archive = Archive(path)
            entry = archive.find("data.pkl")
            if entry is None:
                raise ValueError("an archive without a checkpoint in it")
            check_plain_pickles(io.BytesIO(archive.read(entry, LARGEST_PICKLE)), 1)
            return archive.size
        if size == 0:
            raise ValueError("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            check_plain_pickles(content)
    return size


def check_safetensors(path: Path) -> int:
    """Check that a safetensors file's header is of a size that it may have.

    Returns:
        The file's size in bytes.

    Raises:
        ValueError: It is not; the message gives the reason.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) < 8:
        raise ValueError("it ends within its first eight bytes")
    header = int.from_bytes(start, "little")
    if header > min(size - 8, _LARGEST_HEADER):
        raise ValueError(f"its header would have {header} bytes of the file's {size}")
    return size


def unpacked_size(path: Path) -> int:
    """The bytes that a model file holds: its size, or what its entries unpack to.

    Raises:
        ValueError: It is a damaged archive.
    """
    with path.open("rb") as file:
        start = file.read(10)
    return Archive(path).size if is_archive(start) else path.stat().st_size
