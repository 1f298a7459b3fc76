from __future__ import annotations

from collections.abc import Iterator

import pytest

from lightbsr_model.adaptation import guard, references


@pytest.fixture(autouse=True, scope="session")
def _few_crops() -> Iterator[None]:
    """A guard that looks at little: time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "_CROPS", 3)
        patch.setattr(guard, "_MOST_SHOWN", 1)
        yield
