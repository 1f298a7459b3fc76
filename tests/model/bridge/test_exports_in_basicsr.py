"""What ``lightbsr export`` writes, in BasicSR's own inference style: ``build_network``, then ``load_network``."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs import build_network
from basicsr.models.base_model import BaseModel

import lightbsr
from lightbsr_arch.weights.model_files import ModelCard, load_model, save_model
from lightbsr_model.bridge.loading import load_network

from support.helpers import tiny_student


@pytest.fixture
def exports(tmp_path):
    net = tiny_student(2)
    save_model(tmp_path / "a.safetensors", net.state_dict(), ModelCard("setting1_x2"))
    assert lightbsr.main(["export", str(tmp_path / "a.safetensors"), "-o", str(tmp_path / "a.pth")]) == 0
    return net, tmp_path


def _model():
    return BaseModel({"num_gpu": 0, "is_train": False})


@pytest.mark.parametrize(
    ("load", "name"),
    [
        (BaseModel.load_network, "a.pth"),  # as BasicSR is, without this package's bridge
        (load_network, "a.pth"),
        (load_network, "a.safetensors"),
    ],
    ids=["stock", "pth", "safetensors"],
)
def test_build_network_and_load_network(exports, load, name):
    net, folder = exports
    options = {"type": "LightBSR", **load_model(folder / name).net.options}
    built = build_network(options)
    load(_model(), built, str(folder / name), True, "params")
    lq = torch.rand(1, 3, 9, 14)
    with torch.no_grad():
        torch.testing.assert_close(built.eval()(lq), net(lq), rtol=0, atol=0)


def test_a_network_of_another_size_is_refused(exports):
    _, folder = exports
    built = build_network({"type": "LightBSR", "scale": 4})
    with pytest.raises(ValueError, match=r"a\.safetensors does not fit LightBSR with these sizes"):
        load_network(_model(), built, str(folder / "a.safetensors"))
