"""``lightbsr infer``, ``export`` and ``info`` on every method, and spandrel."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from lightbsr_arch import LightBSRTeacher
from lightbsr_arch.errors import OptionError
from lightbsr_arch.export import onnx_file
from lightbsr_arch.export.exportable import export_program
from lightbsr_arch.methods.kdsr import KDSRTeacher
from lightbsr_arch.methods.registry import network_names
from lightbsr_arch.weights.degradation_probe import DegradationProbe, Reading
from lightbsr_arch.weights.model_files import ModelCard, load_model, read_metadata, save_model

from infer_helpers import photograph, save
from support.helpers import TINY
from support.method_cases import CASES
from support.students import REPRESENTING, STUDENTS, tiny
from support.training_cases import AUXILIARY, FROM_BURSTS

OTHERS = [name for name in STUDENTS if name != "LightBSR"]


def test_every_network_that_needs_only_an_image_has_a_case():
    needy = {"LightBSRTeacher", "KDSRTeacher", "MRDATeacher", "MetaLearningNetwork", *AUXILIARY, *FROM_BURSTS}
    assert set(STUDENTS) == set(network_names()) - needy - {"BicubicUpsampler"}


@pytest.mark.parametrize("name", OTHERS)
def test_a_folder_by_a_checkpoint_of_any_method(run, tmp_path, name):
    net = tiny(name)
    torch.save({"params": net.state_dict()}, tmp_path / "net.pth")
    for number, (height, width) in enumerate(((24, 32), (17, 9))):
        save(tmp_path / f"in/{number}.png", height, width)
    status, told = run("infer", tmp_path / "in", "-o", tmp_path / "out", "-m", tmp_path / "net.pth", "--device", "cpu")
    assert (status, "2 done" in told) == (0, True), told
    lq = torch.from_numpy(photograph(24, 32)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = net(lq)[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255
    with Image.open(tmp_path / "out/0_x4.png") as image:
        np.testing.assert_allclose(np.asarray(image), expected, atol=0.51)
    with Image.open(tmp_path / "out/1_x4.png") as image:
        assert image.size == (36, 68)


@pytest.mark.parametrize("name", OTHERS)
def test_model_files_and_info_of_any_method(run, tmp_path, name):
    net = tiny(name)
    torch.save({"params": net.state_dict()}, tmp_path / "net.pth")
    target = tmp_path / "net.safetensors"
    assert run("export", tmp_path / "net.pth", "-o", target, "--licence", "MIT")[0] == 0
    model = load_model(target)
    assert model.options == {"type": name, **net.options}
    assert model.card.licence == "MIT"
    assert all(torch.equal(value, model.net.state_dict()[key]) for key, value in net.state_dict().items())
    assert json.loads(read_metadata(target)["network"]) == model.options
    status, told = run("info", target)
    assert status == 0
    for words in (f"network: {name}, x4, 8 features", "method: ", "arXiv ", "use: `lightbsr infer`, `export`"):
        assert words in told


def test_info_shows_how_a_network_starts(run, tmp_path):
    torch.save({"params": tiny("KDSR", image_skip=True, tail_activation="lr").state_dict()}, tmp_path / "net.pth")
    assert (
        "network: KDSR, x4, 8 features, 2 blocks each, image skip, tail activation lr"
        in run("info", tmp_path / "net.pth")[1]
    )


@pytest.mark.parametrize("name", ["MRDATeacher", "MetaLearningNetwork"])
def test_export_says_why_it_cannot(run, tmp_path, name):
    torch.save({"params": CASES[name].build().state_dict()}, tmp_path / "net.pth")
    status, told = run("export", tmp_path / "net.pth", "-o", tmp_path / "net.safetensors")
    assert status == 2
    assert f"net.pth: this is {name}, which needs the GT image" in told
    assert "besides the LR image; a student is what restores images" in told
    assert not (tmp_path / "net.safetensors").exists()
    status, told = run("info", tmp_path / "net.pth")
    assert (status, f"network: {name}, x4, 8 features" in told) == (0, True)


def test_info_says_why_infer_cannot_run_a_teacher(run, tmp_path):
    torch.save(KDSRTeacher(4, 8, 1, 1).state_dict(), tmp_path / "teacher.pth")
    status, told = run("info", tmp_path / "teacher.pth")
    assert status == 0
    assert "method: KDSR (ICLR 2023, arXiv 2211.16928)" in told
    assert "needs the GT image besides the LR image, so `lightbsr infer` cannot run it" in told
    save(tmp_path / "a.png")
    status, told = run("infer", tmp_path / "a.png", "-m", tmp_path / "teacher.pth", "--device", "cpu")
    assert status == 2
    assert "teacher.pth: this is KDSRTeacher, which needs the GT image besides the LR image" in told


def test_a_checkpoint_without_the_contrasts_copies_runs(run, tmp_path):
    """Some trainers leave out the key encoder and the queue, which no image needs."""
    net = tiny("DASR")
    kept = {key: value for key, value in net.state_dict().items() if ".key." not in key and "queue" not in key}
    assert len(kept) < len(net.state_dict())
    torch.save(kept, tmp_path / "net.pth")
    lq = torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "net.pth").net(lq), net(lq))


@pytest.mark.parametrize("name", REPRESENTING)
def test_a_probe_of_any_method_is_read(run, tmp_path, name):
    net = tiny(name)
    pixels = photograph(24, 32)
    with torch.no_grad():
        vector = net.represent(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)[0].double().numpy()
    weights = np.linspace(-1, 1, len(vector))
    reading = Reading(tuple(weights), 2.5 - float(vector @ weights), 0.0, 9.0, 0.3, 0.9)
    card = ModelCard(probe=DegradationProbe({"sigma": reading}))
    save_model(tmp_path / "net.safetensors", net.state_dict(), card)
    assert load_model(tmp_path / "net.safetensors").card == card
    save(tmp_path / "a.png", 24, 32)
    status, told = run(
        *("infer", tmp_path / "a.png", "-m", tmp_path / "net.safetensors", "--device", "cpu", "--show-degradation")
    )
    assert status == 0
    assert "looks like a Gaussian blur of sigma 2.5 pixels" in told
    too_long = DegradationProbe({"sigma": Reading((*weights, 1.0), 0.0, 0.0, 9.0, 0.3, 0.9)})
    save_model(tmp_path / "b.safetensors", net.state_dict(), ModelCard(probe=too_long))
    assert "its probe is of another network" in str(load_model(tmp_path / "b.safetensors").damage)


@pytest.mark.skipif(find_spec("onnxscript") is None, reason="needs the extra export")
@pytest.mark.parametrize("name", STUDENTS)
def test_graphs_take_any_batch_and_size(tmp_path, name, monkeypatch):
    import onnxruntime

    # One of each tail; the others as published.
    changed = {
        **{name: {"image_skip": True, "tail_activation": tail} for name, tail in (("LightBSR", "lr"), ("DASR", "hr"))},
        "DSSR": {"num_step": 2, "num_block": 1},  # a step more is only more of the same
    }
    net = tiny(name, **changed.get(name, {}))
    program = export_program(net)
    monkeypatch.setattr(onnx_file, "export_program", lambda _: program)  # made once for both
    assert onnx_file.save_onnx(tmp_path / "a.onnx", net, {}) < 1e-4
    graph = program.module()  # test_export_info.py has one that was saved and loaded
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    for size in ((1, 3, 1, 1), (1, 3, 17, 24), (3, 3, 9, 5), (2, 3, 11, 9)):
        lq = torch.rand(size)
        (output,) = session.run(["sr"], {"lq": lq.numpy()})
        with torch.no_grad():
            expected = net(lq)
            if min(lq.shape[2:]) >= CASES[name].smallest_in_graph:  # what docs/using.md promises of a .pt2
                torch.testing.assert_close(graph(lq), expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(output, expected.numpy(), rtol=0, atol=1e-4)
    if name == "LCE":  # needs more than a window
        with torch.no_grad(), pytest.raises(AssertionError, match=r"size\(\)\[\d\](\) // 8 != 1| >= 9)"):
            graph(torch.rand(1, 3, 8, 24))


def test_spandrel_loads_every_method_and_no_teacher(tmp_path):
    spandrel = pytest.importorskip("spandrel")
    from lightbsr_arch.spandrel import install

    registry = spandrel.ArchRegistry()
    install(registry)
    assert {support.architecture.id for support in registry} == set(STUDENTS)
    loader = spandrel.ModelLoader(registry=registry)
    lq = torch.rand(1, 3, 12, 9)
    for name in STUDENTS:
        net = tiny(name)
        descriptor = loader.load_from_state_dict(net.state_dict())
        assert (descriptor.architecture.id, descriptor.scale) == (name, 4)
        with torch.no_grad():
            torch.testing.assert_close(descriptor(lq), net(lq).clamp(0, 1))
    for teacher in (KDSRTeacher(4, 8, 1, 1), LightBSRTeacher(scale=4, queue_size=8, **TINY)):
        with pytest.raises(spandrel.UnsupportedModelError):
            loader.load_from_state_dict(teacher.state_dict())


def test_a_network_that_is_not_here_is_refused(tmp_path):
    torch.save({"conv_first.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(OptionError, match=r"other.pth: not a state dict of a known method"):
        load_model(tmp_path / "other.pth")
