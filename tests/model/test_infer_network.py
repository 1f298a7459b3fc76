"""``lightbsr infer --network``: archs of BasicSR by their type and options."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network
from PIL import Image

from support.helpers import run_command

ARCHS = {
    "RRDBNet": {"num_in_ch": 3, "num_out_ch": 3, "scale": 2, "num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "MSRResNet": {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 4},
    "SwinIR": {
        "upscale": 2,
        "window_size": 8,
        "img_size": 16,
        "embed_dim": 12,
        "depths": [2],
        "num_heads": [2],
        "mlp_ratio": 2,
        "upsampler": "pixelshuffledirect",
    },
}
MULTIPLES = {"RRDBNet": 2, "MSRResNet": 1, "SwinIR": 8}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as `python -m lightbsr` in a folder, or PYTHONPATH, may
    pixels = np.random.default_rng(0).integers(0, 255, (21, 19, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("a.png")
    return tmp_path


@pytest.fixture
def run(capfd):
    return partial(run_command, capfd, "infer", "a.png", "-o", "out.png", "--device", "cpu")


def _network(name):
    torch.manual_seed(0)
    net = build_network({"type": name, **ARCHS[name]}).eval()
    torch.save({"params": net.state_dict(), "params_ema": net.state_dict()}, "net.pth")
    return net


def _write(options, file="net.yml"):
    with open(file, "w", encoding="utf-8") as stream:
        yaml.safe_dump(options, stream)


@pytest.mark.parametrize("name", ARCHS)
@pytest.mark.parametrize("as_option_file", [False, True])
def test_an_arch_of_basicsr_restores_an_image(place, run, name, as_option_file):
    net = _network(name)
    section = {"type": name, **ARCHS[name]}
    scale = ARCHS[name].get("scale", ARCHS[name].get("upscale"))
    _write(
        {"name": "a training", "scale": scale, "network_g": section, "train": {"lr": 1}} if as_option_file else section
    )
    status, told = run("-m", "net.pth", "--network", "net.yml")
    assert status == 0, told
    multiple = MULTIPLES[name]
    assert (f"multiples of {multiple}: images are padded by reflection" in told) == (multiple > 1)
    with Image.open("a.png") as image:
        pixels = np.asarray(image, dtype=np.float32) / 255
    padded = np.pad(pixels, ((0, -21 % multiple), (0, -19 % multiple), (0, 0)), mode="reflect")
    with torch.no_grad():
        sr = net(torch.from_numpy(padded).permute(2, 0, 1)[None])[0].permute(1, 2, 0).clamp(0, 1).numpy()
    with Image.open("out.png") as image:
        np.testing.assert_allclose(np.asarray(image), sr[: 21 * scale, : 19 * scale] * 255, atol=0.51)


def test_a_multiple_may_be_stated(place, run):
    _network("RRDBNet")
    _write({"type": "RRDBNet", **ARCHS["RRDBNet"], "size_multiple": 10})
    status, told = run("-m", "net.pth", "--network", "net.yml")
    assert (status, "multiples of 10" in told) == (0, True)


RRDB = {"type": "RRDBNet", **ARCHS["RRDBNet"]}


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({**RRDB, "type": "os.system"}, [], "net.yml: line 7, type: os.system is of Python's own library"),
        ({**RRDB, "type": "subprocess.Popen"}, [], "type: subprocess.Popen is of Python's own library"),
        ({**RRDB, "type": "local_arch.Net"}, [], "is no part of an installed package; it was not imported"),
        ({**RRDB, "type": "torch.nn.functional.relu"}, [], "is a function, expected a class derived from torch.nn.M"),
        ({**RRDB, "type": "RRDBNett"}, [], "got 'RRDBNett'; did you mean RRDBNet"),
        ({**RRDB, "type": 3}, [], "expected the name of an arch or package.module.Class, got 3"),
        (ARCHS["RRDBNet"], [], "expected the name of an arch or package.module.Class, got None"),
        ({**RRDB, "num_feat": 9}, [], "net.pth: not a complete RRDBNet: 29 values of another shape (first conv_first."),
        ({**RRDB, "num_block": 2}, [], "values missing (first body.1.rdb1.conv1.weight). (the network is net.yml's)"),
        ({**RRDB, "num_feat": "eight"}, [], "RRDBNet cannot be made of these options"),
        ({**RRDB, "foo": 3}, [], "cannot be made of these options: RRDBNet.__init__() got an unexpected keyword"),
        ({"network_g": [1]}, [], "network_g: expected a section with `type`, got [1]"),
        ({"scale": 4, "network_g": RRDB}, [], "net.yml: scale: 4 is stated, but this network enlarges by 2; correct"),
        ({**RRDB, "size_multiple": "two"}, [], "net.yml: size_multiple: expected an integer >= 1, got 'two'"),
        (RRDB, ["--network", "nothing.yml"], "--network: there is no file nothing.yml"),
        (RRDB, ["--network", ""], "--network: expected a path, got an empty argument"),
        (RRDB, ["-m", "nothing.pth"], "no such checkpoint: nothing.pth"),
        (RRDB, ["-m", "lightbsr_small_x4"], "name the checkpoint by -m FILE"),
    ],
)
def test_what_is_wrong_is_said(place, run, options, arguments, message):
    (place / "local_arch.py").write_text("import pathlib\npathlib.Path('was_run').touch()\n")
    _network("RRDBNet")
    _write(options)
    status, told = run("-m", "net.pth", "--network", "net.yml", *arguments)
    assert status == 2
    assert message in told
    assert not (place / "out.png").exists()
    assert not (place / "was_run").exists()


@pytest.mark.parametrize(
    "text", ["type: !!python/object/apply:os.system [touch was_run]\n", "type: [\n", "\0", "- a\n"]
)
def test_what_is_no_option_file_runs_nothing(place, run, text):
    _network("RRDBNet")
    (place / "net.yml").write_text(text)
    status, told = run("-m", "net.pth", "--network", "net.yml")
    assert (status, "net.yml: " in told) == (2, True)
    assert not (place / "was_run").exists()


def test_a_network_that_enlarges_nothing_is_refused(place, run):
    net = build_network({"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 4, "input_size": 128})
    torch.save(net.state_dict(), "net.pth")
    _write({"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 4, "input_size": 128})
    status, told = run("-m", "net.pth", "--network", "net.yml")
    assert (status, "expected a network from one RGB image to one that is" in told) == (2, True)
