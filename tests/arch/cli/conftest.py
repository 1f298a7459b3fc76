from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lightbsr_arch.weights.model_files import ModelCard, save_model

from infer_helpers import Infer
from support.helpers import run_command, tiny_student


@pytest.fixture(scope="session")
def net():
    return tiny_student()


@pytest.fixture(scope="session")
def model(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, net.state_dict(), ModelCard("setting1_x4"))
    return path


@pytest.fixture
def run(capfd):
    return partial(run_command, capfd)


@pytest.fixture
def infer(model, capfd):
    return Infer(model, capfd)
