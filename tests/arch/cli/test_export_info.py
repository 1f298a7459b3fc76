"""``lightbsr export`` and ``lightbsr info``."""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lightbsr_arch import LightBSRTeacher, Upscaler, __version__
from lightbsr_arch.export import onnx_file
from lightbsr_arch.weights.model_files import bundled_models, load_model

from infer_helpers import files, photograph, save
from support.helpers import ROOT, TINY, Bomb
from support.published import published_state_dict

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra export",
)

OPTION_FILE = """
name: mine
model_type: LightBSRStudentModel
scale: 4
datasets:
  train: {name: DF2K, preset: setting1_x4, degradation: {noise_level: 5}, gt_size: 96, batch_size_per_gpu: 16}
train: {total_iter: 900, encoder_iter: 100, ema_decay: 0.999}
"""


@pytest.fixture
def checkpoint(tmp_path, net):
    """As a training saves it; the averaged copy is another one."""
    path = tmp_path / "net_g_latest.pth"
    averaged = {key: value * 1.5 if value.is_floating_point() else value for key, value in net.state_dict().items()}
    said = {"version": "0.9", "iteration": 900, "option_file": OPTION_FILE, "manual_seed": 7, "world_size": 2}
    torch.save({"params": net.state_dict(), "params_ema": averaged, "lightbsr": said}, path)
    return path


def test_a_model_file_of_a_training(run, checkpoint, tmp_path, net):
    target = tmp_path / "out/model.safetensors"
    status, told = run("export", checkpoint, "-o", target, "--licence", "CC0-1.0")
    assert status == 0
    assert f"{target}: 0.0" in told
    loaded = load_model(target)
    assert torch.equal(loaded.net.state_dict()["sr.head.weight"], net.state_dict()["sr.head.weight"] * 1.5)
    card = loaded.card
    assert card.setting == 'setting1_x4 with {"noise_level": 5}'
    assert card.licence == "CC0-1.0"
    assert dict(card.training) == {
        "name": "mine",
        "model_type": "LightBSRStudentModel",
        "iterations": 900,
        "encoder_iterations": 100,
        "data": "DF2K",
        "gt_size": 96,
        "batch_size_per_process": 16,
        "processes": 2,
        "ema_decay": 0.999,
        "seed": 7,
        "trained_with": "lightbsr 0.9",
    }
    # And on from there: what is known stays known.
    assert run("export", target, "-o", tmp_path / "two.safetensors", "--setting", "mine")[0] == 0
    again = load_model(tmp_path / "two.safetensors").card
    assert (again.setting, again.licence, again.training) == ("mine", card.licence, card.training)


def test_a_checkpoint_for_basicsr(run, checkpoint, tmp_path):
    target = tmp_path / "for_basicsr.pth"
    assert run("export", checkpoint, "-o", target, "--licence", "MIT")[0] == 0
    content = torch.load(target, weights_only=True)
    assert set(content) == {"params", "lightbsr"}
    assert run("export", target, "-o", tmp_path / "back.safetensors")[0] == 0
    back = load_model(tmp_path / "back.safetensors")
    assert back.card.licence == "MIT"
    assert back.card.training["iterations"] == 900
    assert all(torch.equal(value, content["params"][key]) for key, value in back.net.state_dict().items())


