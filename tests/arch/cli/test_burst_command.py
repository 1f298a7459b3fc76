"""``lightbsr burst``: one image of a burst, and what it says of frames that do not fit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lightbsr_arch.inference.burst_files import read_burst
from lightbsr_arch.inference.burst_restoring import AlignedBurst, _part, agreement, align, restore_burst
from lightbsr_arch.inference.tiles import Span
from lightbsr_arch.layers.camera import Colours
from lightbsr_arch.layers.optical_flow import read_along
from lightbsr_arch.methods.rbsr import RBSR

from support.training_cases import BURSTS

COLOURS = Colours.of(None, 1)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = RBSR(**BURSTS["RBSR"].small).eval()
    with torch.no_grad():
        net.conv_last.weight.mul_(0.2)
        net.conv_last.bias.fill_(0.2)
        # What is aligned counts.
        net.alignment.weight.mul_(10)
        # Offsets and masks that differ from place to place.
        net.alignment.offsets[-1].weight.normal_(std=0.02)
    return net


@pytest.fixture(scope="module")
def model(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("burst_model") / "net.pth"
    torch.save({"params": net.state_dict()}, path)
    return path


def _scene(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 4, height // 4, width // 4, generator=generator)
    return F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)[0].clamp(0.02, 1)


def _frames(number, height=24, width=32, seed=0):
    """Frames that show the scene a packed pixel further right and down, each."""
    scene = _scene(height + number, width + number, seed)
    generator = torch.Generator().manual_seed(seed + 100)
    shown = torch.stack([scene[:, i : i + height, i : i + width] for i in range(number)])
    return (shown + 0.01 * torch.randn(shown.shape, generator=generator)).clamp(0, 1)


def _save(folder, frames):
    folder.mkdir(exist_ok=True)
    paths = []
    for number, frame in enumerate(frames):
        paths.append(folder / f"{number}.png")
        cv2.imwrite(str(paths[-1]), (frame.permute(1, 2, 0).numpy() * 2**14).round().astype(np.uint16))
    return paths


def test_the_image_of_a_burst(run, net, model, tmp_path):
    paths = _save(tmp_path / "in", _frames(3))
    out = tmp_path / "out.png"
    status, told = run("burst", tmp_path / "in", "-o", out, "-m", model, "--depth", "16", "--plain", "--device", "cpu")
    assert status == 0, told
    assert "out.png: 256x192 of 3 frames" in told
    burst, _ = read_burst(paths)
    for path, frames in ((out, burst), (tmp_path / "out_plain.png", burst[:1])):
        with torch.no_grad():
            expected = COLOURS.to_srgb(net(frames[None]))[0].permute(1, 2, 0).numpy() * 65535
        found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:, :, ::-1]
        np.testing.assert_allclose(found, expected, atol=0.6)
    status, told = run("burst", tmp_path / "in", "-o", out, "-m", model)
    assert status == 2
    assert "is there; --overwrite replaces it" in told
    # The base is chosen by its number.
    status, _ = run("burst", *paths, "-o", tmp_path / "b.png", "-m", model, "--base", "2", "--device", "cpu")
    with torch.no_grad():
        expected = COLOURS.to_srgb(net(burst[[1, 0, 2]][None]))[0].permute(1, 2, 0).numpy() * 255
    np.testing.assert_allclose(cv2.imread(str(tmp_path / "b.png"))[:, :, ::-1], expected, atol=0.6)


def test_bicubic_beside_it_lies_where_the_image_does(run, model, tmp_path):
    # A ramp to the right: the middle of packed pixel p lies at 8 p + 2.
    ramp = torch.linspace(0.2, 0.8, 32).expand(1, 4, 24, 32)
    (path,) = _save(tmp_path / "in", ramp)
    arguments = ("-o", tmp_path / "out.png", "-m", model, "--plain", "bicubic", "--depth", "16", "--device", "cpu")
    status, told = run("burst", path, *arguments)
    assert (status, "256x192 of its base alone" in told) == (0, True), told
    found = cv2.imread(str(tmp_path / "out_plain.png"), cv2.IMREAD_UNCHANGED)[100, :, 1].astype(float)
    frame, _ = read_burst([path])
    expected = 65535 * COLOURS.to_srgb(frame[:, [0, 1, 3]])[0, 1, 12]
    np.testing.assert_allclose(found[8 * 3 + 2 : -30 : 8], expected[3 : 3 + len(found[26:-30:8])], atol=40)


def test_frames_that_add_nothing_are_left_out_and_named(run, net, model, tmp_path):
    frames = _frames(2)
    frames = torch.cat([frames, frames[:1], _frames(1, seed=7)])
    paths = _save(tmp_path / "in", frames)
    out = tmp_path / "out.png"
    status, told = run("burst", *paths, "-o", out, "-m", model, "--device", "cpu")
    assert status == 0
    assert "out.png: 256x192 of 2 frames" in told
    assert "2.png: left out, it is the same as" in told
    assert "3.png: left out, it does not show what" in told
    burst, _ = read_burst(paths[:2])
    with torch.no_grad():
        expected = COLOURS.to_srgb(net(burst[None]))[0].permute(1, 2, 0).numpy() * 255
    np.testing.assert_allclose(cv2.imread(str(out))[:, :, ::-1], expected, atol=0.6)


def test_a_model_is_asked_for_and_how_to_get_one_is_said(run, net, model, tmp_path):
    paths = _save(tmp_path / "in", _frames(2))
    status, told = run("burst", *paths, "-o", tmp_path / "out.png")
    assert status == 2
    assert "-m: missing; no network of bursts comes with the package. docs/bursts.md names the recipes" in told
    # A training's result becomes a model file, which no command for single images takes.
    file = tmp_path / "burst.safetensors"
    assert run("export", model, "-o", file, "--licence", "MIT")[0] == 0
    assert run("burst", *paths, "-o", tmp_path / "file.png", "-m", file, "--device", "cpu")[0] == 0
    assert run("burst", *paths, "-o", tmp_path / "checkpoint.png", "-m", model, "--device", "cpu")[0] == 0
    assert (tmp_path / "file.png").read_bytes() == (tmp_path / "checkpoint.png").read_bytes()
    assert "licence: MIT" in run("info", file)[1]
    status, told = run("export", model, "-o", tmp_path / "a.onnx")
    assert (status, "needs a burst of frames besides the LR image" in told) == (2, True), told


def test_one_image_repeated_is_that_image(run, model, tmp_path):
    (path,) = _save(tmp_path / "one", _frames(1))
    repeated = _save(tmp_path / "four", _frames(1).expand(4, -1, -1, -1))
    for name, frames in (("one", [path]), ("four", repeated)):
        assert run("burst", *frames, "-o", tmp_path / f"{name}.png", "-m", model, "--device", "cpu")[0] == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "four.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["in/0.png", "in/9.png"], 2, "9.png: there is no such file; leave it out"),
        (["in/0.png", "in"], 2, "a folder among other frames"),
        (["in/0.png", "in/wide.png"], 2, "is 64x48, but 1 of 2 frames are not"),
        (["in/0.png", "--base", "2"], 2, "--base: expected the number of a frame, 1 to 1, got 2"),
        (["in/0.png", "--tile", "64"], 2, "--tile: expected 192 pixels or more, got 64"),
        (["in/0.png", "--min-agreement", "nan"], 2, "--min-agreement: expected a correlation, from -1 to 1, got nan"),
        (["in/0.png", "-o", "out.txt"], 2, "expected the name of an image"),
        (["in/0.png", "-o", "out.jpg", "--depth", "16"], 2, "holds 8 bits per channel"),
        (["in/0.png", "-o", "in/0.png/out.png"], 1, "in/0.png/out.png cannot be written"),
        (["dark.npy", "--pattern", "RGGB"], 2, "dark.npy: 2 of its values are not finite; leave it out"),
        (["empty"], 2, "no frames in it"),
        (["in/0.png", "-m", "single.pth"], 2, "this is LightBSR, which `lightbsr burst` cannot run"),
    ],
)
def test_what_does_not_fit_is_named(run, model, tmp_path, monkeypatch, arguments, status, message):
    from support.helpers import tiny_student

    monkeypatch.chdir(tmp_path)
    _save(tmp_path / "in", _frames(1))
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "dark.npy", np.where(np.arange(48 * 48).reshape(48, 48) < 2, np.nan, 0.1))
    torch.save({"params": tiny_student().state_dict()}, tmp_path / "single.pth")
    cv2.imwrite(str(tmp_path / "in/wide.png"), np.zeros((24, 40, 4), dtype=np.uint16))
    given = [
        *arguments,
        *(() if "-o" in arguments else ("-o", "out.png")),
        *(() if "-m" in arguments else ("-m", model)),
    ]
    found, told = run("burst", *given, "--device", "cpu")
    assert (found, message in told) == (status, True), told
    assert not (tmp_path / "out.png").exists()


def test_infer_names_the_command_that_takes_bursts(run, model, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((16, 16, 3), dtype=np.uint8))
    status, told = run("infer", tmp_path / "a.png", "-o", tmp_path / "out", "-m", model)
    assert status == 2
    assert "`lightbsr burst` takes a burst of frames" in told
    status, told = run("info", model)
    assert status == 0
    assert "`lightbsr burst` and `test`" in told


@pytest.mark.parametrize("size", [(97, 180), (40, 150)])
def test_tiles_are_the_whole_image(net, size):
    frames = _frames(2, *size)
    burst = align(net, frames, ["a", "b"])
    assert burst.left_out == []
    tiled = restore_burst(net, burst, COLOURS, tile=96, deep=True).astype(float)
    whole = restore_burst(net, burst, COLOURS, tile=400, deep=True).astype(float)
    assert tiled.shape == (8 * size[0], 8 * size[1], 3)
    assert whole.std() > 1000
    assert np.abs(tiled - whole).max() <= 3e-3 * 65535


@pytest.mark.parametrize(
    ("way", "first", "cut"),
    [(-32, 42, 10), (-32, 0, 0), (-32, 20, 0), (32, 42, 74), (32, 84, 84), (5, 42, 42), (-8, 42, 42)],
)
def test_a_tile_is_cut_where_its_flow_leads(way, first, cut):
    frames = torch.rand(2, 4, 40, 180)
    flow = torch.zeros(1, 2, 40, 180)
    flow[:, 0] = way
    parts, left = _part(AlignedBurst(frames, flow, []), Span(0, 40, None, None), Span(first, first + 96, None, None))
    assert torch.equal(parts[0, 0], frames[0, :, :, first : first + 96])
    assert torch.equal(parts[0, 1], frames[1, :, :, cut : cut + 96])
    # Together they lead to the same place.
    assert torch.equal(left[0, 0, 0], torch.full((40, 96), float(way - (cut - first))))
    assert left[0, 0, 1].abs().max() == 0


def test_agreement_is_that_of_aligned_frames():
    scene = _scene(40, 240)
    flow = torch.zeros(2, 40, 180)
    flow[0] = -60
    assert agreement(scene[:, :, :180], scene[:, :, 60:], flow) > 0.99
    assert agreement(scene[:, :, :180], scene[:, :, 60:], 0 * flow) < 0.5
    assert agreement(scene[:, :, :180], scene[:, :, :180], 0 * flow + 500) == 0


@pytest.mark.parametrize("shift", [(70, -45), (-3, 2)])
def test_large_shifts_between_frames_are_found(net, shift):
    right, down = shift
    generator = torch.Generator().manual_seed(3)
    # Coarse and fine structure, as photos have it.
    scene = sum(
        F.interpolate(torch.rand(1, 4, 400 // side, 400 // side, generator=generator), size=(400, 400), mode="bicubic")[
            0
        ]
        for side in (50, 10, 4)
    )
    frames = torch.stack([scene[:, 80:320, 80:320], scene[:, 80 - down : 320 - down, 80 - right : 320 - right]]) / 3
    frames = (frames + 0.02 * torch.randn(frames.shape, generator=generator)).clamp(0, 1)
    burst = align(net, frames, ["a", "b"])
    assert burst.left_out == []
    assert burst.flow.shape == (1, 2, 240, 240)
    inner = (..., slice(80, -80), slice(80, -80))
    if max(map(abs, shift)) > 8:  # taken out to a few pixels; the flow has the rest
        assert burst.flow.abs().max() < 8
    else:
        assert torch.equal(burst.frames[1], frames[1])
        assert (burst.flow[0].mean(dim=(1, 2)) - torch.tensor([float(right), float(down)])).abs().max() < 0.1
    read = read_along(burst.frames[1:], burst.flow)
    assert (read[0] - burst.frames[0])[inner].abs().mean() < 0.03
