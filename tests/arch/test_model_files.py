"""Model files: what is in them, what is taken and what is refused, without running code in any."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lightbsr_arch import LightBSR, LightBSRTeacher, __version__
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_arch.weights.degradation_probe import DegradationProbe, Reading
from lightbsr_arch.weights.model_files import ModelCard, load_model, read_card, save_model

from support.helpers import TINY, Bomb, tiny_student
from support.published import published_state_dict

PROBE = DegradationProbe({"sigma": Reading((0.5, -1.0, *(0.0,) * 14), 2.0, 0.2, 4.0, 0.31, 0.8)})
CARD = ModelCard("setting1_x4", {"iterations": 7, "data": "bundled"}, "Apache-2.0", PROBE)


@pytest.fixture(scope="module")
def net():
    return tiny_student()


def _same(loaded, net):
    expected = net.state_dict()
    assert loaded.net.options == net.options
    assert list(loaded.net.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[key]) for key, value in loaded.net.state_dict().items())
    assert not loaded.net.training


def test_a_model_file_tells_all_about_itself(tmp_path, net):
    path = tmp_path / "a.safetensors"
    save_model(path, net.state_dict(), CARD)
    loaded = load_model(path)
    _same(loaded, net)
    assert loaded.card == CARD
    assert loaded.card.version == __version__
    with safe_open(path, framework="np") as file:  # what any program reads, with neither YAML nor pickle
        metadata = file.metadata()
    assert metadata["scale"] == "4"
    assert json.loads(metadata["network"]) == {"type": "LightBSR", **net.options}
    assert (metadata["setting"], metadata["licence"]) == ("setting1_x4", "Apache-2.0")


def test_a_network_reads_its_options_from_the_metadata_or_the_weights(tmp_path, net):
    save_file(net.state_dict(), tmp_path / "bare.safetensors")
    loaded = load_model(tmp_path / "bare.safetensors")
    _same(loaded, net)
    assert loaded.card == ModelCard()
    assert read_card(tmp_path / "bare.safetensors") is None


def _averaged(net):
    return {key: value + 1 if value.is_floating_point() else value for key, value in net.state_dict().items()}


def _prefixed(prefix, state_dict):
    return {f"{prefix}{key}": value for key, value in state_dict.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda own, ema: ema,
        lambda own, ema: {"params": own, "params_ema": ema},
        lambda own, ema: {"params": ema},
        lambda own, ema: {"state_dict": ema, "epoch": 3},
        lambda own, ema: _prefixed("module.", ema),
        lambda own, ema: {"params": _prefixed("module._orig_mod.", ema)},
        lambda own, ema: {"state_dict": {**_prefixed("net_g.", own), **_prefixed("net_g_ema.", ema)}},
        lambda own, ema: {"model": _prefixed("student.", ema) | {"loss.weight": torch.ones(3)}},
    ],
    ids=["bare", "ema", "params", "state_dict", "ddp", "compiled", "trainer", "part"],
)
def test_every_wrapper_is_stripped_and_the_averaged_copy_preferred(tmp_path, net, wrap):
    torch.save(wrap(net.state_dict(), _averaged(net)), tmp_path / "a.pth")
    loaded = load_model(tmp_path / "a.pth").net.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in _averaged(net).items())


def test_a_published_checkpoint(tmp_path):
    state_dict = published_state_dict("student")
    torch.save({f"module.{key}": value for key, value in state_dict.items()}, tmp_path / "published.pt")
    net = load_model(tmp_path / "published.pt").net
    assert net.scale == 4
    assert torch.equal(net.state_dict()["sr.head.weight"], state_dict["G.head.0.weight"])


def test_code_in_a_checkpoint_is_not_run(tmp_path, net):
    trace = tmp_path / "run"
    torch.save({"params": net.state_dict(), "x": Bomb(trace)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Bomb(trace)))
    (tmp_path / "c.safetensors").write_bytes(pickle.dumps(Bomb(trace)))
    for name in ("a.pth", "b.pth", "c.safetensors"):
        with pytest.raises(OptionError, match=name):
            load_model(tmp_path / name)
    assert not trace.exists()
    pickle.loads((tmp_path / "b.pth").read_bytes())
    assert trace.exists()  # it is a bomb


def _without(key):
    return lambda state_dict: {name: value for name, value in state_dict.items() if name != key}


def _changed(key, change):
    return lambda state_dict: {name: change(value) if name == key else value for name, value in state_dict.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("sr.last.bias"), r"1 values missing \(first sr\.last\.bias"),
        (lambda own: {**own, "sr.extra": torch.ones(1)}, r"1 values too many \(first sr\.extra"),
        (
            _changed("sr.last.weight", lambda value: value[:2]),
            r"1 values of another shape \(first sr\.last\.weight",
        ),
        (_changed("sr.head.weight", lambda value: value[:0]), "a.safetensors"),
        (
            _changed("sr.head.bias", lambda value: value * float("nan")),
            "1 of its weights hold NaN or infinity, first sr",
        ),
        (_without("sr.head.weight"), "not a state dict of"),
        (lambda own: {"weight": torch.ones(3)}, "not a state dict of"),
    ],
)
def test_other_weights_are_refused(tmp_path, net, change, message):
    path = tmp_path / "a.safetensors"
    save_file({key: value.contiguous() for key, value in change(net.state_dict()).items()}, path)
    with pytest.raises(OptionError, match=message) as error:
        load_model(path)
    assert str(path) in str(error.value)


def test_networks_that_need_more_than_an_image_are_refused(tmp_path):
    teachers = {
        "LightBSRTeacher, which needs the true degradation": LightBSRTeacher(
            scale=4, queue_size=32, **TINY
        ).state_dict(),
        "KDSRTeacher, which needs the GT image": published_state_dict("kdsr_teacher"),
    }
    for words, state_dict in teachers.items():
        torch.save(state_dict, tmp_path / "a.pth")
        with pytest.raises(OptionError, match=f"a.pth: this is {words} besides the LR image"):
            load_model(tmp_path / "a.pth")
    with pytest.raises(ValueError, match="LightBSRTeacher, which needs the true degradation"):
        save_model(tmp_path / "b", LightBSRTeacher(scale=4, queue_size=32, **TINY).state_dict(), CARD)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("name", ["nothing", "lightbsr_small_x4/../x", "folder"])
def test_a_model_that_is_not_there(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(MissingFileError, match=r"a model that comes with the package: .*lightbsr_small_x4"):
        load_model(tmp_path / name)


@pytest.mark.parametrize(
    ("key", "value"),
    [("training", "{"), ("training", "[1]"), ("probe", "{}}"), ("probe", '{"sigma": {"weights": [1]}}'),
     ("probe", '{"sigma": 3}'), ("probe", PROBE.to_json().replace("0.5", "NaN"))],
)  # fmt: skip
def test_a_damaged_card_leaves_the_weights_to_be_used_and_is_reported(tmp_path, net, caplog, key, value):
    path = tmp_path / "a.safetensors"
    save_file(net.state_dict(), path, {**CARD.metadata({"type": "LightBSR", **net.options}), key: value})
    with pytest.raises(OptionError, match="its metadata cannot be read"):
        read_card(path)
    loaded = load_model(path)
    _same(loaded, net)
    assert loaded.card == ModelCard()
    assert f"{path}: its metadata cannot be read (" in caplog.text
    assert "Its weights are whole and are used" in caplog.text


def test_files_cut_short_are_refused(tmp_path, net):
    for name in ("a.safetensors", "a.pth"):
        path = tmp_path / name
        if name.endswith("pth"):
            torch.save(net.state_dict(), path)
        else:
            save_model(path, net.state_dict(), CARD)
        content = path.read_bytes()
        for length in (0, 7, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:length])
            with pytest.raises(OptionError, match=name):
                load_model(path)


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path, net, monkeypatch):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_model(path, net.state_dict(), CARD)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.safetensors", b"old")]


def test_a_probe_is_kept_in_its_range():
    assert PROBE.read(np.array([1.0] * 16, np.float32)) == {"sigma": 1.5}
    assert PROBE.read(np.array([99.0, *[0.0] * 15], np.float32)) == {"sigma": 4.0}
    assert DegradationProbe.from_json(PROBE.to_json()) == PROBE


def test_spandrel_loads_our_files_and_published_ones(tmp_path, net):
    spandrel = pytest.importorskip("spandrel")
    from lightbsr_arch.spandrel import install

    lq = torch.rand(1, 3, 13, 9)
    save_model(tmp_path / "ours.safetensors", net.state_dict(), CARD)
    torch.save({"params": net.state_dict()}, tmp_path / "basicsr.pth")
    torch.save(published_state_dict("student"), tmp_path / "published.pth")
    with pytest.raises(spandrel.UnsupportedModelError):
        spandrel.ModelLoader(registry=spandrel.ArchRegistry()).load_from_file(tmp_path / "ours.safetensors")
    install()
    install()
    for name in ("ours.safetensors", "basicsr.pth", "published.pth"):
        descriptor = spandrel.ModelLoader().load_from_file(tmp_path / name)
        assert isinstance(descriptor.model, LightBSR)
        assert (descriptor.architecture.id, descriptor.scale, descriptor.purpose) == ("LightBSR", 4, "SR")
        reference = load_model(tmp_path / name).net
        with torch.no_grad():
            torch.testing.assert_close(descriptor(lq), reference(lq).clamp(0, 1))
    # Other networks are still found as themselves.
    others = {"conv_first.weight": torch.zeros(1)}
    with pytest.raises(spandrel.UnsupportedModelError):
        spandrel.ModelLoader().load_from_state_dict(others)