def test_nothing_is_replaced_unasked(run, checkpoint, tmp_path):
    target = tmp_path / "a.safetensors"
    target.write_bytes(b"mine")
    status, told = run("export", checkpoint, "-o", target)
    assert (status, target.read_bytes()) == (2, b"mine")
    assert f"{target} is there already; --overwrite replaces it" in told
    assert run("export", checkpoint, "-o", target, "--overwrite")[0] == 0
    before = target.read_bytes()
    status, told = run("export", target, "-o", target, "--overwrite")
    assert (status, target.read_bytes()) == (2, before)
    assert "would be replaced by its own export" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.pth", "-o", "a.safetensors"], "there is no checkpoint nothing.pth"),
        (
            ["{checkpoint}", "-o", "a.ckpt"],
            "-o a.ckpt: expected a name that ends with one of .safetensors, .pth, .onnx, .pt2",
        ),
        (
            ["teacher.pth", "-o", "a.safetensors"],
            "teacher.pth: this is LightBSRTeacher, which needs the true degradation",
        ),
        (["text.pth", "-o", "a.safetensors"], "text.pth: not a checkpoint that can be read safely"),
        (["{checkpoint}", "-o", "a.safetensors", "--probe", "/nowhere"], "/nowhere"),
        (
            ["{checkpoint}", "-o", "a.safetensors", "--probe", "bundled", "--setting", "rain"],
            "setting 'rain': names no degradation",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused(run, checkpoint, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    torch.save(LightBSRTeacher(scale=4, queue_size=32, **TINY).state_dict(), "teacher.pth")
    Path("text.pth").write_text("text")
    before = files(tmp_path)
    status, told = run("export", *(argument.format(checkpoint=checkpoint) for argument in arguments))
    assert status == 2
    assert message in told
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("ending", "kind"),
    [("pt2", "a graph for torch.export.load"), pytest.param("onnx", "an ONNX model", marks=needs_onnx)],
)
def test_a_graph_and_what_is_said_of_it(run, checkpoint, tmp_path, ending, kind):
    """Graphs of every method at any size: test_methods.py."""
    target = tmp_path / f"a.{ending}"
    status, exported = run("export", checkpoint, "-o", target)
    assert status == 0
    status, told = run("info", target)
    assert status == 0
    for words in (f"{kind}, exported by lightbsr", "LightBSR, x4", 'setting: setting1_x4 with {"noise_level": 5}'):
        assert words in told
    if ending == "pt2":
        lq = torch.rand(2, 3, 9, 5)
        with torch.no_grad():
            expected = load_model(checkpoint).net(lq)
            torch.testing.assert_close(torch.export.load(target).module()(lq), expected, rtol=0, atol=1e-5)
    else:
        import onnx

        assert float(re.search(r"largest difference to torch (\S+)", exported)[1]) < 1e-4
        onnx.checker.check_model(onnx.load(target), full_check=True)


@needs_onnx
def test_onnx_in_half_precision(run, checkpoint, tmp_path):
    import onnx
    import onnxruntime

    target = tmp_path / "a.onnx"
    assert run("export", checkpoint, "-o", target, "--precision", "fp16")[0] == 0
    kinds = {tensor.data_type for tensor in onnx.load(target).graph.initializer if len(tensor.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT16}
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    lq = torch.rand(1, 3, 21, 30)
    with torch.no_grad():
        expected = load_model(checkpoint).net(lq).numpy()
    (output,) = session.run(None, {"lq": lq.numpy()})
    assert output.dtype == np.float32
    assert 1e-6 < np.abs(output - expected).max() < 2e-2


@needs_onnx
def test_onnx_that_differs_is_not_written(run, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "_difference", lambda *_: float("nan"))
    status, told = run("export", checkpoint, "-o", tmp_path / "a.onnx")
    assert (status, (tmp_path / "a.onnx").exists()) == (1, False)
    assert "onnxruntime and torch differ by nan, more than 0.0001: not written" in told


def test_onnx_needs_its_extra(run, checkpoint, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None if name == "onnxscript" else real(name))
    status, told = run("export", checkpoint, "-o", tmp_path / "a.onnx")
    assert status == 2
    assert "onnxscript: not installed; ONNX needs the extra `export`: pip install lightbsr[export]" in told


@needs_onnx
def test_the_example_runs_onnx_without_torch(run, checkpoint, tmp_path, monkeypatch):
    assert run("export", checkpoint, "-o", tmp_path / "a.onnx")[0] == 0
    save(tmp_path / "in.png")
    for name in ("torch", "lightbsr_arch"):  # importing them fails
        monkeypatch.setitem(sys.modules, name, None)
    arguments = ["onnx_upscale.py", tmp_path / "a.onnx", tmp_path / "in.png", tmp_path / "out.png"]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "examples/onnx_upscale.py"), run_name="__main__")
    assert end.value.code == 0
    monkeypatch.undo()
    expected = Upscaler.from_checkpoint(checkpoint, device="cpu").upscale(photograph())
    with Image.open(tmp_path / "out.png") as image:
        assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1


