"""Ten and more ways to make an option file run code; none leaves its mark."""

from __future__ import annotations

import site
import sys

import pytest
import torch

from lightbsr_model.bridge import dotted_names, launcher
from lightbsr_model.bridge.option_check import OptionProblems

from helpers import Bomb
from training_files import plain_training

MARKING_MODULE = """
import pathlib, torch
pathlib.Path({mark!r}).touch()

class Net(torch.nn.Conv2d):
    def __init__(self):
        super().__init__(3, 3, 3)
"""


def _network(**network):
    return lambda opt, mark: opt.update(network_g=network)


def _loss(opt, mark):
    opt["train"]["pixel_opt"] = {"type": "subprocess.Popen", "args": ["touch", mark]}


def _metric(opt, mark):
    opt["val"]["metrics"] = {"psnr": {"type": "os.system", "command": f"touch {mark}"}}


def _dataset(opt, mark):
    opt["datasets"]["val"] = {"name": "val", "type": "subprocess.Popen", "args": ["touch", mark]}


def _model(opt, mark):
    opt["model_type"] = "local_code.Net"


def _teacher(opt, mark):
    opt["teacher"] = {"network": {"type": "local_code.Net"}, "path": "bomb.pth"}


def _pickle(opt, mark):
    opt["path"] = {"pretrain_network_g": "bomb.pth"}


def _memcached(opt, mark):
    storage = {"type": "memcached", "sys_path": ".", "server_list_cfg": "a", "client_cfg": "b"}
    opt["datasets"]["train"]["io_backend"] = storage


ATTEMPTS = {
    "os.system": lambda opt, mark: opt.update(network_g={"type": "os.system", "command": f"touch {mark}"}),
    "Popen": lambda opt, mark: opt.update(network_g={"type": "subprocess.Popen", "args": ["touch", mark]}),
    "eval": _network(type="builtins.eval", source="1"),
    "torch.hub": _network(type="torch.hub.load", repo_or_dir=".", model="net", source="local"),
    "local module": _network(type="local_code.Net"),
    "relative": _network(type=".local_code.Net"),
    "parents": _network(type="..local_code.Net"),
    "main": _network(type="__main__.local_code"),
    "attribute of a package": _network(type="torch.os.system", command="true"),
    "loss": _loss,
    "metric": _metric,
    "data set": _dataset,
    "model": _model,
    "teacher": _teacher,
    "pickle": _pickle,
    "memcached": _memcached,
}


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """What a module in the working directory, on Python's path, touches when it is imported."""
    mark = tmp_path / "ran"
    for name in ("local_code", "mc", "hubconf"):
        (tmp_path / f"{name}.py").write_text(MARKING_MODULE.format(mark=str(mark)))
    torch.save({"params": Bomb(mark)}, tmp_path / "bomb.pth")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield mark
    for name in ("local_code", "mc", "hubconf"):
        sys.modules.pop(name, None)
    dotted_names.allow_local_code(False)


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_no_code_is_run(run, image_folder, mark, attempt):
    opt = plain_training(image_folder, {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 4})
    ATTEMPTS[attempt](opt, str(mark))
    with pytest.raises(OptionProblems):
        run(launcher.train, opt)
    assert not mark.exists()


def test_local_code_is_named_and_run_where_it_is_allowed(mark):
    with pytest.raises(ValueError, match=r"local_code\.py, which is no part of an installed .* --allow-local-code"):
        dotted_names.import_class("local_code.Net", torch.nn.Module)
    assert not mark.exists()
    dotted_names.allow_local_code(True)
    assert issubclass(dotted_names.import_class("local_code.Net", torch.nn.Module), torch.nn.Conv2d)
    assert mark.exists()


def test_an_installed_package_is_imported(mark, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])
    assert issubclass(dotted_names.import_class("local_code.Net", torch.nn.Module), torch.nn.Conv2d)
    with pytest.raises(ValueError, match=r"not derived from torch\.utils\.data\.Dataset"):
        dotted_names.import_class("local_code.Net", torch.utils.data.Dataset)
