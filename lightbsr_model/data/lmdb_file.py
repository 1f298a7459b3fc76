"""Whether an LMDB's file is complete: LMDB maps it into memory, and reading past its end kills the process (SIGBUS)."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lightbsr_arch.errors import OptionError

_MAGIC = 0xBEEFC0DE
_VERSION = 1
_PAGE_HEADER = struct.Struct("<QHHHH")  # page number, padding, flags, lower and upper end of the free space
_BRANCH, _LEAF = 0x01, 0x02
_NODE = struct.Struct("<HHHH")  # size or page number in two halves, flags, size of the key
_VALUE_ON_PAGES = 0x01
_META = struct.Struct(
    "<IIQQ48s48sQQ"
)  # magic, version, address, map size, tree of free pages, main tree, last page, id
_NO_PAGE = 0xFFFFFFFFFFFFFFFF


class _Meta(NamedTuple):
    page_size: int
    root: int
    last_page: int
    transaction: int


def check_whole(root: str | Path) -> None:
    """Compare the size of an LMDB's data.mdb with what the file itself says of its last page.

    What is no LMDB, or one of a format other than the usual one, is left for LMDB to judge.

    Args:
        root: The folder that holds data.mdb.

    Raises:
        OptionError: The file is cut short.
    """
    path = Path(root, "data.mdb")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            needed = _needed_size(file, size)
    except OSError:
        return
    if needed > size:
        raise OptionError(f"{path} is cut short: it has {size} of {needed} bytes. Copy it again.")


def _needed_size(file: BinaryIO, size: int) -> int:
    first = _read_meta(file, 0)
    if first is None:
        return 0
    second = _read_meta(file, first.page_size)
    if second is None:
        return 2 * first.page_size
    newest = max(first, second, key=lambda meta: meta.transaction)
    expected = (newest.last_page + 1) * newest.page_size
    # Pages that were used and freed within one transaction are never written: at the end of a file they are no loss.
    return expected if size < expected and _tree_leaves_file(file, newest, size) else 0


def _read_meta(file: BinaryIO, offset: int) -> _Meta | None:
    file.seek(offset + 16)
    content = file.read(_META.size)
    if len(content) < _META.size:
        return None
    magic, version, _, _, free, main, last_page, transaction = _META.unpack(content)
    page_size = int.from_bytes(free[:4], "little")
    if (magic, version) != (_MAGIC, _VERSION) or page_size < 256:
        return None
    return _Meta(page_size, int.from_bytes(main[40:], "little"), last_page, transaction)


def _tree_leaves_file(file: BinaryIO, meta: _Meta, size: int) -> bool:
    """Whether the main tree names a page beyond the end of the file."""
    pages, seen = [] if meta.root == _NO_PAGE else [meta.root], set()
    while pages:
        number = pages.pop()
        if (number + 1) * meta.page_size > size:
            return True
        if number in seen:
            continue
        seen.add(number)
        file.seek(number * meta.page_size)
        page = file.read(meta.page_size)
        _, _, flags, lower, _ = _PAGE_HEADER.unpack_from(page)
        for offset in struct.unpack_from(f"<{max(0, (min(lower, len(page)) - 16) // 2)}H", page, 16):
            if offset + _NODE.size > len(page):
                continue
            low, high, node_flags, key_size = _NODE.unpack_from(page, offset)
            if flags & _BRANCH:
                pages.append(low | high << 16 | node_flags << 32)
            elif flags & _LEAF and node_flags & _VALUE_ON_PAGES:
                start = offset + _NODE.size + key_size
                used = -(-((low | high << 16) + 16) // meta.page_size)
                if (int.from_bytes(page[start : start + 8], "little") + used) * meta.page_size > size:
                    return True
    return False
