"""Which pictures ``lightbsr infer`` restores, and where the results go."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.inference.picture_files import READABLE
from lightbsr_arch.inference.picture_writing import FORMATS

STANDARD_STREAM = "-"
"""Standard input as an input, standard output as the output."""


@dataclass(frozen=True)
class Found:
    """An input."""

    path: Path | None
    """The file; None is standard input."""
    relative: Path
    """Where it lies under the input that it was found by."""

    def __str__(self) -> str:
        """What to call it."""
        return "standard input" if self.path is None else str(self.path)


@dataclass(frozen=True)
class Destination:
    """Where results go."""

    folder: Path | None
    """The folder; None puts each beside its input."""
    file: Path | None
    """The one file, or None."""
    stream: bool
    """Whether the one result goes to standard output."""
    suffix: str
    """What is appended to names, before the extension."""
    extension: str | None
    """With its dot; None keeps that of the input's format."""

    def of(self, found: Found, clashing: bool = False) -> Path:
        """The path of a result.

        Args:
            found: The input.
            clashing: Whether another input has the same name but for the extension; then the name takes the extension in.
        """
        if self.file is not None:
            return self.file
        given = found.relative.suffix.lower()
        stem = found.relative.name.replace(".", "_") if clashing else found.relative.stem
        name = f"{stem}{self.suffix}{self.extension or (given if given in FORMATS else '.png')}"
        if self.folder is not None:
            return self.folder / found.relative.parent / name
        return (found.path.parent if found.path is not None else Path()) / name


@dataclass(frozen=True)
class Job:
    """A picture to restore."""

    found: Found
    """The input."""
    target: Path
    """Where the result goes; without meaning where it goes to standard output."""


def destination(output: str | None, inputs: Sequence[str], suffix: str, extension: str | None) -> Destination:
    """Tell what ``-o`` means.

    Args:
        output: A folder, a file for a single picture, ``-``, or None.
        inputs: As they were given.
        suffix: For names.
        extension: With or without its dot; None keeps that of the input's format.

    Raises:
        OptionError: An extension that cannot be written, a file for several pictures, or a suffix with a slash.
    """
    if extension is not None:
        extension = f".{extension.lower().removeprefix('.')}"
        if extension not in FORMATS:
            raise OptionError(f"--ext: expected one of {', '.join(FORMATS)}, got {extension}.")
    if os.sep in suffix or "/" in suffix or "\0" in suffix:
        raise OptionError(f"--suffix: expected a part of a file name, got {suffix!r}.")
    folder = None if output is None else Path(output).expanduser()
    single = len(inputs) == 1 and (inputs[0] == STANDARD_STREAM or Path(inputs[0]).expanduser().is_file())
    if output == STANDARD_STREAM or (output is None and list(inputs) == [STANDARD_STREAM]):
        if not single:
            raise OptionError("-o -: standard output takes one picture; name a folder for several.")
        return Destination(None, None, True, "", extension or ".png")
    if folder is None or folder.is_dir() or folder.suffix.lower() not in FORMATS:
        if folder is not None and folder.is_file():
            raise OptionError(f"-o {output}: is a file that is no picture; name a folder, or a picture.")
        return Destination(folder, None, False, suffix, extension)
    if not single:
        raise OptionError(f"-o {output}: names one picture, but there may be several; name a folder.")
    if extension is not None and extension != folder.suffix.lower():
        raise OptionError(f"--ext {extension} and -o {output} name different formats; leave out one of the two.")
    return Destination(None, folder, False, "", folder.suffix.lower())


def find_inputs(inputs: Sequence[str], spared: Path | None) -> list[Found]:
    """Find the pictures in files, folders (and their folders) and patterns.

    Args:
        inputs: Paths, patterns such as ``photos/**/*.jpg``, or ``-``.
        spared: A folder that is not looked into: that of the results.

    Returns:
        Each file once, in the order of the inputs, a folder's by their paths.

    Raises:
        MissingFileError: An input that is not there.
        OptionError: A folder or pattern without pictures.
    """
    found: list[Found] = []
    for given in inputs:
        path = Path(given).expanduser()
        if given == STANDARD_STREAM:
            found.append(Found(None, Path("stdin")))
        elif path.is_dir():
            pictures = sorted(_walk(path, spared))
            if not pictures:
                raise OptionError(f"{given}: no pictures in this folder ({', '.join(sorted(READABLE))}).")
            found += [Found(picture, picture.relative_to(path)) for picture in pictures]
        elif path.exists() or path.is_symlink():
            found.append(Found(path, Path(path.name)))
        elif glob.has_magic(given):
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - absolute patterns too
            files = [match for match in matches if match.is_file()]
            if not files:
                raise OptionError(f"{given}: nothing has a name like this.")
            found += [Found(file, Path(file.name)) for file in files]
        else:
            raise MissingFileError(f"{given}: there is no such file or folder.")
    return list({_identity(one): one for one in reversed(found)}.values())[::-1]


def _identity(found: Found) -> str:
    return STANDARD_STREAM if found.path is None else os.path.abspath(found.path)


def _walk(root: Path, spared: Path | None) -> Iterator[Path]:
    """Pictures under a folder. Links are followed, each folder is entered once: links may lead in a circle."""
    entered = set() if spared is None else {os.path.realpath(spared)}
    if os.path.realpath(root) in entered:  # results beside their inputs: names tell them apart
        entered.clear()
    for folder, inner, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:
            inner.clear()
            continue
        entered.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in READABLE:
                yield Path(folder, name)


def plan(found: Sequence[Found], place: Destination) -> list[Job]:
    """Give each input the path of its result.

    Inputs that differ in their extensions alone keep them in the names of their results. What is the result of another
    input is no input: it lies there from an earlier run.

    Raises:
        OptionError: Two results would have one path even so.
    """
    results = {os.path.abspath(place.of(one)) for one in found}
    inputs = [one for one in found if place.file is not None or not _is_result(one, found, results, place)]
    counts = Counter(place.of(one) for one in inputs)
    jobs = [Job(one, place.of(one, clashing=counts[place.of(one)] > 1)) for one in inputs]
    for target, count in Counter(job.target for job in jobs).items():
        if count > 1:
            raise OptionError(
                f"{count} of the pictures would be written to {target}: rename some, or do them one by one."
            )
    return jobs


def _is_result(one: Found, found: Sequence[Found], results: set[str], place: Destination) -> bool:
    own = os.path.abspath(place.of(one))
    return place.suffix != "" and _identity(one) in results - {own} and len(found) > 1
