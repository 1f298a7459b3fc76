"""Where images come from: a folder, a folder with a meta_info file, an LMDB, or scikit-image's bundled images."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from basicsr.utils import get_root_logger

from lightbsr_arch.display import printable
from lightbsr_arch.errors import ImageError, MissingFileError, OptionError
from lightbsr_model.data.decoding import RGBImage
from lightbsr_model.data.lmdb_environments import shared_environment
from lightbsr_model.data.lmdb_file import check_whole
from lightbsr_model.data.lmdb_keys import RECORD_FILE, name_of_key
from lightbsr_model.data.row_decoding import EncodedImage

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})

HOW_TO_GET_DATA = (
    "datasets/README.md says where the data sets come from and how to lay them out. "
    "To see everything work without a download, run `lightbsr demo`, or train options/demo/train_teacher.yml, "
    "which takes scikit-image's bundled images."
)


class ImageSource(Protocol):
    """A list of named images."""

    @property
    def names(self) -> Sequence[str]:
        """One per image: its path, or its name in an LMDB."""

    def stem(self, index: int) -> str:
        """An image's name without folder and extension, the same from a folder and from an LMDB made of it."""

    def content(self, index: int) -> bytes:
        """The encoded file."""

    def stamp(self, index: int) -> tuple[int, str]:
        """The file's size in bytes (of an LMDB on average), and what changes when its content does."""


def _file_stamp(path: Path) -> tuple[int, str]:
    status = path.stat()
    return status.st_size, f"{status.st_size} {status.st_mtime_ns}"


class _Files:
    """Images that are files; ``names`` are their paths."""

    names: list[str]

    def stem(self, index: int) -> str:
        """The file's name without extension."""
        return Path(self.names[index]).stem

    def content(self, index: int) -> bytes:
        """Read a file."""
        return Path(self.names[index]).read_bytes()

    def stamp(self, index: int) -> tuple[int, str]:
        """Its size and the time of its last change."""
        return _file_stamp(Path(self.names[index]))


class FolderImages(_Files):
    """The images directly in a folder, in the order of their names, or those that a meta_info file lists.

    Args:
        root: The folder.
        meta_info_file: One image a line, as BasicSR writes it: ``0001.png (480,480,3)``; the first word counts.
        key: The option that names the folder, for errors.

    Raises:
        MissingFileError: The folder or a listed file is missing.
        ImageError: There is no image.
    """

    def __init__(self, root: Path, meta_info_file: Path | None = None, key: str = "dataroot_gt") -> None:
        if not root.is_dir():
            raise MissingFileError(key, f"there is no folder {root}.{_advice(key)}")
        if meta_info_file is None:
            paths = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
        else:
            if not meta_info_file.is_file():
                raise MissingFileError("meta_info_file", f"there is no file {meta_info_file}.")
            lines = meta_info_file.read_text(encoding="utf-8").splitlines()
            paths = [root / line.split(" (")[0].strip() for line in lines if line.strip()]
            missing = [path for path in paths if not path.is_file()]
            if missing:
                raise MissingFileError(
                    "meta_info_file",
                    f"{len(missing)} of the {len(paths)} images that {meta_info_file} lists are not in "
                    f"{root}, first {missing[0].name}.",
                )
        if not paths:
            raise ImageError(key, f"no images in {root}.{_advice(key)}")
        self.names = [str(path) for path in paths]


class LmdbImages:
    """The images of an LMDB in BasicSR's format: a folder ``*.lmdb`` with data.mdb and meta_info.txt.

    Args:
        root: The folder.
        key: The option that names it, for errors.

    Raises:
        MissingFileError: The folder or its meta_info.txt is missing.
        ImageError: There is no image.
        OptionError: Its data.mdb is cut short.
    """

    def __init__(self, root: Path, key: str = "dataroot_gt") -> None:
        meta_info = root / "meta_info.txt"
        if not meta_info.is_file():
            raise MissingFileError(
                key,
                f"{root} is no LMDB in BasicSR's format (a folder with data.mdb and meta_info.txt).{_advice(key)}",
            )
        lines = meta_info.read_text(encoding="utf-8").splitlines()
        # "0001.png (480,480,3) 1": BasicSR's key is the name without its extension.
        self._keys = [os.path.splitext(line.split(" (")[0])[0] for line in lines if line.strip()]
        if not self._keys:
            raise ImageError(key, f"{meta_info} lists no images.")
        try:
            check_whole(root)
        except OptionError as error:
            raise OptionError(key, str(error)) from error
        ours = (root / RECORD_FILE).is_file()
        self.names = [name_of_key(key) for key in self._keys] if ours else self._keys
        self._path = os.path.realpath(root)

    def stem(self, index: int) -> str:
        """The image's name."""
        return self.names[index]

    def content(self, index: int) -> bytes:
        """Read a record."""
        with shared_environment(self._path).begin(write=False, buffers=False) as transaction:
            content = transaction.get(self._keys[index].encode())
        if content is None:
            raise ImageError(f"{self._path}: meta_info.txt lists {self._keys[index]!r}, but there is no such record.")
        return bytes(content)

    def stamp(self, index: int) -> tuple[int, str]:
        """The LMDB's size by its images, and the time of its last change."""
        size, stamp = _file_stamp(Path(self._path, "data.mdb"))
        return size // len(self.names), stamp


BUNDLED = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "hubble_deep_field", "ihc"),
    *("moon", "motorcycle_left", "retina", "rocket"),
)
"""Pictures that come with scikit-image and are photographs, of 300 pixels a side or more."""


