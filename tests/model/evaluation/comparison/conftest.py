from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import yaml

import lightbsr
from lightbsr_arch import LightBSR

from support.helpers import TINY


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A checkpoint of a tiny network, with an averaged copy that is another."""
    torch.manual_seed(0)
    params, averaged = (LightBSR(scale=4, layer_scale_init=0.1, **TINY).state_dict() for _ in range(2))
    path = tmp_path_factory.mktemp("trained") / "net.pth"
    torch.save({"params": params, "params_ema": averaged}, path)
    return path


@pytest.fixture
def settings(image_folder, trained):
    """The content of a small comparison's YAML."""
    return {
        "name": "small",
        "scale": 4,
        "sets": {"Six": str(image_folder)},
        "presets": ["bicubic", "iso_2.4"],
        "models": [
            {"name": "bicubic", "network": {"type": "BicubicUpsampler", "scale": 4}},
            {"name": "ours", "path": str(trained)},
        ],
        "cost": False,
        "crops": 1,
        "crop_size": 24,
        "bootstrap": 200,
        "device": "cpu",
    }


@pytest.fixture
def compare(tmp_path):
    """Run the command on a YAML's content; return its exit code and its folder."""

    def run(content, folder="out", *flags):
        path = tmp_path / "compare.yml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return lightbsr.main(["compare", "-opt", str(path), "-o", str(tmp_path / folder), *flags]), tmp_path / folder

    return run


@pytest.fixture
def write_image():
    def write(path, image):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.ascontiguousarray(image[:, :, ::-1]))

    return write
