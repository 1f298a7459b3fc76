"""Ways to make an option file run code: none leaves its mark; those of ATTEMPTS would without the judge of names."""

from __future__ import annotations

import contextlib
import importlib
import re
import site
import sys

import pytest
import torch
import yaml

import lightbsr
from lightbsr_model.bridge import launcher
from lightbsr_model.evaluation.model_entries import ModelListReader
from lightbsr_model.option_files import class_lookup, dotted_names
from lightbsr_model.option_files.document import OptionDocument
from lightbsr_model.option_files.option_check import OptionProblems

from support.helpers import Bomb
from support.training_files import plain_training

MARKING_MODULE = """
import pathlib, torch
pathlib.Path({mark!r}).touch()

class Net(torch.nn.Conv2d):
    def __init__(self):
        super().__init__(3, 3, 3)
"""


PYTHONS = "is of Python's own library"
NOT_INSTALLED = r"local_code\.py, which is no part of an installed package"
NO_NAME = r"expected a name such as package\.module\.Class"


def _put(*key, **values):
    """Set a section of the options; MARK in a value is the file that a successful attempt leaves."""

    def change(opt, mark):
        section = opt
        for name in key:
            section = section.setdefault(name, {})
        section.update(yaml.safe_load(yaml.safe_dump(values).replace("MARK", mark)))

    return change


def _replace(key, **values):
    def change(opt, mark):
        opt.pop(key, None)
        _put(key, **values)(opt, mark)

    return change


def _memcached(opt, mark):
    train_set = opt["datasets"]["train"]
    storage = {"type": "memcached", "sys_path": ".", "server_list_cfg": "a", "client_cfg": "b"}
    opt["datasets"]["train"] = {
        **{
            key: train_set[key]
            for key in ("name", "dataroot_gt", "gt_size", "num_worker_per_gpu", "batch_size_per_gpu")
        },
        **{"type": "PairedImageDataset", "dataroot_lq": train_set["dataroot_gt"], "io_backend": storage},
    }


# What is changed; the key that the refusal names, and why.
ATTEMPTS = {
    "os.system": (_replace("network_g", type="os.system", command="touch MARK"), r"network_g:type", PYTHONS),
    "subprocess": (_replace("network_g", type="subprocess.call", args=["touch", "MARK"]), r"network_g:type", PYTHONS),
    "timeit": (
        _replace("network_g", type="timeit.timeit", stmt="open('MARK', 'w')", number=1),
        "network_g:type",
        PYTHONS,
    ),
    "torch.hub": (
        _replace("network_g", type="torch.hub.load", repo_or_dir=".", model="Net", source="local"),
        "network_g:type",
        r"torch\.hub\.load is a function, expected a class derived from torch\.nn\.Module",
    ),
    "local module": (_replace("network_g", type="local_code.Net"), "network_g:type", NOT_INSTALLED),
    "local package": (
        _replace("network_g", type="local_package.net.Net"),
        "network_g:type",
        r"local_package.__init__\.py, which is no part",
    ),
    "loss": (
        _put("train", pixel_opt={"type": "subprocess.call", "args": ["touch", "MARK"]}),
        "train:pixel_opt:type",
        PYTHONS,
    ),
    "local loss": (_put("train", pixel_opt={"type": "local_code.Net"}), "train:pixel_opt:type", NOT_INSTALLED),
    "data set": (_put("datasets", "train", type="local_code.Net"), "datasets:train:type", NOT_INSTALLED),
    "model": (_put(model_type="local_code.Net"), "model_type", NOT_INSTALLED),
    "teacher": (
        _replace("teacher", network={"type": "local_code.Net"}, path="bomb.pth"),
        "teacher:network:type",
        NOT_INSTALLED,
    ),
}
REFUSED_EARLIER = {
    "memcached": (_memcached, "datasets:train", r"sys_path '\.' would be imported from"),
    "relative": (_replace("network_g", type=".local_code.Net"), "network_g:type", NO_NAME),
    "parents": (_replace("network_g", type="..local_code.Net"), "network_g:type", NO_NAME),
    "main": (_replace("network_g", type="__main__.local_code"), "network_g:type", NO_NAME),
    "attribute of a package": (
        _replace("network_g", type="torch.os.system", command="touch MARK"),
        "network_g:type",
        r"cannot import 'torch\.os'",
    ),
    "metric": (
        _put("val", metrics={"psnr": {"type": "os.system", "command": "touch MARK"}}),
        "val:metrics:psnr:type",
        "none of the registered names, and nothing else is called here",
    ),
    "pickle": (
        _put("path", pretrain_network_g="bomb.pth"),
        "path:pretrain_network_g",
        r"bomb\.pth: not a checkpoint that can be read safely",
    ),
}
"""Refused by more than the judge of names: without it they leave no mark either."""
FORCED = {
    "value": ("network_g:type=os.system", "network_g:type", PYTHONS),
    "section": ("network_g={type: local_code.Net}", "network_g:type", NOT_INSTALLED),
    "tag": ("name=!!python/object/apply:os.system ['touch ran']", "name", "is no YAML value"),
    "expression": ("network_g:type=__import__('os').system('touch ran')", "network_g:type", NO_NAME),
}


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """What a module in the working directory, on Python's path, touches when it is imported."""
    mark = tmp_path / "ran"
    (tmp_path / "local_package").mkdir()
    for name in ("local_code", "mc", "hubconf", "local_package/__init__", "local_package/net"):
        (tmp_path / f"{name}.py").write_text(MARKING_MODULE.format(mark=str(mark)))
    torch.save({"params": Bomb(mark)}, tmp_path / "bomb.pth")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    registered = [(registry, dict(registry._obj_map)) for registry in class_lookup._BASES]
    yield mark
    for name in ("local_code", "mc", "hubconf", "local_package", "local_package.net"):
        sys.modules.pop(name, None)
    for registry, names in registered:
        registry._obj_map.clear()
        registry._obj_map.update(names)
    dotted_names.allow_local_code(False)
    while str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


