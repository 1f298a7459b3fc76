"""Names of images as keys that stock BasicSR can look up.

BasicSR takes a key to end at the first dot, and to be ASCII. So an LMDB made here writes every character of a name but
ASCII letters, digits, ``-`` and ``_`` as ``%`` and two hexadecimal digits a byte of UTF-8, as URLs do: ``a.b`` is ``a%2Eb``.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

RECORD_FILE = "prepared.json"
"""The mark of a set that this project made and finished."""

LONGEST_KEY = 511
"""In bytes; LMDB's own limit."""

_ESCAPED = re.compile(rb"[^A-Za-z0-9_-]")


def key_of_name(name: str) -> str:
    """The key of a name; the inverse of :func:`name_of_key`."""
    return _ESCAPED.sub(lambda match: b"%%%02X" % match[0][0], name.encode("utf-8", "surrogateescape")).decode("ascii")


def name_of_key(key: str) -> str:
    """The name of a key; the inverse of :func:`key_of_name`."""
    return unquote(key, errors="surrogateescape")
