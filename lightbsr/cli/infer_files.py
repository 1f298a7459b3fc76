"""Which images ``lightbsr infer`` restores, and where the results go."""

from __future__ import annotations

import errno
import glob
import itertools
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.inference.image_files import READABLE
from lightbsr_arch.inference.image_writing import FORMATS
from lightbsr_arch.inference.input_files import no_regular_file
from lightbsr_arch.weights.containers import path_of

STANDARD_STREAM = "-"
"""Standard input as an input, standard output as the output."""


@dataclass(frozen=True)
class Found:
    """An input."""

    path: Path | None
    """The file; None is standard input."""
    relative: Path
    """Where it lies under the input that it was found by."""
    named: bool = True
    """Whether it was named by itself, rather than found in a folder or by a pattern."""

    def __str__(self) -> str:
        """What to call it."""
        return "standard input" if self.path is None else str(self.path)


@dataclass(frozen=True)
class Destination:
    """Where results go."""

    folder: Path | None
    """The folder; None puts each beside its input."""
    file: Path | None
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
    """An image to restore."""

    found: Found
    target: Path
    """Where the result goes; without meaning where it goes to standard output."""


@dataclass(frozen=True)
class Search:
    """What was found, and what was not taken."""

    found: list[Found]
    """Each file once, in the order of the inputs, a folder's by their paths."""
    left_out: list[str]
    """Why others were not, a line each."""


def refuse_empty(**arguments: str | None) -> None:
    """Refuse empty arguments, which a shell makes of a variable that is not set.

    Raises:
        OptionError: One is empty. An empty path would mean the working directory.
    """
    for name, value in arguments.items():
        if value == "":
            raise OptionError(f"{name}: expected a path, got an empty argument; is a variable of the shell not set?")


def destination(output: str | None, inputs: Sequence[str], suffix: str, extension: str | None) -> Destination:
    """Tell what ``-o`` means.

    Args:
        output: A folder, a file for a single image, ``-``, or None.
        inputs: As they were given.
        suffix: For names.
        extension: With or without its dot; None keeps that of the input's format.

    Raises:
        OptionError: An extension that cannot be written, a file for several images, or a suffix with a slash.
    """
    if extension is not None:
        extension = f".{extension.lower().removeprefix('.')}"
        if extension not in FORMATS:
            raise OptionError(f"--ext: expected one of {', '.join(FORMATS)}, got {extension}.")
    if os.sep in suffix or "/" in suffix or "\0" in suffix:
        raise OptionError(f"--suffix: expected a part of a file name, got {suffix!r}.")
    folder = None if output is None else path_of(output)
    single = len(inputs) == 1 and (
        inputs[0] == STANDARD_STREAM or _mode(path_of(inputs[0])) not in (None, stat.S_IFDIR)
    )
    if output == STANDARD_STREAM or (output is None and list(inputs) == [STANDARD_STREAM]):
        if not single:
            raise OptionError("-o -: standard output takes one image; name a folder for several.")
        return Destination(None, None, True, "", extension or ".png")
    if folder is None or folder.is_dir() or folder.suffix.lower() not in FORMATS:
        if folder is not None and folder.is_file():
            raise OptionError(f"-o {output}: is a file that is no image; name a folder, or an image.")
        return Destination(folder, None, False, suffix, extension)
    if not single:
        raise OptionError(f"-o {output}: names one image, but there may be several; name a folder.")
    if extension is not None and extension != folder.suffix.lower():
        raise OptionError(f"--ext {extension} and -o {output} name different formats; leave out one of the two.")
    return Destination(None, folder, False, "", folder.suffix.lower())


def find_inputs(inputs: Sequence[str], spared: Path | None) -> Search:
    """Find the images in files, folders (and their folders) and patterns.

    Args:
        inputs: Paths, patterns such as ``photos/**/*.jpg``, or ``-``.
        spared: A folder that is not looked into: that of the results.

    Raises:
        MissingFileError: An input that is not there.
        OptionError: A folder or pattern without images.
    """
    found: list[Found] = []
    left_out: list[str] = []
    for given in inputs:
        path = path_of(given)
        if given == STANDARD_STREAM:
            found.append(Found(None, Path("stdin")))
        elif _mode(path) == stat.S_IFDIR:
            pictures = _regular(sorted(_walk(path, spared, left_out)), left_out)
            if not pictures:
                raise OptionError(f"{given}: no images in this folder ({', '.join(sorted(READABLE))}).")
            found += [Found(picture, picture.relative_to(path), named=False) for picture in pictures]
        elif _mode(path) is not None or path.is_symlink():
            found.append(Found(path, Path(path.name)))
        elif glob.has_magic(given):
            found += _matches(path, given, spared, left_out)
        else:
            raise MissingFileError(f"{given}: there is no such file or folder.")
    # Named by itself counts more than found by the way.
    by_name = {_identity(one): one for one in found if one.named}
    unique = {_identity(one): by_name.get(_identity(one), one) for one in found}
    return Search(list(unique.values()), left_out)