class BundledImages(_Files):
    """Pictures that come with scikit-image, by name (astronaut, coffee, chelsea, ...), without a download.

    Raises:
        MissingFileError: A name that scikit-image does not bundle.
    """

    def __init__(self, pictures: Sequence[str]) -> None:
        spec = importlib.util.find_spec("skimage")
        folder = Path(str(spec.origin)).parent / "data" if spec is not None else Path("skimage/data")
        bundled = {path.stem: path for path in sorted(folder.glob("*")) if path.suffix.lower() in SUFFIXES}
        unknown = [name for name in pictures if name not in bundled]
        if unknown or not pictures:
            raise MissingFileError(
                "pictures",
                f"scikit-image bundles no {', '.join(unknown) or 'picture without a name'}; "
                f"it has {', '.join(bundled)}.",
            )
        self.names = [str(bundled[name]) for name in pictures]


class ImageReader:
    """Decoded images of a source.

    Args:
        source: Where they are.
        keep: Hold decoded images in memory; for a handful of them.
    """

    def __init__(self, source: ImageSource, keep: bool = False) -> None:
        self.source = source
        self._kept: dict[int, EncodedImage] | None = {} if keep else None
        self._noted: set[int] = set()

    def __len__(self) -> int:
        return len(self.source.names)

    def name(self, index: int) -> str:
        """The path of an image, or its name in an LMDB."""
        return self.source.names[index]

    def stem(self, index: int) -> str:
        """Its name without folder and extension."""
        return self.source.stem(index)

    def open(self, index: int) -> EncodedImage:
        """Read an image's file, to decode as much of it as is needed."""
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        image = EncodedImage(self.source.content(index), self.name(index), partial(self._note_dropped_alpha, index))
        if self._kept is not None:
            image.decode()
            self._kept[index] = image
        return image

    def read(self, index: int) -> RGBImage:
        """Read and decode an image to 8-bit RGB, (H, W, 3).

        Raises:
            ImageError: It cannot be read; the message names it.
        """
        return self.open(index).decode()

    def _note_dropped_alpha(self, index: int) -> None:
        if index not in self._noted:
            self._noted.add(index)
            get_root_logger().warning(f"{printable(self.name(index), 1000)}: its alpha channel is dropped.")


def _advice(key: str) -> str:
    """How to get data, for who trains; others know where their images are."""
    return f" {HOW_TO_GET_DATA}" if key.startswith("dataroot") else ""


def backend_of(place: str | Path) -> str:
    """BasicSR's ``io_backend.type`` of a folder or an LMDB, by its name."""
    return "lmdb" if Path(place).suffix == ".lmdb" else "disk"


def open_all(images: str, key: str = "images") -> ImageReader:
    """Open HR images by one name.

    Args:
        images: A folder, an LMDB, or ``bundled``: all of scikit-image's images.
        key: What names them, for errors.

    Raises:
        MissingFileError: It does not exist.
    """
    if images == "bundled":
        return open_images({"io_backend": {"type": "bundled"}, "pictures": list(BUNDLED)})
    return ImageReader(open_source({key: images, "io_backend": {"type": backend_of(images)}}, key))


def open_images(opt: Mapping[str, Any]) -> ImageReader:
    """Open the GT images of a data set's options.

    Args:
        opt: ``io_backend.type`` (``disk``, the default, ``lmdb`` or ``bundled``); ``dataroot_gt`` and, on disk,
            optionally ``meta_info_file``; for ``bundled`` the list ``pictures``.

    Raises:
        MissingFileError: Something named does not exist.
        OptionError: An unknown backend.
    """
    if _backend(opt) == "bundled":
        pictures = opt.get("pictures") or []
        if not isinstance(pictures, (list, tuple)) or not all(isinstance(name, str) for name in pictures):
            raise OptionError("pictures", f"expected a list of names, such as [coffee, chelsea], got {pictures!r}.")
        return ImageReader(BundledImages(pictures), keep=True)
    meta_info = opt.get("meta_info_file")
    if meta_info is not None and not isinstance(meta_info, (str, Path)):
        raise OptionError("meta_info_file", f"expected the path of a file, got {meta_info!r}.")
    return ImageReader(open_source(opt, "dataroot_gt", None if meta_info is None else Path(meta_info).expanduser()))


def open_source(opt: Mapping[str, Any], key: str, meta_info_file: Path | None = None) -> ImageSource:
    """Open the folder or LMDB that an option names.

    Raises:
        MissingFileError: It does not exist.
        OptionError: The option is missing, or an unknown backend.
    """
    backend = _backend(opt)
    if opt.get(key) is None:
        kind = "GT" if key == "dataroot_gt" else "LQ"
        raise OptionError(f"{key}: missing; give the folder or the LMDB that holds the {kind} images.")
    if not isinstance(opt[key], (str, Path)):
        raise OptionError(f"{key}: expected the path of a folder or an LMDB, got {opt[key]!r}.")
    root = Path(opt[key]).expanduser()
    if backend == "disk":
        return FolderImages(root, meta_info_file, key)
    if backend == "lmdb":
        return LmdbImages(root, key)
    raise OptionError("io_backend.type", f"expected disk, lmdb or bundled, got {backend!r}.")


def _backend(opt: Mapping[str, Any]) -> Any:
    """``io_backend.type``; ``disk`` where nothing is said."""
    section = opt.get("io_backend") or {}
    if not isinstance(section, Mapping):
        raise OptionError("io_backend", f"expected a section, such as {{type: disk}}, got {section!r}.")
    return section.get("type", "disk")
