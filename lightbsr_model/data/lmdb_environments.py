"""One open LMDB environment a file and process, for all data sets on it."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb

from lightbsr_arch.errors import OptionError
from lightbsr_model.data.lmdb_file import check_whole

_open: dict[str, lmdb.Environment] = {}


def shared_environment(path: str | Path) -> lmdb.Environment:
    """The environment of an LMDB, opened for reading at its first use in a process.

    LMDB refuses to open a file twice in a process, and what is open must not be used across a fork: ask anew for each
    use, and a forked worker gets an environment of its own.

    Raises:
        OptionError: The file is cut short or is not an LMDB.
    """
    real = os.path.realpath(path)
    if real not in _open:
        check_whole(real)
        try:
            _open[real] = lmdb.open(real, readonly=True, lock=False, readahead=False, meminit=False)
        except lmdb.Error as error:
            raise OptionError(f"{real} cannot be opened as an LMDB: {error}") from error
    return _open[real]


def _close_in_child() -> None:
    # lmdb takes the parent's for open in the child too, and would refuse to open the file there.
    for environment in _open.values():
        environment.close()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
