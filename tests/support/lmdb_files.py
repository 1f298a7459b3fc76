"""LMDBs of images, as BasicSR's tools write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmdb


def encoded_images(folder: Path) -> dict[str, bytes]:
    """The images of a folder by their names without extension."""
    return {path.stem: path.read_bytes() for path in sorted(folder.iterdir())}


def write_lmdb(root: Path, records: Mapping[str, bytes], commits: int = 1) -> dict[str, Any]:
    """Write an LMDB, in several transactions if asked.

    Returns:
        The options of a data set on it.
    """
    with lmdb.open(str(root), map_size=2**24) as environment:
        for start in range(commits):
            with environment.begin(write=True) as transaction:
                for name, content in list(records.items())[start::commits]:
                    transaction.put(name.encode(), content)
    # Nobody reads the size.
    (root / "meta_info.txt").write_text("".join(f"{name}.png (80,96,3) 1\n" for name in records))
    return {"dataroot_gt": str(root), "io_backend": {"type": "lmdb"}}


def lmdb_of(folder: Path, root: Path) -> dict[str, Any]:
    """Write an LMDB of a folder's images; return the options of a data set on it."""
    return write_lmdb(root, encoded_images(folder))
