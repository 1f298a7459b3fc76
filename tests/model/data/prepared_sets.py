"""Preparing small sets, and what is in them."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np

from lightbsr.cli.data.prepare import run
from lightbsr_model.data.image_sources import open_images

SMALL = ["--size", "32", "--step", "24", "--min-size", "8", "--workers", "0"]


def prepare(*arguments: object) -> None:
    run("data prepare", [str(word) for word in arguments])


def content(output: Path) -> dict[str, bytes]:
    """Every file of a folder set, every record of an LMDB, and the lists of both."""
    if output.suffix != ".lmdb":
        files = [path for path in output.rglob("*") if path.is_file()]
        return {str(path.relative_to(output)): path.read_bytes() for path in files}
    with lmdb.open(str(output), readonly=True, lock=False) as environment, environment.begin() as transaction:
        records = {key.decode(): value for key, value in transaction.cursor()}
    texts = {name: (output / name).read_bytes() for name in ("meta_info.txt", "prepared.json")}
    assert {path.name for path in output.iterdir()} == {"data.mdb", "lock.mdb", *texts}
    return {**records, **texts}


def images_of(output: Path) -> dict[str, np.ndarray]:
    reader = open_images({"dataroot_gt": str(output), "io_backend": {"type": "lmdb" if output.suffix else "disk"}})
    return {reader.stem(index): reader.read(index) for index in range(len(reader))}