@pytest.fixture
def options(image_folder):
    return plain_training(image_folder, {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 4})


def _import_anything(name, base):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("attempt", [*ATTEMPTS, *REFUSED_EARLIER])
def test_no_code_is_run(run, options, mark, attempt):
    change, key, reason = {**ATTEMPTS, **REFUSED_EARLIER}[attempt]
    change(options, str(mark))
    with pytest.raises(OptionProblems, match=rf"{key}.*: .*{reason}"):
        run(launcher.train, options)
    assert not mark.exists()


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_without_the_judge_each_attempt_runs_code(run, options, mark, monkeypatch, attempt):
    monkeypatch.setattr(class_lookup, "import_class", _import_anything)
    ATTEMPTS[attempt][0](options, str(mark))
    with contextlib.suppress(Exception):
        run(launcher.train, options)
    assert mark.exists()


@pytest.mark.parametrize("attempt", FORCED)
def test_nothing_that_the_command_line_forces_is_run(run, options, mark, attempt):
    forced, key, reason = FORCED[attempt]
    with pytest.raises(OptionProblems, match=rf"{key}: .*{reason}"):
        run(launcher.train, options, "--force_yml", forced)
    assert not mark.exists()


@pytest.mark.parametrize("key", ["network", "model_type"])
@pytest.mark.parametrize("is_judged", [True, False])
def test_a_comparison_runs_no_code(mark, monkeypatch, key, is_judged):
    if not is_judged:
        monkeypatch.setattr(class_lookup, "import_class", _import_anything)
    entry = {"name": "a", key: {"type": "local_code.Net"} if key == "network" else "local_code.Net"}
    reader = ModelListReader(OptionDocument({"models": [entry], "scale": 4}))
    with contextlib.suppress(AttributeError):
        reader.read_models()
    refused = [problem for problem in reader.problems if problem.key == ("models", "0", key)]
    assert [bool(re.search(NOT_INSTALLED, problem.message)) for problem in refused] == ([True] if is_judged else [])
    assert mark.exists() is not is_judged


@pytest.mark.parametrize("flags", [[], ["--allow-local-code"]])
def test_the_check_imports_local_code_where_its_command_line_says_so(mark, options, capsys, tmp_path, flags):
    options["network_g"] = {"type": "local_code.Net"}
    (tmp_path / "a.yml").write_text(yaml.safe_dump(options))
    code = lightbsr.main(["check", "-opt", "a.yml", *flags])
    captured = capsys.readouterr()
    assert code == (0 if flags else 2), captured.err
    assert mark.exists() is bool(flags)
    if not flags:
        assert re.search(rf"network_g:type: .*{NOT_INSTALLED}.*--allow-local-code", captured.err)


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
