from __future__ import annotations

import pytest

from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge import activation


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
