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
