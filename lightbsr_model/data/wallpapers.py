"""A small training set: the photographs of Debian's lomiri-wallpapers-16.04, and scikit-image's.

Nothing is fetched: the files are read where they are, and checked against their hashes before anything is made of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_model.data.deb_archives import find_in_deb
from lightbsr_model.data.found_images import FoundImage, find_pictures
from lightbsr_model.data.image_sources import BundledImages
from lightbsr_model.data.photographs import (
    BUNDLED_PHOTOGRAPHS,
    PACKAGE,
    VERSION,
    WALLPAPERS,
    Photograph,
    credits_table,
)
from lightbsr_model.data.set_stores import ImageEntry

INSTALLED = Path("/usr/share/backgrounds")
"""Where Debian installs the package's files."""
SOURCES_FILE = "sources.md"
"""Beside the set's record: who made its photographs, and under which licence."""

_HOW_TO_GET = (
    f"`apt-get download {PACKAGE}` fetches it (16 MB), then: lightbsr data prepare wallpapers {PACKAGE}_*.deb. "
    "datasets/README.md has its address for systems other than Debian."
)
_SHRUNK = {1: "", 2: "_half", 4: "_quarter"}
"""Sizes that a wallpaper is taken at, and how its name says so: full size is soft."""


def find_wallpapers(sources: Sequence[Path]) -> list[FoundImage]:
    """The images of the set, named, their files read and checked.

    Args:
        sources: The package's ``.deb``, or folders or archives with its images; none is the installed package.

    Returns:
        Every wallpaper at full, half and quarter size, then scikit-image's photographs.

    Raises:
        MissingFileError: A source or some of the photographs are not there, or the package is not installed.
        OptionError: A file is not the expected one, or a source cannot be read.
    """
    if not sources:
        if not any((INSTALLED / photo.file).is_file() for photo in WALLPAPERS):
            raise MissingFileError(
                f"{INSTALLED}: none of the photographs of {PACKAGE} is there; the package is not installed. Install it, or "
                f"name its .deb: {_HOW_TO_GET}"
            )
        sources = [INSTALLED]
    names = {photo.file for photo in WALLPAPERS}
    found: dict[str, FoundImage] = {}
    for source in sources:
        path = source.expanduser()
        is_deb = path.suffix.lower() == ".deb" and not path.is_dir()
        for picture in find_in_deb(path, names) if is_deb else find_pictures(path, recursive=True):
            found.setdefault(PurePosixPath(picture.member).name, picture)
    missing = [photo.file for photo in WALLPAPERS if photo.file not in found]
    if missing:
        raise MissingFileError(
            f"{', '.join(map(str, sources))}: {len(missing)} of the {len(WALLPAPERS)} photographs of {PACKAGE} are not in it: "
            f"{', '.join(missing)}. {_HOW_TO_GET}"
        )
    images = []
    for photo in WALLPAPERS:
        checked = _checked(found[photo.file], photo, f"damaged, or not of {PACKAGE} {VERSION}. {_HOW_TO_GET}")
        images += [replace(checked, name=checked.name + name, shrink=shrink) for shrink, name in _SHRUNK.items()]
    return images + _bundled()


def sources_file(images: Sequence[ImageEntry]) -> dict[str, bytes]:
    """:data:`SOURCES_FILE`, as what comes with a set (:meth:`~lightbsr_model.data.set_writer.SetWriter.finish`)."""
    text = (
        f"# Sources\n\nThe photographs were cut into {len(images)} images. Those of {PACKAGE} were also shrunk to half and a "
        "quarter of their size, by averages of 2x2 and 4x4 pixels. Licences are as that package's copyright file and "
        f"scikit-image's documentation state them.\n\n{credits_table((*WALLPAPERS, *BUNDLED_PHOTOGRAPHS))}"
    )
    return {SOURCES_FILE: text.encode()}


def _bundled() -> list[FoundImage]:
    paths = map(Path, BundledImages([Path(photo.file).stem for photo in BUNDLED_PHOTOGRAPHS]).names)
    return [
        _checked(FoundImage(path.parent, path.name, 0, ""), photo, "damaged, or another in this scikit-image.")
        for path, photo in zip(paths, BUNDLED_PHOTOGRAPHS, strict=True)
    ]


def _checked(picture: FoundImage, photo: Photograph, otherwise: str) -> FoundImage:
    """The image with its content, identified by that alone, so that it is the same from every kind of source.

    Raises:
        OptionError: It is not the photograph.
    """
    content = picture.read()
    digest = hashlib.sha256(content).hexdigest()
    if digest != photo.sha256:
        raise OptionError(f"{picture}: SHA-256 is {digest}, expected {photo.sha256}: {otherwise}")
    folder = (picture.container / picture.member).parent
    return FoundImage(folder, photo.file, len(content), digest, name=Path(photo.file).stem, content=content)
