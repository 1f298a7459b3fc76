"""What a set is made of, and where its images lie while it grows: a folder of PNG files or an LMDB."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import lmdb

from lightbsr_arch.saving import inside
from lightbsr_model.data.lmdb_keys import key_of_name

_FIRST_MAP = 128 * 2**20
"""Size of an LMDB's memory map at first, in bytes; it doubles when it is full."""


@dataclass(frozen=True)
class EncodedPng:
    """One image of a set."""

    name: str
    """Without extension."""
    content: bytes
    """The PNG file."""
    shape: tuple[int, int, int]
    """Height, width, channels."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is known of it besides. JSON values."""

    @property
    def entry(self) -> ImageEntry:
        """What is left of it in the journal."""
        return ImageEntry(self.name, *self.shape, dict(self.facts))


class ImageEntry(NamedTuple):
    """An image that is in the set."""

    name: str
    """Without extension."""
    height: int
    """In pixels."""
    width: int
    """In pixels."""
    channels: int
    """1 or 3."""
    facts: dict[str, Any]
    """See :class:`EncodedPng`."""


class Store(Protocol):
    """Where the images of a set under way lie."""

    def put(self, images: Sequence[EncodedPng]) -> None:
        """Write images, to be on the disk when this returns."""

    def keep_only(self, names: Collection[str]) -> None:
        """Take all other images out again: of images that changed or went away between two starts."""

    def close(self) -> None:
        """Finish writing."""


class FolderStore:
    """A folder of PNG files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, images: Sequence[EncodedPng]) -> None:
        """Write images."""
        for image in images:
            path = inside(self._folder, f"{image.name}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(image.content)
                file.flush()
                os.fsync(file.fileno())

    def keep_only(self, names: Collection[str]) -> None:
        """Take all other images out again."""
        wanted = {f"{name}.png" for name in names}
        for path in list(self._folder.rglob("*")):
            # In the folders below, names are of images; what is in info/ besides is known of the set.
            is_image = path.suffix == ".png" or path.parent == self._folder
            if is_image and path.is_file() and path.relative_to(self._folder).as_posix() not in wanted:
                path.unlink()

    def close(self) -> None:
        """Finish writing."""


class LmdbStore:
    """An LMDB, whose keys are those of :mod:`lightbsr_model.data.lmdb_keys`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        data = folder / "data.mdb"
        self._map_size = max(_FIRST_MAP, 2 * data.stat().st_size if data.is_file() else 0)
        self._environment = lmdb.open(str(folder), map_size=self._map_size)

    def put(self, images: Sequence[EncodedPng]) -> None:
        """Write images."""
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for image in images:
                        transaction.put(key_of_name(image.name).encode(), image.content)
                return
            except lmdb.MapFullError:  # noqa: PERF203 - a few times in all
                self._map_size *= 2
                self._environment.set_mapsize(self._map_size)

    def keep_only(self, names: Collection[str]) -> None:
        """Take all other images out again."""
        wanted = {key_of_name(name).encode() for name in names}
        with self._environment.begin(write=True) as transaction:
            for key in [key for key in transaction.cursor().iternext(values=False) if key not in wanted]:
                transaction.delete(key)

    def close(self) -> None:
        """Finish writing."""
        self._environment.close()
        # Readers map as much as the file says: no more than it holds.
        with lmdb.open(str(self._folder), map_size=(self._folder / "data.mdb").stat().st_size) as environment:
            environment.sync(True)
