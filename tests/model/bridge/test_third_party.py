"""A network of someone else's, named in a YAML and registered nowhere."""

from __future__ import annotations

import site
import sys

import pytest
import torch

from lightbsr_model.bridge import launcher
from lightbsr_model.option_files.option_check import OptionProblems

from support.training_files import plain_training

ARCH = """
import torch
from torch.nn import functional as F

class Theirs(torch.nn.Module):
    def __init__(self, width=4, upscale=4):
        super().__init__()
        self.upscale = upscale
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, width, 3, 1, 1), torch.nn.Conv2d(width, 3, 3, 1, 1))

    def forward(self, x):
        return self.layers(F.interpolate(x, scale_factor=self.upscale))
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package/__init__.py").write_text("")
    (tmp_path / "their_package/archs.py").write_text(ARCH)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])
    yield
    for name in ("their_package", "their_package.archs"):
        sys.modules.pop(name, None)


def test_trains_by_its_dotted_name(run, tmp_path, image_folder, package):
    opt = plain_training(image_folder, {"type": "their_package.archs.Theirs", "width": 5, "upscale": 4})
    run(launcher.train, opt)
    saved = torch.load(tmp_path / "experiments/run/models/net_g_latest.pth")["params"]
    assert saved["layers.0.weight"].shape == (5, 3, 3, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("their_packag.archs.Theirs", "network_g:type.*: cannot import 'their_packag.archs'.*install the package"),
        ("their_package.archs.Their", "network_g:type.*: their_package.archs has no 'Their'; did you mean Theirs"),
    ],
)
def test_a_name_that_is_not_there_is_explained(run, image_folder, package, name, message):
    with pytest.raises(OptionProblems, match=message):
        run(launcher.train, plain_training(image_folder, {"type": name}))


def test_its_arguments_are_checked(run, image_folder, package):
    network = {"type": "their_package.archs.Theirs", "widht": 5}
    with pytest.raises(OptionProblems, match=r"widht.*did you mean width"):
        run(launcher.train, plain_training(image_folder, network))
    model = {**plain_training(image_folder, {"type": "their_package.archs.Theirs"}), "model_type": "nowhere.Model"}
    with pytest.raises(OptionProblems, match=r"model_type.*cannot import 'nowhere'"):
        run(launcher.train, model)
