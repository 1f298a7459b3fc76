"""Data sets of bursts: the same everywhere, in any order of workers, and errors that name the file."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from lightbsr_arch.errors import ImageError, MissingFileError, OptionError
from lightbsr_arch.inference.burst_files import Sensor, frame_of_raw, read_burst, read_frame
from lightbsr_arch.layers.camera import linear_of_srgb, mosaic, pack
from lightbsr_model.data.burst_folder_dataset import BurstFolderDataset
from lightbsr_model.data.synthetic_burst_dataset import SyntheticBurstDataset

from support.adapting import write
from support.helpers import ROOT, run_command

SYNTHETIC = {"camera": "small", "camera_opt": {"shift": 3.0, "cut": 6}, "gt_size": 64, "scale": 4}


def _set(folder, **changes):
    return SyntheticBurstDataset({"dataroot_gt": str(folder), "frames": 3, "phase": "val", **SYNTHETIC, **changes})


def test_a_test_set_is_the_same_everywhere(image_folder, tmp_path):
    data = _set(image_folder)
    sample = data[2]
    assert {name: tuple(value.shape) for name, value in sample.items() if torch.is_tensor(value)} == {
        "frames": (3, 4, 8, 8), "gt": (3, 64, 64), "flow": (2, 2, 8, 8), "colours": (12,),
    }  # fmt: skip
    levels = (sample["frames"] * 2**14).numpy()
    assert (levels == levels.round()).all()
    # Whatever was drawn before, and whatever else the set holds.
    torch.rand(7)
    (tmp_path / "one").mkdir()
    name = data.images.stem(2)
    (tmp_path / "one" / f"{name}.png").write_bytes((image_folder / f"{name}.png").read_bytes())
    again = _set(tmp_path / "one")[0]
    assert all(torch.equal(again[key], value) for key, value in sample.items() if torch.is_tensor(value))
    assert not torch.equal(_set(image_folder, seed=1)[2]["frames"], sample["frames"])
    # Recorded on x86-64; another value means another burst.
    digest = hashlib.sha256(np.asarray(levels, dtype="<u2").tobytes()).hexdigest()[:16]
    assert digest == "e16cc9a058263a3d"


def test_training_samples_follow_the_global_seed(image_folder):
    data = _set(image_folder, phase="train", frames=[2, 4])
    first, again, other = ((torch.manual_seed(seed), data[0])[1] for seed in (1, 1, 2))
    assert torch.equal(first["frames"], again["frames"])
    assert not torch.equal(first["frames"], other["frames"])
    assert first["frames"].shape[0] == 4  # the model takes as many as its batch draws
    assert "lq_path" not in first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gt_size": 60}, "gt_size: expected a multiple of 8, at least 16, got 60"),
        ({"frames": [2, 4]}, "frames: a range is for training"),
        ({"frames": 0}, "frames: expected a number of 1 to 64"),
        ({"scale": 3}, "scale: expected 4"),
        ({"camera": "phone"}, "camera: expected one of"),
    ],
)
def test_synthetic_bursts_that_cannot_be_made(image_folder, changes, message):
    with pytest.raises(OptionError, match=message):
        _set(image_folder, **changes)


def test_a_small_image_is_named(image_folder):
    with pytest.raises(ImageError, match=r"astronaut0\.png: 96x80 is too small for gt_size 96 and 6 pixels"):
        _set(image_folder, gt_size=96)[0]


# ---- files


def _values(seed=0, size=(12, 16), levels=2**14):
    return np.random.default_rng(seed).integers(0, levels, size).astype(np.uint16)


def test_frames_of_every_kind(tmp_path):
    packed = _values(size=(6, 8, 4))
    cv2.imwrite(str(tmp_path / "packed.png"), packed)
    frame = read_frame(tmp_path / "packed.png")
    assert np.array_equal(frame.packed.permute(1, 2, 0).numpy() * 2**14, packed)
    assert frame.size == "16x12"

    bayer = _values(1, levels=1024)
    cv2.imwrite(str(tmp_path / "bayer.png"), bayer)
    np.save(tmp_path / "bayer.npy", bayer)
    sensor = Sensor("GRBG", black_level=64, white_level=1023)
    expected = pack(((torch.from_numpy(bayer.astype(np.float32)) - 64) / 959).clamp(0, 1), "GRBG")
    for name in ("bayer.png", "bayer.npy"):
        torch.testing.assert_close(read_frame(tmp_path / name, sensor).packed, expected)

    photo = np.random.default_rng(2).integers(0, 256, (13, 16, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    frame = read_frame(tmp_path / "photo.png")
    rgb = torch.from_numpy(photo[:12, :, ::-1].copy()).permute(2, 0, 1).float() / 255
    torch.testing.assert_close(frame.packed, mosaic(linear_of_srgb(rgb)))
    assert frame.is_photo
    # Nothing is known of its colours, so none are changed on the way back.
    torch.testing.assert_close(frame.colours.to_srgb(linear_of_srgb(rgb)[None])[0], rgb, rtol=0, atol=1e-3)


def test_a_raw_file_says_pattern_levels_and_colours(tmp_path):
    values = _values(3, levels=4096)
    raw = SimpleNamespace(
        raw_image_visible=values,
        raw_pattern=np.array([[2, 3], [1, 0]]),  # BGGR
        color_desc=b"RGBG",
        black_level_per_channel=[256, 257, 258, 259],
        white_level=4095,
        camera_whitebalance=[2.0, 1.0, 1.5, 0.0],
        rgb_xyz_matrix=np.concatenate([np.linalg.inv(np.eye(3) + 0.1), np.zeros((1, 3))]),
    )
    frame = frame_of_raw(raw, tmp_path / "a.dng")
    black = np.tile([[258.0, 259.0], [257.0, 256.0]], (6, 8))
    expected = pack(torch.from_numpy(((values - black) / (4095 - 259)).astype(np.float32)).clamp(0, 1), "BGGR")
    torch.testing.assert_close(frame.packed, expected)
    assert frame.colours.gains.tolist() == [[1.0, 2.0, 1.5]]
    torch.testing.assert_close(frame.colours.matrix.sum(dim=2), torch.ones(1, 3))
    raw.raw_pattern = np.zeros((6, 6), dtype=int)
    with pytest.raises(ImageError, match=r"a\.dng: expected a Bayer sensor"):
        frame_of_raw(raw, tmp_path / "a.dng")


def test_what_is_missing_or_unfit_is_named(tmp_path, monkeypatch):
    with pytest.raises(MissingFileError, match=r"gone\.png: there is no such file; a burst needs all frames"):
        read_frame(tmp_path / "gone.png")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(ImageError, match=r"cut\.png: cannot be read as an image"):
        read_frame(tmp_path / "cut.png")
    np.save(tmp_path / "bayer.npy", _values())
    with pytest.raises(OptionError, match=r"pattern: missing; .*bayer\.npy holds sensor values"):
        read_frame(tmp_path / "bayer.npy")
    with pytest.raises(OptionError, match="pattern: expected one of RGGB"):
        Sensor("RGB")
    with pytest.raises(OptionError, match="white_level: expected more than the black level 64, got 64"):
        Sensor("RGGB", 64, 64)
    (tmp_path / "a.dng").write_bytes(b"II*\0")
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(OptionError, match=r"a\.dng: reading RAW files needs rawpy: pip install 'lightbsr\[raw\]'"):
        read_frame(tmp_path / "a.dng")
    for name, width in (("0.png", 16), ("1.png", 18)):
        cv2.imwrite(str(tmp_path / name), _values(size=(12, width, 3)))
    with pytest.raises(ImageError, match=r"0\.png is 16x12, but 1 of 2 frames are not: .*1\.png \(18x12\)"):
        read_burst([tmp_path / "0.png", tmp_path / "1.png"])
    with pytest.raises(ImageError, match="one frame or more"):
        read_burst([])


def _write_bursts(root, frames=3):
    for burst in ("a", "b"):
        (root / "lq" / burst).mkdir(parents=True)
        for number in range(frames):
            cv2.imwrite(str(root / f"lq/{burst}/{number}.png"), _values(number, (8, 10, 4)))
        (root / "gt").mkdir(exist_ok=True)
        cv2.imwrite(str(root / f"gt/{burst}.png"), _values(9, (64, 80, 3)))


def test_folders_of_frames(tmp_path):
    _write_bursts(tmp_path)
    opt = {"dataroot_lq": str(tmp_path / "lq"), "dataroot_gt": str(tmp_path / "gt"), "frames": 2}
    data = BurstFolderDataset({**opt, "phase": "val"})
    sample = data[1]
    assert len(data) == 2
    assert sample["frames"].shape == (2, 4, 8, 10)
    assert sample["lq_path"] == "b.png"
    gt = _values(9, (64, 80, 3))[:, :, ::-1].transpose(2, 0, 1)
    assert np.array_equal(sample["gt"].numpy() * 2**14, gt)
    # A training crop of frames and GT image is one place.
    cropped = BurstFolderDataset({**opt, "phase": "train", "gt_size": 32})[1]
    (place,) = [
        (top, left)
        for top in range(5)
        for left in range(7)
        if torch.equal(sample["frames"][:, :, top : top + 4, left : left + 4], cropped["frames"])
    ]
    rows, columns = (slice(8 * first, 8 * first + 32) for first in place)
    assert torch.equal(cropped["gt"], sample["gt"][:, rows, columns])


def test_folders_that_do_not_fit(tmp_path):
    _write_bursts(tmp_path)
    opt = {"dataroot_lq": str(tmp_path / "lq"), "dataroot_gt": str(tmp_path / "gt"), "frames": 4, "gt_size": 32}
    with pytest.raises(ImageError, match="3 frames of 20x16 are too few"):
        BurstFolderDataset({**opt, "phase": "train"})[0]
    (tmp_path / "gt/b.png").unlink()
    with pytest.raises(MissingFileError, match=r"dataroot_gt: 1 bursts have no GT image, first .*b\.png"):
        BurstFolderDataset(opt)
    with pytest.raises(OptionError, match="dataroot_gt: missing"):
        BurstFolderDataset({**opt, "dataroot_gt": None})
    with pytest.raises(MissingFileError, match="dataroot_lq: there is no folder"):
        BurstFolderDataset({**opt, "dataroot_lq": str(tmp_path / "no")})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no folders in"):
        BurstFolderDataset({**opt, "dataroot_lq": str(tmp_path / "empty")})


def test_bursts_as_files_are_those_of_the_data_set(image_folder, tmp_path, capfd):
    arguments = (
        "data",
        "burst",
        image_folder,
        tmp_path / "out",
        "--camera",
        "small",
        "--frames",
        "2",
        "--gt-size",
        "48",
    )
    assert run_command(capfd, *arguments)[0] == 0
    made = {"camera": "small", "frames": 2, "gt_size": 48, "scale": 4, "phase": "test"}
    expected = SyntheticBurstDataset({"dataroot_gt": str(image_folder), **made})
    root = tmp_path / "out"
    found = BurstFolderDataset({"dataroot_lq": str(root / "lq"), "dataroot_gt": str(root / "gt"), "phase": "test"})
    assert len(found) == len(expected) == 6
    for index in (0, 5):
        ours, theirs = found[index], expected[index]
        assert torch.equal(ours["frames"], theirs["frames"])
        torch.testing.assert_close(ours["gt"], theirs["gt"], rtol=0, atol=2**-15)
        torch.testing.assert_close(ours["colours"], theirs["colours"])
        assert ours["lq_path"] == theirs["lq_path"]
    # What was there is kept; what is missing is written again; other bursts are refused.
    record = json.loads((root / "bursts.json").read_text())
    del record["bursts"]["coffee1"]
    (root / "bursts.json").write_text(json.dumps(record))
    (root / "lq/coffee1/00.png").unlink()
    (root / "lq/coffee0/00.png").write_bytes(b"kept")
    assert run_command(capfd, *arguments)[0] == 0
    assert (root / "lq/coffee1/00.png").is_file()
    assert (root / "lq/coffee0/00.png").read_bytes() == b"kept"
    status, told = run_command(capfd, *arguments, "--seed", "1")
    assert (status, "holds other bursts" in told) == (2, True), told
    (root / "lq/coffee1/colours.json").write_text("{}")
    with pytest.raises(ImageError, match=r"colours\.json: expected rgb2cam"):
        read_burst([root / "lq/coffee1/00.png"])
    for matrix, gains in (([[1, 1, 1]] * 3, [1, 2, 2]), ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 1, 1])):
        (root / "lq/coffee1/colours.json").write_text(json.dumps({"rgb2cam": matrix, "gains": gains}))
        with pytest.raises(
            ImageError, match=r"colours\.json: expected a matrix rgb2cam that can be inverted and gains above 0"
        ):
            read_burst([root / "lq/coffee1/00.png"])


def test_images_that_do_not_do_are_named_before_the_work(image_folder, tmp_path, capfd):
    folder = shutil.copytree(image_folder, tmp_path / "images")
    write(folder / "zebra.png", np.zeros((60, 71, 3), np.uint8))
    arguments = ("--camera", "small", "--frames", "2", "--gt-size", "48")
    status, told = run_command(capfd, "data", "burst", folder, tmp_path / "out", *arguments)
    assert status in (1, 2)
    assert re.search(r"zebra\.png: 71x60 is too small for gt_size 48 and \d+ pixels around it", told), told
    status, told = run_command(capfd, "data", "burst", tmp_path / "nowhere", tmp_path / "out", *arguments)
    assert (status, told.strip()) == (2, f"lightbsr data: HR: there is no folder {tmp_path / 'nowhere'}.")
    assert not (tmp_path / "out").exists()


def test_bursts_are_shown(tmp_path, capfd):
    status, told = run_command(
        capfd, "data", "show", "-opt", ROOT / "options/rbsr/train_small.yml", "-o", tmp_path / "a.png", "--samples", "2"
    )
    assert (status, "8 frames, motions in packed pixels" in told) == (0, True), told
    image = cv2.imread(str(tmp_path / "a.png"))
    assert image.shape[1] == 9 * 200 + 8  # the image and eight frames
