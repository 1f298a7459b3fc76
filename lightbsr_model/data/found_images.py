"""Picture files as users download them: in folders, zip archives and tar archives, which need no unpacking."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from lightbsr_arch.errors import ImageError, MissingFileError, OptionError
from lightbsr_model.data.image_sources import SUFFIXES


@dataclass(frozen=True)
class FoundImage:
    """An image's file."""

    container: Path
    """The folder or the archive."""
    member: str
    """Its path in there, with slashes."""
    size: int
    stamp: str
    """What changes when the file does: the time of its last change, or a checksum."""
    offset: int | None = None
    """Where its bytes start in a tar archive."""
    name: str = ""
    """What to call the image: its file name without the extension, made unique by :func:`named`."""
    content: bytes | None = field(default=None, repr=False, compare=False)
    """The file, where it was read already; None reads it from the container."""
    shrink: int = 1
    """Factor by which the image is shrunk before it is cut."""

    def __str__(self) -> str:
        """The path, through the archive if it is in one."""
        return str(self.container / self.member)

    @property
    def identity(self) -> str:
        """Tells this content under this name from any other, wherever the container lies."""
        return f"{self.name}|{self.member}|{self.size}|{self.stamp}"

    def read(self) -> bytes:
        """The file's content.

        Raises:
            ImageError: It cannot be read.
        """
        if self.content is not None:
            return self.content
        try:
            if self.offset is not None:
                with self.container.open("rb") as file:
                    file.seek(self.offset)
                    return file.read(self.size)
            if self.container.is_dir():
                return (self.container / self.member).read_bytes()
            return _zip(str(self.container), os.getpid()).read(self.member)
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise ImageError(f"{self}: cannot be read ({error}).") from error


@lru_cache(maxsize=8)
def _zip(path: str, process: int) -> zipfile.ZipFile:
    """One open file a process: its position must not be shared through a fork."""
    return zipfile.ZipFile(path)


def find_pictures(source: Path, recursive: bool = False) -> list[FoundImage]:
    """The images in a folder or an archive, in the order of their paths.

    Args:
        source: A folder, ``.zip`` or uncompressed ``.tar``.
        recursive: Look into a folder's folders too; an archive is always read whole.

    Raises:
        MissingFileError: There is nothing of that name.
        OptionError: Neither a folder nor such an archive.
        ImageError: There are no images in it.
    """
    source = source.expanduser()
    if not source.exists():
        raise MissingFileError(f"{source}: there is no such folder or archive.")
    if source.is_dir():
        found = _in_folder(source, recursive)
    elif zipfile.is_zipfile(source):
        found = _in_zip(source)
    elif source.name.lower().endswith(".tar") and tarfile.is_tarfile(source):
        found = _in_tar(source)
    else:
        raise OptionError(
            f"{source}: expected a folder, a .zip or a .tar of images. It is none of them, cut short, or compressed: "
            "download it again, or unpack it and name the folder."
        )
    pictures = sorted(found, key=lambda picture: picture.member)
    if not pictures:
        raise ImageError(
            f"{source}: no images in it ({', '.join(sorted(SUFFIXES))})"
            + ("." if recursive or not source.is_dir() else "; --recursive looks into its folders too.")
        )
    return pictures


def _is_picture(member: str) -> bool:
    path = PurePosixPath(member)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def _in_folder(root: Path, recursive: bool) -> Iterator[FoundImage]:
    for folder, inner, files in os.walk(root):
        if not recursive:
            inner.clear()
        for file in files:
            path = Path(folder, file)
            member = path.relative_to(root).as_posix()
            if _is_picture(member):
                try:
                    status = path.stat()
                except OSError:  # a link to nothing: named when it is read
                    yield FoundImage(root, member, 0, "")
                else:
                    yield FoundImage(root, member, status.st_size, str(status.st_mtime_ns))


def _in_zip(archive: Path) -> Iterator[FoundImage]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if not info.is_dir() and _is_picture(info.filename):
                yield FoundImage(archive, info.filename, info.file_size, f"{info.CRC:08x}")


def _in_tar(archive: Path) -> Iterator[FoundImage]:
    try:
        with tarfile.open(archive, "r:") as file:
            for info in file:
                if info.isfile() and _is_picture(info.name):
                    yield FoundImage(archive, info.name, info.size, str(info.mtime), info.offset_data)
    except tarfile.TarError as error:
        raise OptionError(f"{archive}: cannot be read to its end ({error}); download it again.") from error


def named(pictures: Sequence[FoundImage]) -> list[FoundImage]:
    """Give each image the name of its file without extension; with extension where two would have the same.

    Raises:
        OptionError: Two images have one name even so.
    """
    alike: dict[str, list[FoundImage]] = defaultdict(list)
    for picture in pictures:
        alike[PurePosixPath(picture.member).stem].append(picture)
    clashing = {stem for stem, group in alike.items() if len(group) > 1}
    result: list[FoundImage] = []
    first: dict[str, FoundImage] = {}
    for picture in pictures:
        path = PurePosixPath(picture.member)
        name = path.name.replace(".", "_") if path.stem in clashing else path.stem
        if name in first:
            raise OptionError(
                f"{picture} and {first[name]} would both be called {name}: rename one, or prepare them as two sets."
            )
        first[name] = picture
        result.append(replace(picture, name=name))
    return result
