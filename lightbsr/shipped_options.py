"""Find option files: the user's, and those that come with the package."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lightbsr_arch.errors import MissingFileError


def shipped_options() -> Path:
    """The folder of option files: in the installed package, or in the clone of an editable install."""
    # Found without importing it, which would load BasicSR.
    spec = find_spec("lightbsr_model")
    if spec is None or spec.origin is None:
        raise MissingFileError("lightbsr_model, which holds the option files, is not installed: reinstall lightbsr.")
    package = Path(spec.origin).parent
    installed = package / "options"
    return installed if installed.is_dir() else package.parent / "options"


def with_shipped_options(arguments: Sequence[str]) -> list[str]:
    """Return a command line whose ``-opt`` names an existing file.

    Raises:
        MissingFileError: There is no such file.
    """
    resolved = list(arguments)
    if "-opt" in resolved[:-1]:
        position = resolved.index("-opt") + 1
        resolved[position] = str(find_option_file(resolved[position]))
    return resolved


def find_option_file(name: str) -> Path:
    """Find an option file by its path, or ``options/...`` among those that come with the package.

    Raises:
        MissingFileError: There is no such file.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.parts[:1] == ("options",) and (shipped := shipped_options().joinpath(*path.parts[1:])).is_file():
        return shipped
    ours = sorted(
        f"options/{file.relative_to(shipped_options()).as_posix()}" for file in shipped_options().rglob("*.yml")
    )
    raise MissingFileError(f"-opt: there is no file {name}. Option files that come with lightbsr: {', '.join(ours)}.")
