"""A file that remembers a failed write. Apart, since the command needs it before it prints its first word."""

from __future__ import annotations

import io
from typing import Any


class RecordedFile(io.FileIO):
    """Keeps the error of its last failed write: the buffers above it do not raise twice, and libraries ignore it."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write, and keep the error if that fails."""
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise
