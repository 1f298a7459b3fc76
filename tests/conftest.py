from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

os.environ["OMP_NUM_THREADS"] = "1"  # of processes that tests start


import lightbsr_model  # noqa: F401 - BasicSR does not import without it

from support.helpers import forget_logs
from support.published import GOLDEN

_LONGEST = (
    *("test_exact_resume", "test_methods", "test_training", "test_stock_script", "test_pretrained", "test_equal_steps"),
    *("test_stopping", "test_lce", "test_export_info", "test_faults", "test_hostile", "test_preparing_faults"),
    *(
        "test_equal_ranks",
        "test_compare_recipes",
        "test_datasets",
        "test_launcher",
        "test_any_network",
        "test_golden_steps",
    ),
)
"""Files that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: the processes then end together."""
    place = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests run in several processes, on tiny networks: more threads would only wait for each other.

    Before each test, since commands that run in the tests' process (``lightbsr data``) take all cores for it.
    """
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_logs() -> None:
    """No test writes to the stderr of the one before it, which is closed by then: logging prints a traceback at that."""
    forget_logs()


@pytest.fixture
def golden() -> Callable[[str], dict[str, torch.Tensor]]:
    def load(name: str) -> dict[str, torch.Tensor]:
        with np.load(GOLDEN / f"{name}.npz") as data:
            return {key: torch.from_numpy(data[key]) for key in data.files}

    return load


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six 80x96 crops of real images."""
    import skimage.data

    folder = tmp_path_factory.mktemp("images")
    for name in ("astronaut", "coffee", "chelsea"):
        image = getattr(skimage.data, name)()
        for number, left in enumerate((100, 200)):
            cv2.imwrite(str(folder / f"{name}{number}.png"), image[100:180, left : left + 96, ::-1])
    return folder