@needs_onnx
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: python onnx_upscale.py MODEL.onnx IMAGE RESULT"),
        (["a.onnx", "in.png"], "usage: "),
        (["nothing.onnx", "in.png", "out.png"], "onnx_upscale.py: nothing.onnx: "),
        (["text.onnx", "in.png", "out.png"], "onnx_upscale.py: text.onnx: "),
        (["relu.onnx", "nothing.png", "out.png"], "onnx_upscale.py: nothing.png: "),
        (["relu.onnx", "text.onnx", "out.png"], "onnx_upscale.py: text.onnx: cannot identify image file"),
        (["relu.onnx", "in.png", "out.png"], "onnx_upscale.py: relu.onnx: "),
    ],
)
def test_the_example_says_what_is_wrong(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("text.onnx").write_text("no model")
    _relu("relu.onnx")
    save(tmp_path / "in.png")
    monkeypatch.setattr(sys, "argv", ["onnx_upscale.py", *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "examples/onnx_upscale.py"), run_name="__main__")
    told = capsys.readouterr().err
    assert end.value.code == 2
    assert told.startswith(message)
    assert told.count("\n") == 1
    assert not Path("out.png").exists()


# info


def test_info_on_files_of_every_kind(run, checkpoint, tmp_path, net):
    run("export", checkpoint, "-o", tmp_path / "ours.safetensors", tmp_path / "ours.pth")
    torch.save(published_state_dict("student"), tmp_path / "published.pth")
    torch.save(published_state_dict("dasr"), tmp_path / "dasr.pth")
    torch.save(LightBSRTeacher(scale=4, queue_size=32, **TINY).state_dict(), tmp_path / "teacher.pth")
    torch.save({"params": {"conv_first.weight": torch.zeros(64, 3, 3, 3)}}, tmp_path / "edsr.pth")
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
    state = {"epoch": 3, "iter": 900, "optimizers": [{"state": {}}], "schedulers": []}
    torch.save(state, tmp_path / "900.state")
    torch.save(net.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name, expected in {
        "ours.safetensors": [
            f"a model file of lightbsr {__version__}",
            "LightBSR, x4, 8 features, 1 groups, 2 blocks each, 4 in the encoder",
            'setting: setting1_x4 with {"noise_level": 5}',
            "licence: not stated",
            "iterations 900",
            "probe: none",
        ],
        "ours.pth": ["a BasicSR checkpoint (params), exported by lightbsr", "iterations 900"],
        "net_g_latest.pth": ["a BasicSR checkpoint (params and params_ema)", "trained with: lightbsr 0.9", "iteration: 900"],
        "published.pth": ["a state dict in the layout of the published LightBSR code", "LightBSR, x4, 64 features"],
        "dasr.pth": ["in the layout of the published DASR code", "DASR, x4", "use: `lightbsr infer`, `export`, `test`"],
        "teacher.pth": ["a state dict", "LightBSRTeacher, x4", "it needs the true degradation besides the LR image"],
        "edsr.pth": ["a BasicSR checkpoint (params) of another network", "0.00 M in 1 tensors", "first: conv_first.weight"],
        "other.safetensors": ["a safetensors file, weights of another network"],
        "900.state": ["a training state of BasicSR, to resume from", "iteration: 900", "epoch: 3"],
        "old.pth": ["a state dict", "LightBSR, x4, 8 features"],
    }.items():  # fmt: skip
        status, told = run("info", tmp_path / name)
        assert status == 0, told
        for words in expected:
            assert words in told, (name, words, told)


def test_info_tells_which_models_come_with_the_package(run):
    status, told = run("info")
    assert status == 0
    assert "lightbsr_small_x4: a model file of lightbsr" in told
    assert all(f"{name}: a model file" in told for name in bundled_models())
    assert told.count("  setting: ") == len(bundled_models())


def test_info_tells_what_is_no_model_and_runs_nothing(run, tmp_path, checkpoint):
    trace = tmp_path / "run"
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb(trace)))
    torch.save({"params": Bomb(trace)}, tmp_path / "zipped.pth")
    torch.save(Bomb(trace), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.jit.script(torch.nn.ReLU()).save(tmp_path / "script.pt")
    save(tmp_path / "photo.jpg")
    (tmp_path / "notes.yml").write_text("name: x\n")
    (tmp_path / "noise.bin").write_bytes(bytes(range(1, 256)))
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "half.pth").write_bytes(checkpoint.read_bytes()[:3000])
    (tmp_path / "half.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    (tmp_path / "folder").mkdir()
    for name, expected in {
        "bomb.pth": ["a pickle with code in it, which was not run", "pathlib."],
        "zipped.pth": ["a pickle with code in it, which was not run", "pathlib."],
        "old.pth": ["a pickle with code in it, which was not run"],
        "script.pt": ["a TorchScript archive: it holds code, which was not run"],
        "photo.jpg": ["an image, JPEG, 32x24: `lightbsr infer` restores it"],
        "notes.yml": ["a text file, no model"],
        "noise.bin": ["of no kind that this package knows"],
        "empty": ["an empty file"],
        "half.pth": ["a damaged archive, or one that is cut short"],
        "half.safetensors": ["a damaged safetensors file"],
        "folder": ["a folder"],
    }.items():
        status, told = run("info", tmp_path / name)
        assert status == 1, told
        for words in expected:
            assert words in told, (name, words, told)
    assert not trace.exists()
    status, told = run("info", tmp_path / "nothing.pth")
    assert (status, "there is no such file, and no model of that name in the package" in told) == (1, True)
    # One bad file does not hide the others.
    status, told = run("info", tmp_path / "empty", checkpoint)
    assert (status, "params_ema" in told) == (1, True)


def test_whoever_reads_may_go(checkpoint):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "lightbsr", "info", str(checkpoint)]
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, timeout=120)
    assert (done.returncode, done.stderr) == (1, b"")


def _relu(path):
    """An ONNX model of someone else's."""
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


@needs_onnx
def test_info_on_onnx_of_others(run, tmp_path):
    _relu(tmp_path / "a.onnx")
    assert run("info", tmp_path / "a.onnx") == (0, f"{tmp_path / 'a.onnx'}: an ONNX model, not of this package\n")
    (tmp_path / "b.onnx").write_bytes(b"no model")
    assert run("info", tmp_path / "b.onnx")[0] == 1
