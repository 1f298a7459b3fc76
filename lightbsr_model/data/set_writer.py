"""Write a set of images as a folder or an LMDB that either is whole or does not exist.

A set grows under its name with ``.part`` added, beside a journal of what is in it, and takes its name when it is whole. A
stop at any moment loses at most the images under way; the next start resumes after the journal.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb

from lightbsr_arch import __version__
from lightbsr_arch.errors import CommandFailed, OptionError
from lightbsr_arch.saving import inside, write_whole
from lightbsr_model.data.lmdb_keys import LONGEST_KEY, RECORD_FILE, key_of_name
from lightbsr_model.data.set_stores import EncodedPng, FolderStore, ImageEntry, LmdbStore, Store

INFO_FOLDER = "info"
"""In a set that is a folder: what is known of it, ``meta_info.txt`` and ``prepared.json``."""

_MOST_DIFFERENCES = 3
"""Of another set, in a message."""

_JOURNAL = "journal.jsonl"
_RECIPE = "recipe.json"
_META_INFO = "meta_info.txt"
_BATCH = 64 * 2**20
"""So many bytes are held before they go to the disk together."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


Extras = Callable[[Sequence[ImageEntry]], Mapping[str, bytes]]


class SetWriter:
    """A set under way.

    Args:
        output: The set: an LMDB if its name ends in ``.lmdb``, else a folder of PNG files.
        recipe: All that decides what the set holds, but the images it is made of. JSON values.
        png_level: What ``meta_info.txt`` says of an LMDB's images.

    Raises:
        OptionError: The name is taken by something else, or by a set of another recipe.
    """

    def __init__(self, output: Path, recipe: Mapping[str, Any], png_level: int) -> None:
        self.output = output
        self.is_lmdb = output.suffix == ".lmdb"
        self._recipe = json.loads(json.dumps(dict(recipe)))
        self._png_level = png_level
        self._part = output.with_name(output.name + ".part")
        self._info = self._info_of(self._part)
        self._store: Store | None = None
        self._journal: dict[str, list[ImageEntry]] = {}
        self._pending: list[tuple[str, list[EncodedPng]]] = []
        self._pending_bytes = 0

    def finished(self, sources: Sequence[str]) -> dict[str, Any] | None:
        """The record of the set if it is whole already and was made of these sources; None if there is none of its name.

        Raises:
            OptionError: The name is taken by something else.
        """
        if not self.output.exists():
            return None
        record_file = self._info_of(self.output) / RECORD_FILE
        if not record_file.is_file():
            raise OptionError(f"{self.output} exists, and was not made by this command: name another output.")
        record: dict[str, Any] = json.loads(record_file.read_text(encoding="utf-8"))
        if record["recipe"] != self._recipe:
            different = _differences(record["recipe"], self._recipe)
            raise OptionError(f"{self.output} exists, made with {different}: name another output, or remove it.")
        if record["sources_sha256"] != _digest(sources):
            raise OptionError(
                f"{self.output} exists, made of other images ({record['sources']}, now {len(sources)}; or some changed): "
                "name another output, or remove it."
            )
        self._remove_working_files()
        return record

    def open(self, sources: Sequence[str]) -> set[str]:
        """Start or resume the set.

        Args:
            sources: Identities of all images that it is to be made of.

        Returns:
            Those that are done.

        Raises:
            OptionError: What there is under way has another recipe.
            CommandFailed: The place cannot be written.
        """
        with self._disk_errors():
            recipe_file = self._info / _RECIPE
            if recipe_file.is_file():
                before = json.loads(recipe_file.read_text(encoding="utf-8"))
                if before != self._recipe:
                    raise OptionError(
                        f"{self._part} was begun with {_differences(before, self._recipe)}: resume with that, or remove it."
                    )
            else:
                if self._part.exists():
                    # Killed before it could say what it was to become; there is nothing in it.
                    shutil.rmtree(self._part)
                self._info.mkdir(parents=True)
                write_whole(recipe_file, json.dumps(self._recipe, indent=1))
            self._store = LmdbStore(self._part) if self.is_lmdb else FolderStore(self._part)
            self._read_journal()
            self._forget_stale(set(sources))
        return set(self._journal)

    def add(self, source: str, images: Sequence[EncodedPng]) -> None:
        """Take the images made of one source image.

        Raises:
            CommandFailed: The disk is full or cannot be written; what was written before stays.
        """
        for image in images:
            if self.is_lmdb and len(key_of_name(image.name)) > LONGEST_KEY:
                raise OptionError(f"{image.name}: too long a name for an LMDB ({LONGEST_KEY} bytes); shorten it.")
        self._pending.append((source, list(images)))
        self._pending_bytes += sum(len(image.content) for image in images)
        if self._pending_bytes >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Bring everything to the disk.

        Raises:
            CommandFailed: The disk is full or cannot be written.
        """
        if self._store is None or not self._pending:
            return
        with self._disk_errors():
            self._store.put([image for _, images in self._pending for image in images])
            entries = {source: [image.entry for image in images] for source, images in self._pending}
            with (self._info / _JOURNAL).open("a", encoding="utf-8") as file:
                for source, listed in entries.items():
                    file.write(json.dumps([source, listed]) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self._journal |= entries
        self._pending, self._pending_bytes = [], 0

    def finish(self, sources: Sequence[str], extras: Extras | None = None, **facts: Any) -> dict[str, Any]:
        """Give the set its list, its record and its name.

        Args:
            sources: Identities in the order of the list; those that are not done are left out.
            extras: Files that come with the set, by their names, made of its entries.
            facts: More for the record. JSON values.

        Returns:
            The record: ``recipe``, ``version``, ``images``, ``names_sha256`` (of the sorted names, a line each),
            ``sources``, ``sources_sha256`` and the facts.

        Raises:
            CommandFailed: The disk is full or cannot be written; what was written before stays.
        """
        self.flush()
        entries = [entry for source in sources for entry in self._journal.get(source, ())]
        if not entries:
            self.close()
            shutil.rmtree(self._part, ignore_errors=True)
            least = self._recipe.get("min_detail")
            smooth = f" All sub-images have less detail than --min-detail {least:g}: lower it." if least else ""
            raise CommandFailed(f"{self.output}: there is no image to put into it.{smooth}")
        record = {
            "recipe": self._recipe,
            "version": __version__,
            "images": len(entries),
            "names_sha256": names_digest([entry.name for entry in entries]),
            "sources": len(sources),
            "sources_sha256": _digest(sources),
            **facts,
        }
        with self._disk_errors():
            if self._store is not None:
                self._store.keep_only([entry.name for entry in entries])
            self.close()
            write_whole(self._info / _META_INFO, "".join(self._meta_line(entry) for entry in entries))
            for name, content in (extras(entries) if extras is not None else {}).items():
                path = inside(self._info, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            write_whole(self._info / RECORD_FILE, json.dumps(record, indent=1, ensure_ascii=False))
            self._part.rename(self.output)
            self._remove_working_files()
        return record

    def close(self) -> None:
        """Let go of the files; what is not flushed is dropped."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _info_of(self, place: Path) -> Path:
        """Where all files go that are no images: BasicSR takes every file directly in a folder for an image."""
        return place if self.is_lmdb else place / INFO_FOLDER

    def _remove_working_files(self) -> None:
        for working_file in (_JOURNAL, _RECIPE):
            (self._info_of(self.output) / working_file).unlink(missing_ok=True)

    def _meta_line(self, entry: ImageEntry) -> str:
        shape = f"({entry.height},{entry.width},{entry.channels})"
        if self.is_lmdb:
            return f"{key_of_name(entry.name)}.png {shape} {self._png_level}\n"
        return f"{entry.name}.png {shape}\n"

    def _read_journal(self) -> None:
        journal = self._info / _JOURNAL
        if not journal.is_file():
            return
        whole = b""
        for line in journal.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break  # cut short by a kill: its images are made again
            source, listed = json.loads(line)
            self._journal[source] = [ImageEntry(*entry) for entry in listed]
            whole += line
        if len(whole) < journal.stat().st_size:
            write_whole(journal, whole.decode("utf-8"))

    def _forget_stale(self, sources: set[str]) -> None:
        """Strike out images that have changed or are gone since."""
        if self._journal.keys() <= sources:
            return
        self._journal = {source: listed for source, listed in self._journal.items() if source in sources}
        lines = (json.dumps([source, listed]) + "\n" for source, listed in self._journal.items())
        write_whole(self._info / _JOURNAL, "".join(lines))

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, lmdb.Error) as error:
            number = getattr(error, "errno", None)
            # LMDB's errors carry the system's words alone, and it calls a write that the disk took half of an I/O error.
            words = [os.strerror(code) for code in (*_NO_SPACE, errno.EIO)] if isinstance(error, lmdb.Error) else []
            full = number in _NO_SPACE or any(word in str(error) for word in words)
            with contextlib.suppress(OSError, lmdb.Error):
                self.close()
            if full:
                raise CommandFailed(
                    f"{self._part}: the disk is full ({error}). Make room and run the same command again: it resumes where it "
                    "stopped."
                ) from error
            raise CommandFailed(f"{self._part}: cannot be written ({error}).") from error


def names_digest(names: Sequence[str]) -> str:
    """SHA-256 of sorted names, each followed by a line feed, as ``sort | sha256sum`` gives in the C locale."""
    return _digest(sorted(names))


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")).hexdigest()


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The values that differ, those of sections one by one; the first of them, where there are many."""
    one, other = _flat(before), _flat(now)
    found = [
        f"{key} {one.get(key)!r} (now {other.get(key)!r})" for key in {**one, **other} if one.get(key) != other.get(key)
    ]
    more = len(found) - _MOST_DIFFERENCES
    return ", ".join(found[:_MOST_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")


def _flat(values: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(_flat(value, f"{section}{key}.") if isinstance(value, Mapping) else {f"{section}{key}": value})
    return flat
