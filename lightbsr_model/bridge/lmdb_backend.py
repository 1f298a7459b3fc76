"""BasicSR's LMDB backend on environments that all data sets of a process share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightbsr_model.data.lmdb_environments import shared_environment


def open_clients(
    self: Any, db_paths: str | Sequence[str], client_keys: str | Sequence[str] = "default", **_: Any
) -> None:
    """Stand in for ``LmdbBackend.__init__``.

    BasicSR's (``utils/file_client.py:112``) opens every path anew: a training and a validation set on one file fail.
    """
    self.db_paths = [db_paths] if isinstance(db_paths, str) else [str(path) for path in db_paths]
    keys = [client_keys] if isinstance(client_keys, str) else list(client_keys)
    self._client = {key: _Client(path) for key, path in zip(keys, self.db_paths, strict=True)}


@dataclass(frozen=True)
class _Client:
    """What ``LmdbBackend.get`` uses of an environment, across a fork too."""

    path: str

    def begin(self, **options: Any) -> Any:
        return shared_environment(self.path).begin(**options)