def _matches(path: Path, given: str, spared: Path | None, left_out: list[str]) -> list[Found]:
    """The files that a pattern names, each with its place under the pattern's part that is fixed."""
    fixed = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - absolute patterns too
    if spared is not None and not _within(fixed, spared):
        matches = [match for match in matches if not _within(match, spared)]
    files = _regular([match for match in matches if _mode(match) != stat.S_IFDIR], left_out)
    if not files:
        raise OptionError(f"{given}: nothing has a name like this.")
    return [Found(file, file.relative_to(fixed), named=False) for file in files]


def _within(path: Path, folder: Path) -> bool:
    inner, outer = os.path.realpath(path), os.path.realpath(folder)
    return inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep)


def _mode(path: Path) -> int | None:
    """The kind of a file, links followed; None where nothing is there.

    Raises:
        OptionError: It cannot be determined.
    """
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            return None
        raise OptionError(f"{path}: {error.strerror}.") from error


def _regular(paths: Sequence[Path], left_out: list[str]) -> list[Path]:
    """Those that are regular files, or that cannot be examined: reading them reports the problem."""
    taken = []
    for path in paths:
        mode = _mode(path)
        what = None if mode is None else no_regular_file(mode)
        if what is None:
            taken.append(path)
        else:
            left_out.append(f"{path}: left out, it is {what.partition(';')[0]}")
    return taken


def _identity(found: Found) -> str:
    return STANDARD_STREAM if found.path is None else os.path.abspath(found.path)


def _walk(root: Path, spared: Path | None, left_out: list[str]) -> Iterator[Path]:
    """Pictures under a folder. Links are followed, each folder is entered once: links may lead in a circle."""
    entered = set() if spared is None else {os.path.realpath(spared)}
    if os.path.realpath(root) in entered:  # results next to their inputs: names distinguish them
        entered.clear()

    def unreadable(error: OSError) -> None:
        left_out.append(f"{error.filename}: left out, {error.strerror}")

    for folder, inner, files in os.walk(root, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:
            inner.clear()
            continue
        entered.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in READABLE:
                yield Path(folder, name)


def plan(search: Search, place: Destination) -> list[Job]:
    """Give each input the path of its result.

    Inputs that differ in their extensions alone keep them in the names of their results. What looks like the result of
    another input is no input, unless it was named: it lies there from an earlier run.

    Raises:
        OptionError: Two results would have one path even so.
    """
    inputs = search.found if place.file is not None else _without_results(search, place)
    counts = Counter(place.of(one) for one in inputs)
    jobs = [Job(one, place.of(one, clashing=counts[place.of(one)] > 1)) for one in inputs]
    for target, count in Counter(job.target for job in jobs).items():
        if count > 1:
            raise OptionError(
                f"{count} of the images would be written to {target}: rename some, or do them one by one."
            )
    return jobs


def _without_results(search: Search, place: Destination) -> list[Found]:
    """Leave out files whose names, whatever the extension, are those of another input's result or comparison."""
    made_of: dict[tuple[str, str], list[Found]] = defaultdict(list)
    for one in search.found:
        for result in {place.of(one), place.of(one, clashing=True)}:
            for stem in (result.stem, f"{result.stem}_compare"):
                made_of[os.path.abspath(result.parent), stem].append(one)
    inputs = []
    for one in search.found:
        folder, name = os.path.split(_identity(one))
        sources = [] if one.named else [other for other in made_of[folder, Path(name).stem] if other is not one]
        if sources and (place.suffix or Path(name).stem != sources[0].relative.stem):
            search.left_out.append(f"{one}: left out, it looks like a result of {sources[0]}; name it to restore it")
        else:
            inputs.append(one)
    return inputs
