from __future__ import annotations

import subprocess
import sys

import pytest

import lightbsr
from lightbsr.shipped_options import find_option_file

WITHOUT_BASICSR = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "basicsr":
            raise ModuleNotFoundError("No module named 'basicsr'", name="basicsr")
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "basicsr" else found(name, package)
"""


def _python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_networks_need_no_basicsr():
    done = _python(
        WITHOUT_BASICSR + "import torch, lightbsr_arch\n"
        "print(tuple(lightbsr_arch.LightBSR(scale=2, num_group=1).eval()(torch.rand(1, 3, 4, 4)).shape))"
    )
    assert done.stdout.strip() == "(1, 3, 8, 8)", done.stderr


def test_training_without_basicsr_says_why_and_what_to_do():
    done = _python(WITHOUT_BASICSR + "import lightbsr\nraise SystemExit(lightbsr.main(['train', '-opt', 'x.yml']))")
    assert done.returncode == 2
    assert "basicsr is not installed here: run `pip install basicsr`" in done.stderr
    assert "lightbsr_arch" in done.stderr
    assert "Traceback" not in done.stderr
    done = _python(WITHOUT_BASICSR + "sys.version_info = (3, 13, 0, 'final', 0)\nimport lightbsr_model")
    assert "cannot be built on Python 3.13 or newer; make an environment of Python 3.10 to 3.12" in done.stderr


def test_importing_lightbsr_model_changes_only_the_registries():
    done = _python(
        "import lightbsr_model, basicsr.train, basicsr.models.base_model as b, basicsr.utils.dist_util as d\n"
        "print(basicsr.train.load_resume_state.__module__, b.BaseModel.model_to_device.__module__, "
        "d._init_dist_pytorch.__module__)"
    )
    assert done.stdout.split() == ["basicsr.train", "basicsr.models.base_model", "basicsr.utils.dist_util"], done.stderr


def test_help_loads_no_torch():
    done = _python("import sys, lightbsr\ntry: lightbsr.main(['--help'])\nfinally: print('torch' in sys.modules)")
    assert "train" in done.stdout
    assert done.stdout.strip().endswith("False")


@pytest.mark.parametrize("arguments", [[], ["trian"]])
def test_unknown_commands_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        lightbsr.main(arguments)
    assert error.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_option_files_that_come_with_the_package_are_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "A small teacher" in find_option_file("options/demo/train_teacher.yml").read_text()
    (tmp_path / "options").mkdir()
    (tmp_path / "options/train_teacher.yml").write_text("name: mine")
    assert find_option_file("options/train_teacher.yml").read_text() == "name: mine"
    assert lightbsr.main(["train", "-opt", "options/trian_teacher.yml"]) == 2
    message = capsys.readouterr().err
    assert "there is no file options/trian_teacher.yml" in message
    assert "options/demo/train_teacher.yml" in message
