"""Files out of a Debian package, read without Debian's tools."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_model.data.found_images import FoundImage

_MAGIC = b"!<arch>\n"
_HEADER = 60
"""Bytes of an ar member's header: its name in the first 16, its size in 10 from 48, the last two fixed."""
_MODES: dict[str, Literal["r|", "r|gz", "r|bz2", "r|xz"]] = {
    "data.tar": "r|",
    "data.tar.gz": "r|gz",
    "data.tar.bz2": "r|bz2",
    "data.tar.xz": "r|xz",
}


def find_in_deb(archive: Path, names: Collection[str]) -> list[FoundImage]:
    """The files of these names in a ``.deb``, with their contents: it is compressed as a whole, so it is read once.

    Args:
        archive: The package (deb(5): an ar archive with a tar archive of its files).
        names: File names, without folders.

    Raises:
        MissingFileError: There is no such file.
        OptionError: It is damaged or no package, or its compression cannot be read here.
    """
    if not archive.is_file():
        raise MissingFileError(f"{archive}: there is no such file.")
    try:
        with archive.open("rb") as file:
            mode = _MODES.get(member := _seek_data(file))
            if mode is None:
                raise _unreadable(archive, f"its files are in {member}")
            found = []
            with tarfile.open(fileobj=file, mode=mode) as tar:
                for info in tar:
                    content = tar.extractfile(info) if PurePosixPath(info.name).name in names else None
                    if content is not None:
                        member = PurePosixPath(info.name).as_posix()
                        found.append(FoundImage(archive, member, info.size, str(info.mtime), content=content.read()))
            return found
    except tarfile.CompressionError as error:
        raise _unreadable(archive, str(error)) from error
    except (_NoPackageError, OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise OptionError(
            f"{archive}: cannot be read as a Debian package ({error}); it is damaged or something else. Download it again."
        ) from error


class _NoPackageError(Exception):
    """What is wrong with an ar archive."""


def _seek_data(file: BinaryIO) -> str:
    """Go to where the tar archive of the files begins, and give its name."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise _NoPackageError("it does not begin like one")
    end = file.seek(0, 2)
    position = len(_MAGIC)
    while position < end:
        file.seek(position)
        header = file.read(_HEADER)
        size = header[48:58].strip()
        if not header.endswith(b"`\n") or not size.isdigit():
            raise _NoPackageError(f"no header of a member at byte {position}")
        position += _HEADER + int(size)
        if position > end:
            raise _NoPackageError(f"{position} bytes are announced, {end} are there")
        name = header[:16].decode("ascii", "replace").rstrip().rstrip("/")
        if name.startswith("data.tar"):
            return name
        position += position % 2  # members begin at even bytes
    raise _NoPackageError("it has no data.tar")


def _unreadable(archive: Path, reason: str) -> OptionError:
    return OptionError(
        f"{archive}: this Python cannot unpack it ({reason}; expected {', '.join(_MODES)}). Unpack it by "
        f"`dpkg-deb -x {archive.name} FOLDER` and name FOLDER instead."
    )
