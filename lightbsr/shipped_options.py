"""Where the option files are."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lightbsr_arch.errors import MissingFileError


def shipped_options() -> Path:
    """The folder of option files: installed in the package, or in the clone of an editable install."""
    # Found, not imported: that would load BasicSR.
    spec = find_spec("lightbsr_model")
    if spec is None or spec.origin is None:
        raise MissingFileError("lightbsr_model, which holds the option files, is not installed: reinstall lightbsr.")
    package = Path(spec.origin).parent
    installed = package / "options"
    return installed if installed.is_dir() else package.parent / "options"


def with_shipped_options(arguments: Sequence[str]) -> list[str]:
    """A command line whose ``-opt`` names a file that exists.

    Raises:
        MissingFileError: There is none.
    """
    words = list(arguments)
    if "-opt" in words[:-1]:
        place = words.index("-opt") + 1
        words[place] = str(find_option_file(words[place]))
    return words


def find_option_file(name: str) -> Path:
    """Find an option file: as it is named, or ``options/...`` among those that come with the package.

    Raises:
        MissingFileError: There is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.parts[:1] == ("options",) and (shipped := shipped_options().joinpath(*path.parts[1:])).is_file():
        return shipped
    ours = sorted(
        f"options/{file.relative_to(shipped_options()).as_posix()}" for file in shipped_options().rglob("*.yml")
    )
    raise MissingFileError(f"-opt: there is no file {name}. Those that come with lightbsr: {', '.join(ours)}.")
