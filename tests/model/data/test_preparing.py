from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from basicsr.data import build_dataset
from PIL import Image

from lightbsr import main
from lightbsr_arch.errors import CommandFailed, OptionError
from lightbsr_model.data.lmdb_keys import key_of_name, name_of_key
from lightbsr_model.data.sub_images import SubImageGrid

from prepared_sets import SMALL, content, images_of, prepare

# ---- cutting


def test_smooth_sub_images_are_left_out(tmp_path):
    """Stripes 1 pixel wide between 0 and c have a Laplacian of +-2c in every pixel."""
    folder = tmp_path / "images"
    folder.mkdir()
    image = np.zeros((32, 96, 3), np.uint8)
    image[:, 32:64][:, ::2] = 3
    image[:, 64:][:, ::2] = 10
    cv2.imwrite(str(folder / "a.png"), image)
    cut = ("--size", 32, "--step", 32, "--min-size", 8)
    for least, kept in ((0, 3), (5, 2), (7, 1)):
        prepare("folder", folder, "-o", tmp_path / f"set{least}", *cut, "--min-detail", least)
        assert [*images_of(tmp_path / f"set{least}")] == [f"a_s{number:03d}" for number in (1, 2, 3)][3 - kept :]
    with pytest.raises(OptionError, match="--min-detail: expected a number >= 0, got nan"):
        prepare("folder", folder, "-o", tmp_path / "b", *cut, "--min-detail", "nan")
    # Where nothing is left the option is named, and nothing stays that another try would stumble over.
    with pytest.raises(
        CommandFailed, match=r"no image to put into it\. All sub-images have less detail than --min-detail 99: "
    ):
        prepare("folder", folder, "-o", tmp_path / "none", *cut, "--min-detail", 99)
    prepare("folder", folder, "-o", tmp_path / "none", *cut, "--min-detail", 1)
    with pytest.raises(OptionError, match="--min-detail: leaves out sub-images, and whole images are not cut"):
        prepare("folder", folder, "-o", tmp_path / "c", "--whole", "--min-detail", 1)
    # A set that was made with another threshold is another set.
    with pytest.raises(OptionError, match=r"set5 exists, made with (grid\.)?min_detail 5.* \(now 7"):
        prepare("folder", folder, "-o", tmp_path / "set5", *cut, "--min-detail", 7)


@pytest.mark.parametrize(
    ("grid", "length", "starts"),
    [
        (SubImageGrid(), 2040, [0, 240, 480, 720, 960, 1200, 1440, 1560]),
        (SubImageGrid(), 480, [0]),
        (SubImageGrid(), 481, [0, 1]),
        (SubImageGrid(threshold=1), 481, [0]),
        (SubImageGrid(threshold=1), 482, [0, 2]),
        (SubImageGrid(), 720, [0, 240]),
        (SubImageGrid(), 300, [0]),
    ],
)
def test_sub_images_start_where_basicsr_cuts(grid, length, starts):
    assert grid.starts(length) == starts


@pytest.mark.parametrize("values", [{"size": 0}, {"step": 0}, {"threshold": -1}])
def test_grid_out_of_range_is_named(values):
    with pytest.raises(OptionError, match=f"--{next(iter(values))}"):
        SubImageGrid(**values)


@pytest.mark.parametrize("name", ["0001", "a.b.c", "a%2Eb", "Grüße_写真", "with space (1)", "_-"])
def test_names_survive_as_keys_that_basicsr_can_look_up(name):
    key = key_of_name(name)
    assert name_of_key(key) == name
    assert key.isascii()
    # data_util.py:121 cuts a key at the first dot, and lmdb_backend encodes it as ASCII.
    assert f"{key}.png (4,4,3) 1".strip().split(".")[0] == key


