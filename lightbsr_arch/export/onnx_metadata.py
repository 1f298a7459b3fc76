"""What an ONNX file says of itself, read without building its graph.

A file of Google's protocol buffers is a row of fields, each with its length, so that the graph is stepped over; parsing it
would take many times the file's size in memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

_GRAPH, _METADATA, _KEY, _VALUE = 7, 14, 1, 2
"""Numbers of fields in ONNX's ModelProto, and in its entries of metadata."""

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_MOST_FIELDS = 100_000
_LONGEST = 2**20


def read_onnx_metadata(path: Path) -> dict[str, str]:
    """The texts beside the graph of an ONNX file.

    Raises:
        ValueError: It is none, or cut short; the message gives the reason.
    """
    metadata: dict[str, str] = {}
    has_graph = False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for number, start, end in _fields(content, 0, len(content)):
            if number == _GRAPH:
                has_graph = end > start
            elif number == _METADATA and end - start <= _LONGEST:
                entry = {
                    field: content[first:last].decode("utf-8", "replace")
                    for field, first, last in _fields(content, start, end)
                }
                metadata[entry.get(_KEY, "")] = entry.get(_VALUE, "")
    if not has_graph:
        raise ValueError("no graph in it")
    return metadata


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field."""
    position, count = start, 0
    while position < end:
        count += 1
        if count > _MOST_FIELDS:
            raise ValueError("more fields than a model has")
        tag, position = _varint(content, position, end)
        kind = tag & 7
        if kind == _VARINT:
            _, after = _varint(content, position, end)
        elif kind == _LENGTH:
            length, position = _varint(content, position, end)
            after = position + length
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            after = position + (8 if kind == _EIGHT_BYTES else 4)
        else:
            raise ValueError("not ONNX")
        if after > end or tag >> 3 == 0:
            raise ValueError("not ONNX, or cut short")
        yield tag >> 3, position, after
        position = after


def _varint(content: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """A number, seven bits a byte, and the position behind it."""
    value = 0
    for count in range(10):
        if position + count >= end:
            break
        byte = content[position + count]
        value |= (byte & 127) << 7 * count
        if byte < 128:
            return value, position + count + 1
    raise ValueError("not ONNX, or cut short")
