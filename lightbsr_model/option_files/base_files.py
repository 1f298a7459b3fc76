"""``base: FILE`` at the top of an option file: what the file says is laid over what FILE says.

1. Sections are merged key by key; values and lists are replaced.
2. A section whose ``type`` differs from the base's replaces it whole: the arguments of one class are not another's.
3. ``key: ~`` removes a section; over a value it is the value null, as in any other file.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightbsr_arch.weights.containers import path_of
from lightbsr_model.option_files.document import (
    MOST_VALUES,
    KeyPath,
    OptionDocument,
    read_document,
)

MOST_FILES = 10
"""Most files in one chain of bases, the option file included."""

_KEY = ("base",)


def read_with_bases(path: Path) -> OptionDocument:
    """Read an option file laid over its bases.

    A base that cannot be used is a problem of the key ``base`` that names it; then nothing else can be said of the file.
    """
    return _read(path, (), MOST_VALUES)


def find_base(name: str, naming: Path) -> Path:
    """The file that ``base: NAME`` means: seen from the folder of the file that says so, else ``options/...`` as shipped."""
    path = naming.parent / path_of(name)
    if not os.path.isfile(path) and Path(name).parts[:1] == ("options",):
        shipped = _shipped_options().joinpath(*Path(name).parts[1:])
        return shipped if shipped.is_file() else path
    return path


def _shipped_options() -> Path:
    package = Path(__file__).parents[1]
    installed = package / "options"
    return installed if installed.is_dir() else package.parent / "options"


def _read(path: Path, above: tuple[Path, ...], most_values: int) -> OptionDocument:
    """Read a file and those below it; ``above`` are the files that led here."""
    document = read_document(path, most_values)
    if above:
        document.files = dict.fromkeys(document.lines, _shown(path))
        document.problems = [replace(problem, file=_shown(path)) for problem in document.problems]
    if not document.was_read or "base" not in document.options:
        return document
    name = document.options.pop("base")
    base = _below(name, path, above, most_values - document.size)
    if isinstance(base, OptionDocument):
        document.forget(_KEY)
        return _laid_over(base, document)
    document.problems.append(document.problem(_KEY, base))
    document.was_read = False
    return document


def _below(name: Any, path: Path, above: tuple[Path, ...], most_values: int) -> OptionDocument | str:
    """The base of a file, or what is wrong with it."""
    if not isinstance(name, str) or not name:
        return f"expected the path of an option file, got {name!r}"
    below = find_base(name, path)
    if not os.path.isfile(below):
        return f"there is no file {_shown(below)}; a path is seen from the folder of the file that names it"
    chain = (*above, path)
    if below.resolve() in [file.resolve() for file in chain]:
        return f"a circle: {' -> '.join(_shown(file) for file in (*chain, below))}"
    if len(chain) >= MOST_FILES:
        return f"more than {MOST_FILES} files in a chain of bases"
    base = _read(below, chain, most_values)
    if base.was_read:
        return replace(base, bases=(below, *base.bases))
    (reason,) = base.problems[-1:]
    if reason.key == _KEY:  # of a file further down: named by itself
        return f"{_shown(below)} cannot be used: {reason}"
    line = f"line {reason.line}, " if reason.line else ""
    return f"{_shown(below)} cannot be used: {line}{reason.message}"


def _shown(path: Path) -> str:
    return os.path.normpath(path)


def _laid_over(base: OptionDocument, document: OptionDocument) -> OptionDocument:
    """A document with all that the base has beside."""
    replaced: set[KeyPath] = set()
    options = _merged(base.options, document.options, (), replaced)
    kept = {
        key: line for key, line in base.lines.items() if key not in document.lines and not _below_any(key, replaced)
    }
    return replace(
        document,
        options=options,
        lines={**kept, **document.lines},
        files={key: file for key, file in base.files.items() if key in kept} | document.files,
        problems=[*document.problems, *base.problems],
        bases=base.bases,
        size=base.size + document.size,
    )


def _merged(below: dict[str, Any], above: dict[str, Any], place: KeyPath, replaced: set[KeyPath]) -> dict[str, Any]:
    """Merge two sections; the keys whose content is the base's no longer are added to ``replaced``."""
    merged = dict(below)
    for name, value in above.items():
        key, old = (*place, name), below.get(name)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("type", old.get("type")) == old.get("type"):
            merged[name] = _merged(old, value, key, replaced)
            continue
        replaced.add(key)
        if isinstance(old, dict) and value is None:
            del merged[name]
        else:
            merged[name] = value
    return merged


def _below_any(key: KeyPath, sections: set[KeyPath]) -> bool:
    return any(key[:depth] in sections for depth in range(1, len(key) + 1))
