from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import basicsr
import pytest
import torch

import lightbsr
from lightbsr import activation
from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge import progress


def test_activate_and_deactivate(tmp_path):
    assert not activation.is_active(tmp_path)
    pth = activation.activate(tmp_path)
    assert activation.is_active(tmp_path)
    assert pth.read_text() == "import _lightbsr_activation\n"
    activation.activate(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    removed = activation.deactivate(tmp_path)
    assert pth in removed
    assert list(tmp_path.iterdir()) == []
    assert activation.deactivate(tmp_path) == []


def test_site_packages_that_cannot_be_written_to(tmp_path):
    # A file where a folder is expected fails for root too, whom permissions do not stop.
    (tmp_path / "site-packages").write_text("")
    with pytest.raises(OptionError, match=r"cannot be written to.*lightbsr train"):
        activation.activate(tmp_path / "site-packages")


def test_link_here(tmp_path):
    link = activation.link_here(tmp_path)
    assert (link / "train.py").is_file()
    assert activation.link_here(tmp_path) == link
    assert activation.unlink_here(tmp_path) == link
    assert activation.unlink_here(tmp_path) is None
    assert activation.installed_basicsr().is_dir()
    (tmp_path / "basicsr").mkdir()
    with pytest.raises(OptionError, match="exists already"):
        activation.link_here(tmp_path)
    assert activation.unlink_here(tmp_path) is None
    assert (tmp_path / "basicsr").is_dir()


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An environment to activate, and a working directory."""
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    own = activation.startup_files(tmp_path / "site-packages")
    monkeypatch.setattr(activation, "startup_files", lambda site_packages=None: own)
    return tmp_path


def test_deactivate_removes_the_link_that_activate_made(environment, capsys):
    link = environment / "work/basicsr"
    assert lightbsr.main(["activate", "--here"]) == 0
    assert link.is_symlink()
    assert lightbsr.main(["deactivate"]) == 0
    assert not link.is_symlink()
    assert str(link) in capsys.readouterr().out
    assert list((environment / "site-packages").iterdir()) == []


def test_deactivate_leaves_a_link_that_leads_elsewhere_unless_asked(environment, capsys):
    link = environment / "work/basicsr"
    link.symlink_to(environment)
    assert lightbsr.main(["deactivate"]) == 0
    assert link.is_symlink()
    assert lightbsr.main(["deactivate", "--here"]) == 0
    assert not link.is_symlink()


def test_status_where_pip_knows_no_basicsr(environment, capsys, monkeypatch):
    """As after `pip install basicsr-fixed`, or in a clone on the path."""
    real = importlib.metadata.Distribution.from_name

    def unknown(name):
        if name == "basicsr":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", unknown)
    assert lightbsr.main(["status"]) == 0
    assert f"basicsr {basicsr.__version__} in " in capsys.readouterr().out
    opt = {"rank": 0, "world_size": 1, "name": "x"}
    assert f"BasicSR {basicsr.__version__}," in progress.first_page(opt, torch.device("cpu"))


@pytest.mark.parametrize("name", ["activate", "deactivate", "status"])
def test_commands_import_neither_torch_nor_basicsr(environment, name):
    """But for ``status``, whose last line is torch's answer."""
    code = (
        "import sys, lightbsr\n"
        "from lightbsr import activation\n"
        "from pathlib import Path\n"
        "own = activation.startup_files(Path(sys.argv[1]))\n"
        "activation.startup_files = lambda site_packages=None: own\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': raise SystemExit('torch last')\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        f"status = lightbsr.main([{name!r}])\n"
        "print(status, {'torch', 'basicsr', 'numpy', 'lightbsr_model'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(environment / "site-packages")], capture_output=True, text=True
    )
    if name == "status":
        assert f"basicsr {basicsr.__version__} in {activation.installed_basicsr()}\nnot activated (" in done.stdout
        assert done.stderr == "torch last\n"
    else:
        assert done.stdout.endswith("\n0 set()\n"), done.stderr
