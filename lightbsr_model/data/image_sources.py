"""Where images come from: a folder, a folder with a meta_info file, an LMDB, or scikit-image's bundled pictures."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import lmdb
from basicsr.utils import get_root_logger

from lightbsr_model.data.decoding import RGBImage, decode_rgb
from lightbsr_model.errors import ImageError, MissingFileError, OptionError

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})

HOW_TO_GET_DATA = (
    "datasets/README.md says where the data sets come from and how to lay them out. "
    "To see everything work without a download, run `lightbsr demo`, or train options/demo/train_teacher.yml, "
    "which takes scikit-image's bundled pictures."
)


class ImageSource(Protocol):
    """A list of named images."""

    @property
    def names(self) -> Sequence[str]:
        """One a picture: a path, or an LMDB's key."""

    def content(self, index: int) -> bytes:
        """The encoded file."""


class FolderImages:
    """The images directly in a folder, in the order of their names, or those that a meta_info file lists.

    Args:
        root: The folder.
        meta_info_file: One image a line, as BasicSR writes it: ``0001.png (480,480,3)``; the first word counts.

    Raises:
        MissingFileError: The folder or a listed file is missing.
        ImageError: There is no image.
    """

    def __init__(self, root: Path, meta_info_file: Path | None = None) -> None:
        if not root.is_dir():
            raise MissingFileError(f"dataroot_gt: there is no folder {root}. {HOW_TO_GET_DATA}")
        if meta_info_file is None:
            paths = sorted(path for path in root.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
        else:
            if not meta_info_file.is_file():
                raise MissingFileError(f"meta_info_file: there is no file {meta_info_file}.")
            lines = meta_info_file.read_text(encoding="utf-8").splitlines()
            paths = [root / line.split(" (")[0].strip() for line in lines if line.strip()]
            missing = [path for path in paths if not path.is_file()]
            if missing:
                raise MissingFileError(
                    f"meta_info_file: {len(missing)} of the {len(paths)} images that {meta_info_file} lists are not in "
                    f"{root}, first {missing[0].name}."
                )
        if not paths:
            raise ImageError(f"dataroot_gt: no images in {root}. {HOW_TO_GET_DATA}")
        self.names = [str(path) for path in paths]

    def content(self, index: int) -> bytes:
        """Read a file."""
        return Path(self.names[index]).read_bytes()


@lru_cache(maxsize=64)
def _environment(path: str, process: int) -> lmdb.Environment:
    """One environment a file and process: LMDB refuses to open a file twice in a process, or to go through a fork."""
    return lmdb.open(path, readonly=True, lock=False, readahead=False, meminit=False)


class LmdbImages:
    """The images of an LMDB in BasicSR's format: a folder ``*.lmdb`` with data.mdb and meta_info.txt.

    Raises:
        MissingFileError: The folder or its meta_info.txt is missing.
        ImageError: There is no image.
    """

    def __init__(self, root: Path) -> None:
        meta_info = root / "meta_info.txt"
        if not meta_info.is_file():
            raise MissingFileError(
                f"dataroot_gt: {root} is no LMDB in BasicSR's format (a folder with data.mdb and meta_info.txt). "
                f"{HOW_TO_GET_DATA}"
            )
        lines = meta_info.read_text(encoding="utf-8").splitlines()
        # "0001.png (480,480,3) 1": BasicSR's key is the name without its extension.
        self.names = [os.path.splitext(line.split(" (")[0])[0] for line in lines if line.strip()]
        if not self.names:
            raise ImageError(f"dataroot_gt: {meta_info} lists no images.")
        self._path = os.path.realpath(root)

    def content(self, index: int) -> bytes:
        """Read a record."""
        with _environment(self._path, os.getpid()).begin(write=False, buffers=False) as transaction:
            content = transaction.get(self.names[index].encode())
        if content is None:
            raise ImageError(f"{self._path}: meta_info.txt lists {self.names[index]!r}, but there is no such record.")
        return bytes(content)


class BundledImages:
    """Pictures that come with scikit-image, by name (astronaut, coffee, chelsea, ...), without a download.

    Raises:
        MissingFileError: A name that scikit-image does not bundle.
    """

    def __init__(self, pictures: Sequence[str]) -> None:
        spec = importlib.util.find_spec("skimage")
        folder = Path(str(spec.origin)).parent / "data" if spec is not None else Path("skimage/data")
        bundled = {path.stem: path for path in sorted(folder.glob("*")) if path.suffix.lower() in _SUFFIXES}
        unknown = [name for name in pictures if name not in bundled]
        if unknown or not pictures:
            raise MissingFileError(
                f"pictures: scikit-image bundles no {', '.join(unknown) or 'picture without a name'}; "
                f"it has {', '.join(bundled)}."
            )
        self.names = [str(bundled[name]) for name in pictures]

    def content(self, index: int) -> bytes:
        """Read a file."""
        return Path(self.names[index]).read_bytes()


class ImageReader:
    """Decoded images of a source.

    Args:
        source: Where they are.
        keep: Hold decoded images in memory; for a handful of them.
    """

    def __init__(self, source: ImageSource, keep: bool = False) -> None:
        self.source = source
        self._kept: dict[int, RGBImage] | None = {} if keep else None
        self._noted: set[int] = set()

    def __len__(self) -> int:
        return len(self.source.names)

    def name(self, index: int) -> str:
        """The path or key of an image."""
        return self.source.names[index]

    def read(self, index: int) -> RGBImage:
        """Read and decode an image to 8-bit RGB, (H, W, 3).

        Raises:
            ImageError: It cannot be read; the message names it.
        """
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        image, dropped_alpha = decode_rgb(self.source.content(index), self.name(index))
        if dropped_alpha and index not in self._noted:
            self._noted.add(index)
            get_root_logger().warning(f"{self.name(index)}: its alpha channel is dropped.")
        if self._kept is not None:
            self._kept[index] = image
        return image


def open_images(opt: Mapping[str, Any]) -> ImageReader:
    """Open the GT images of a data set's options.

    Args:
        opt: ``io_backend.type`` (``disk``, the default, ``lmdb`` or ``bundled``); ``dataroot_gt`` and, on disk,
            optionally ``meta_info_file``; for ``bundled`` the list ``pictures``.

    Raises:
        MissingFileError: Something named does not exist.
        OptionError: An unknown backend.
    """
    backend = opt.get("io_backend", {}).get("type", "disk")
    if backend == "bundled":
        return ImageReader(BundledImages(opt.get("pictures") or []), keep=True)
    if opt.get("dataroot_gt") is None:
        raise OptionError("dataroot_gt: missing; give the folder or the LMDB that holds the GT images.")
    root = Path(opt["dataroot_gt"]).expanduser()
    if backend == "disk":
        meta_info = opt.get("meta_info_file")
        return ImageReader(FolderImages(root, None if meta_info is None else Path(meta_info).expanduser()))
    if backend == "lmdb":
        return ImageReader(LmdbImages(root))
    raise OptionError(f"io_backend.type: expected disk, lmdb or bundled, got {backend!r}.")
