"""BasicSR's LMDB backend on environments that all data sets of a process share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lmdb

from lightbsr_arch.display import printable
from lightbsr_arch.errors import OptionError
from lightbsr_model.data.lmdb_environments import shared_environment


def open_clients(
    self: Any, db_paths: str | Sequence[str], client_keys: str | Sequence[str] = "default", **_: Any
) -> None:
    """Replaces ``LmdbBackend.__init__``.

    BasicSR's (``utils/file_client.py:112``) opens every path again: a training and a validation set on one file fail.
    """
    self.db_paths = [db_paths] if isinstance(db_paths, str) else [str(path) for path in db_paths]
    keys = [client_keys] if isinstance(client_keys, str) else list(client_keys)
    self._client = {key: _Client(path) for key, path in zip(keys, self.db_paths, strict=True)}


def get_record(self: Any, filepath: Any, client_key: str) -> bytes:
    """Stand in for ``LmdbBackend.get``, which returns None where there is no record (``utils/file_client.py:128``).

    Raises:
        OptionError: There is no such record.
    """
    client = self._client[client_key]
    record: bytes | None = None
    try:
        with client.begin(write=False) as transaction:
            record = transaction.get(str(filepath).encode())
    except lmdb.BadValsizeError:
        pass  # an empty key, or one of more than 511 bytes
    if record is None:
        raise OptionError(
            f"{client.path} holds no record '{printable(filepath)}', which its meta_info.txt lists (BasicSR's data sets take "
            "a name up to its first dot)."
        )
    return record


@dataclass(frozen=True)
class _Client:
    """What ``LmdbBackend.get`` uses of an environment, across a fork too."""

    path: str

    def begin(self, **options: Any) -> Any:
        return shared_environment(self.path).begin(**options)