@pytest.mark.parametrize("output", ["set", "set.lmdb"])
def test_sub_images_of_a_folder(tmp_path, image_folder, output):
    prepare("folder", image_folder, "-o", tmp_path / output, *SMALL)
    images = images_of(tmp_path / output)
    grid = SubImageGrid(32, 24)
    assert len(images) == 6 * len(grid.starts(80)) * len(grid.starts(96)) == 6 * 3 * 4
    source = cv2.imread(str(image_folder / "coffee1.png"))[:, :, ::-1]
    assert (images["coffee1_s001"] == source[:32, :32]).all()
    assert (images["coffee1_s006"] == source[24:56, 24:56]).all()
    assert (images["coffee1_s012"] == source[48:80, 64:96]).all()
    record_file = tmp_path / output / ("prepared.json" if output.endswith("lmdb") else "info/prepared.json")
    record = json.loads(record_file.read_text())
    assert record["images"] == len(images)
    assert record["recipe"]["step"] == 24
    assert not list(tmp_path.glob("*.part"))


# ---- with BasicSR


@pytest.mark.parametrize("output", ["gt", "gt.lmdb"])
def test_stock_dataset_reads_what_is_made(tmp_path, image_folder, output):
    odd = tmp_path / "odd names"
    shutil.copytree(image_folder, odd)
    (odd / "chelsea1.png").rename(odd / "v1.0.final.png")
    (odd / "chelsea0.png").rename(odd / "写真.png")
    prepare("folder", odd, "-o", tmp_path / output, *SMALL)
    lq = tmp_path / output.replace("gt", "lq")
    prepare("folder", odd, "-o", lq, *SMALL)
    roots = {"dataroot_gt": str(tmp_path / output), "dataroot_lq": str(lq)}
    backend = {"type": "lmdb" if lq.suffix else "disk"}
    stock = build_dataset(
        {"type": "PairedImageDataset", "name": "s", "phase": "val", "scale": 1, "io_backend": backend.copy(), **roots}
    )
    # LMDB does not open a file twice in a process.
    shutil.copytree(tmp_path / output, tmp_path / f"copy_{output}")
    ours = images_of(tmp_path / f"copy_{output}")
    assert len(stock) == len(ours) == 72
    assert {"v1.0.final_s001", "写真_s012"} <= set(ours)
    for index in range(len(stock)):
        sample = stock[index]
        name = Path(sample["gt_path"]).name
        image = ours[name_of_key(name) if lq.suffix else name.removesuffix(".png")]
        assert (sample["gt"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8).tobytes() == image.tobytes()


def test_grey_and_level_and_whole(tmp_path, image_folder):
    prepare("folder", image_folder, "-o", tmp_path / "grey", *SMALL, "--whole", "--grey")
    picture = cv2.imread(str(tmp_path / "grey/coffee0.png"), cv2.IMREAD_UNCHANGED)
    assert picture.ndim == 2
    assert (picture == cv2.cvtColor(cv2.imread(str(image_folder / "coffee0.png")), cv2.COLOR_BGR2GRAY)).all()
    assert "coffee0.png (80,96,1)" in (tmp_path / "grey/info/meta_info.txt").read_text()
    sizes = []
    for level in (0, 9):
        prepare("folder", image_folder, "-o", tmp_path / f"l{level}.lmdb", *SMALL, "--png-level", level)
        sizes.append(sum(map(len, content(tmp_path / f"l{level}.lmdb").values())))
        assert (tmp_path / f"l{level}.lmdb/meta_info.txt").read_text().endswith(f" (32,32,3) {level}\n")
    assert sizes[0] > 1.2 * sizes[1]
    # Whole 8-bit PNGs are taken as they are.
    prepare("folder", image_folder, "-o", tmp_path / "whole", "--whole", "--png-level", 9)
    assert (tmp_path / "whole/coffee0.png").read_bytes() == (image_folder / "coffee0.png").read_bytes()


# ---- archives and known sets


def _archive(path: Path, members: dict[str, Path]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for member, source in members.items():
                file.write(source, member)
    else:
        with tarfile.open(path, "w") as file:
            for member, source in members.items():
                file.add(source, member)
    return path


def test_df2k_from_its_archives(tmp_path, image_folder, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture = image_folder / "coffee0.png"
    # Small images, so that all 3450 are there.
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), cv2.imread(str(picture))[:16, :16])
    div2k = {f"DIV2K_train_HR/{number:04d}.png": small for number in range(1, 801)}
    flickr = {f"Flickr2K/Flickr2K_HR/{number:06d}.png": small for number in range(1, 2651)}
    archives = [
        _archive(tmp_path / "DIV2K_train_HR.zip", {**div2k, "__MACOSX/DIV2K_train_HR/._0001.png": small}),
        _archive(tmp_path / "Flickr2K.tar", {**flickr, "Flickr2K/Flickr2K_LR_bicubic/X2/000001x2.png": small}),
    ]
    assert main(["data", "prepare", "df2k", *map(str, archives), "--min-size", "8", "--workers", "0"]) == 0
    assert "3450 images made of 3450" in capsys.readouterr().out
    record = json.loads(Path("datasets/DF2K_sub.lmdb/prepared.json").read_text())
    names = [f"{number:04d}_s001" for number in range(1, 801)] + [f"{n:06d}_s001" for n in range(1, 2651)]
    digest = subprocess.run(
        ["sha256sum"], input="".join(f"{n}\n" for n in sorted(names)), capture_output=True, text=True
    )
    assert record["names_sha256"] == digest.stdout.split()[0]
    incomplete = _archive(tmp_path / "again.zip", dict(list(div2k.items())[:-1]))
    assert main(["data", "prepare", "df2k", str(incomplete), str(archives[1]), "-o", "other.lmdb"]) == 2
    assert "DIV2K_train_HR: 799 of 800" in capsys.readouterr().err
    assert not Path("other.lmdb").exists()
    assert not Path("other.lmdb.part").exists()


def test_benchmarks_by_their_folders(tmp_path, image_folder):
    names = ["baby", "bird", "butterfly", "head", "woman"]
    picture = image_folder / "coffee0.png"
    members = {f"benchmark/Set5/HR/{name}.png": picture for name in names}
    members |= {f"benchmark/Set5/LR_bicubic/X4/{name}x4.png": picture for name in names}
    archive = _archive(tmp_path / "benchmark.tar", members)
    prepare("benchmark", archive, "-o", tmp_path / "sets")
    assert sorted(path.name for path in (tmp_path / "sets/Set5").glob("*.png")) == [f"{name}.png" for name in names]
    assert (tmp_path / "sets/Set5/baby.png").read_bytes() == picture.read_bytes()
    prepare("benchmark", archive, "-o", tmp_path / "sets", "--lmdb")
    assert set(images_of(tmp_path / "sets/Set5.lmdb")) == set(names)
    with pytest.raises(OptionError, match="none of Set5"):
        prepare("benchmark", image_folder)


@pytest.mark.parametrize("name", ["cut.zip", "cut.tar", "compressed.tar.gz", "missing.zip", "empty"])
def test_sources_that_are_none(tmp_path, name):
    path = tmp_path / name
    if name == "empty":
        path.mkdir()
    elif name != "missing.zip":
        path.write_bytes(b"PK\x03\x04 but not the rest")
    with pytest.raises(OptionError, match=name):
        prepare("folder", path, "-o", tmp_path / "set")


def test_damaged_member_of_an_archive_is_named(tmp_path, image_folder, capsys):
    archive = _archive(tmp_path / "a.zip", {f"{n}.png": image_folder / f"{n}.png" for n in ("coffee0", "coffee1")})
    content = bytearray(archive.read_bytes())
    content[200:240] = bytes(40)
    archive.write_bytes(content)
    with pytest.raises(CommandFailed, match=r"1 of 2 images.*\n.*coffee0\.png"):
        prepare("folder", archive, "-o", tmp_path / "set", *SMALL)


def test_names_that_clash(tmp_path, image_folder):
    first, second = tmp_path / "1", tmp_path / "2"
    shutil.copytree(image_folder, first)
    Image.open(first / "coffee0.png").save(first / "coffee0.jpg")
    prepare("folder", first, "-o", tmp_path / "set", *SMALL, "--whole")
    assert {"coffee0_png.png", "coffee0_jpg.png", "coffee1.png"} <= {path.name for path in (tmp_path / "set").iterdir()}
    shutil.copytree(image_folder, second)
    with pytest.raises(OptionError, match=r"astronaut0\.png and .*astronaut0\.png"):
        prepare("folder", first, second, "-o", tmp_path / "both", *SMALL)
