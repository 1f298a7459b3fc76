"""``lightbsr adapt``: what it writes, what it refuses before the work, and what it leaves where it stops."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from lightbsr_arch.methods import registry
from lightbsr_arch.weights.fingerprint import weights_sha256
from lightbsr_arch.weights.model_card import ModelCard
from lightbsr_arch.weights.model_files import load_model, save_model
from lightbsr_model.adaptation import guard
from lightbsr_model.adaptation.adapting import Adapting

from support.adapting import TrueDegrader, enlarging_student, low, photo, sharp_images, write
from support.full_disk import small_disk
from support.helpers import run_command
from support.method_cases import CASES


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A model that darkens, an LR image, references; the degradation is known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "degrader", lambda name: lambda *_, **__: TrueDegrader(3.0))
    monkeypatch.setattr(guard, "MOST_NIQE", 2)
    net = enlarging_student()
    with torch.no_grad():
        net.sr.last.bias -= 0.02
    save_model(tmp_path / "parent.safetensors", net.state_dict(), ModelCard("iso_1.2", {"name": "tiny"}, "CC0"))
    write(tmp_path / "lr.png", low(photo(size=240), 3.0))
    sharp_images(tmp_path)
    return tmp_path


def _adapt(capfd, *arguments, images=("lr.png",), output="out.safetensors"):
    given = ("-m", "parent.safetensors", "-o", output, "--references", "sharp", "--device", "cpu")
    return run_command(capfd, "adapt", *images, *given, *arguments)


def _faster(monkeypatch, lr=1e-3, interval=4):
    begin = Adapting.__init__

    def init(self, recipe, net, targets, references, iterations, _lr, seed, _interval, files):
        begin(self, recipe, net, targets, references, iterations, lr, seed, interval, files)

    monkeypatch.setattr(Adapting, "__init__", init)


def test_an_adapted_model_its_card_and_its_report(place, capfd, monkeypatch):
    _faster(monkeypatch)
    status, told = _adapt(capfd, "--iterations", 12, "--seed", 3)
    assert status == 0, told
    assert "1 image: no noise that stands out" in told
    # Where nobody watches a bar.
    assert re.findall(r"step (\d+) of 12, 00:\d\d left: reconstructor [+-]\d\.\d\d dB, fitted", told) == [
        "4",
        "8",
        "12",
    ]
    assert re.search(r"better: on held-out images it gains \+\d\.\d\d dB", told)
    model, parent = load_model("out.safetensors"), load_model("parent.safetensors")
    assert model.options == parent.options
    assert (model.card.setting, model.card.licence) == ("iso_1.2", "CC0")
    adapted = model.card.training["adapted"]
    assert model.card.training["name"] == "tiny"
    assert (adapted["parent"], adapted["images"], adapted["seed"]) == ("parent.safetensors", ["lr.png"], 3)
    assert adapted["method"] == "references"
    assert set(adapted["gain_db"]) == {"reconstructor", "fitted"}
    assert min(adapted["gain_db"].values()) > 0.05
    for name, gain in adapted["gain_db"].items():
        before, after = (adapted[when]["psnr"][name] for when in ("before", "after"))
        assert after - before == pytest.approx(gain, abs=0.0021)
    assert set(adapted["after"]) == {"psnr", "residual", "niqe", "change"}
    assert (adapted["noise"], adapted["jpeg_quality"]) == (0.0, [])
    assert adapted["parent_sha256"] == weights_sha256(parent.net.state_dict())
    page = (place / "out.html").read_text(encoding="utf-8")
    for words in (
        "PSNR-Y on held-out images, degraded by fitted",
        "NIQE",
        "lr.png",
        "data:image/png;base64",
        "Allowed",
    ):
        assert words in page
    assert sorted(path.name for path in place.iterdir()) == [
        *("lr.png", "out.html", "out.safetensors", "parent.safetensors", "sharp")
    ]
    status, told = run_command(capfd, "info", "out.safetensors")
    assert status == 0
    assert "lr.png" in told
    status, told = _adapt(capfd)
    assert status == 2
    assert "out.safetensors is there already; --overwrite replaces it" in told


def test_what_is_not_better_is_not_written(place, capfd, monkeypatch):
    _faster(monkeypatch, lr=1.0, interval=1)
    status, told = _adapt(capfd, "--iterations", 1)
    assert status == 1
    assert "not better, nothing written: on held-out images it gains -" in told
    assert sorted(path.name for path in place.iterdir()) == ["lr.png", "parent.safetensors", "sharp"]
    status, _ = _adapt(capfd, "--iterations", 1, "--report", "why.html")
    assert status == 1
    assert "not better" in (place / "why.html").read_text(encoding="utf-8")


def test_a_stopped_adaptation_goes_on(place, capfd, monkeypatch):
    _faster(monkeypatch)
    assert _adapt(capfd, "--iterations", 8, output="whole.safetensors")[0] == 0
    step = Adapting._step

    def stopping(self, after=5):
        if self.state.iteration == after:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(Adapting, "_step", lambda self: stopping(self, 2))
    assert "stopped after step 2 of 8; the same command begins anew." in _adapt(capfd, "--iterations", 8)[1]
    monkeypatch.setattr(Adapting, "_step", stopping)
    status, told = _adapt(capfd, "--iterations", 8)
    assert status == 130
    assert "stopped after step 5 of 8; the same command goes on" in told
    assert not (place / "out.safetensors").exists()
    (place / "reconstructor").write_bytes(b"another")
    told = _adapt(capfd, "--iterations", 8, "--reconstructor", "reconstructor")[1]
    assert "out.safetensors.state is of another adaptation" in told
    monkeypatch.setattr(Adapting, "_step", step)
    status, told = _adapt(capfd, "--iterations", 8, "--seed", 1)
    assert "out.safetensors.state is of another adaptation" in told
    (place / "out.safetensors").unlink(missing_ok=True)
    (place / "out.html").unlink(missing_ok=True)
    monkeypatch.setattr(Adapting, "_step", stopping)
    assert _adapt(capfd, "--iterations", 8)[0] == 130
    monkeypatch.setattr(Adapting, "_step", step)
    status, told = _adapt(capfd, "--iterations", 8)
    assert status == 0
    assert "goes on after step 4 of 8" in told
    whole, resumed = (load_model(f"{name}.safetensors").net.state_dict() for name in ("whole", "out"))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    assert not (place / "out.safetensors.state").exists()


def _never(*_, **__):
    pytest.fail("the work began")


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (None, {"images": ["nothing.png"]}, "there is no such file"),
        (None, {"output": "out.pth"}, r"expected a name that ends with \.safetensors"),
        (None, {"output": "lr.png/out.safetensors"}, r"lr\.png/.* cannot be written"),
        (None, {"images": ["-"]}, "standard input is read by"),
        ("small", {}, r"lr\.png: 40x40 pixels; expected at least 48x48"),
        ("text", {}, r"lr\.png: "),
        ("noisy", {}, r"lr\.png: has noise of about \d\d grey levels; .* at most 25"),
        ("same", {}, r"references sharp: copy\.png is one of the images to adapt to, lr\.png"),
        ("one reference", {}, "expected at least 2 images of 192x192 pixels or more"),
        ("no reference", {}, "no images in sharp"),
        ("no encoder", {}, "LCE has no encoder that estimates the degradation"),
        ("no room", {}, r"MB are free there, and .* MB are needed: make room first"),
    ],
)
def test_what_cannot_work_is_said_before_the_work(place, capfd, monkeypatch, make, arguments, message):
    monkeypatch.setattr(registry, "degrader", _never)
    if make == "small":
        write(place / "lr.png", low(photo(size=160)))
    elif make == "text":
        (place / "lr.png").write_text("no image")
    elif make == "noisy":
        write(place / "lr.png", low(photo(size=240), noise=45))
    elif make == "same":
        write(place / "sharp/copy.png", low(photo(size=240), 3.0))
    elif make in ("one reference", "no reference"):
        for path in sorted((place / "sharp").iterdir())[make == "one reference" :]:
            path.unlink()
    elif make == "no encoder":
        save_model(place / "parent.safetensors", CASES["LCE"].build().state_dict(), ModelCard())
    elif make == "no room":
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    before = sorted(place.rglob("*"))
    status, told = _adapt(capfd, **arguments)
    assert status in (1, 2)
    assert re.search(message, told), told
    assert sorted(place.rglob("*")) == before


def test_a_disk_that_fills_up_in_the_end_leaves_nothing_half_written(place, capfd, monkeypatch):
    _faster(monkeypatch)
    size = (place / "parent.safetensors").stat().st_size // 1024
    monkeypatch.setattr("lightbsr.cli.adapt._check_room", lambda *_: None)
    with small_disk(place / "disk", size + 8) as disk:
        status, told = _adapt(capfd, "--iterations", 4, output="disk/out.safetensors")
        assert status == 1
        assert "make room and try again" in told
        assert list(disk.iterdir()) == []


def test_noise_warns_of_a_method_that_learns_it(place, capfd, monkeypatch):
    _faster(monkeypatch)
    write(place / "lr.png", low(photo(size=240), 3.0, noise=8))
    _, told = _adapt(capfd, "--iterations", 1, "--method", "lway")
    assert re.search(
        r"noise of about \d grey levels, which --method lway learns to bring back: --method references", told
    )
    Image.fromarray(low(photo(size=240), 3.0)).save(place / "lr.jpg", quality=60)
    _, told = _adapt(capfd, "--iterations", 1, "--method", "lway", "--overwrite", images=("lr.jpg",))
    assert "1 image: no noise that stands out, JPEG of quality 60. Preparing" in told
    assert "These images have JPEG blocks, which --method lway learns to bring back" in told


def test_memory_does_not_grow_with_the_image(place, capfd, monkeypatch):
    """What is kept of an image of 24 megapixels."""
    from lightbsr_model.adaptation.targets import TargetImages

    large = np.zeros((4000, 6000, 3), np.uint8)
    kept = sum(part.pixels.numel() for part in TargetImages([("large", large)]).parts)
    assert kept <= 16 * 3 * 192**2
