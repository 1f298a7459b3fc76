from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from collections import namedtuple
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.data import build_dataset
from PIL import Image

from lightbsr import main
from lightbsr_model.cli.data.prepare import run
from lightbsr_model.data import set_making, worker_pool
from lightbsr_model.data.image_sources import open_images
from lightbsr_model.data.lmdb_keys import key_of_name, name_of_key
from lightbsr_model.data.set_stores import EncodedPng
from lightbsr_model.data.set_writer import SetWriter
from lightbsr_model.data.sub_images import SubImageGrid
from lightbsr_model.errors import CommandFailed, OptionError

SMALL = ["--size", "32", "--step", "24", "--min-size", "8", "--workers", "0"]


def _prepare(*arguments: object) -> None:
    run("data prepare", [str(word) for word in arguments])


def _content(output: Path) -> dict[str, bytes]:
    """Every file of a folder set, every record of an LMDB, and the lists of both."""
    if output.suffix != ".lmdb":
        files = [path for path in output.rglob("*") if path.is_file()]
        return {str(path.relative_to(output)): path.read_bytes() for path in files}
    with lmdb.open(str(output), readonly=True, lock=False) as environment, environment.begin() as transaction:
        records = {key.decode(): value for key, value in transaction.cursor()}
    texts = {name: (output / name).read_bytes() for name in ("meta_info.txt", "prepared.json")}
    assert {path.name for path in output.iterdir()} == {"data.mdb", "lock.mdb", *texts}
    return {**records, **texts}


def _images(output: Path) -> dict[str, np.ndarray]:
    reader = open_images({"dataroot_gt": str(output), "io_backend": {"type": "lmdb" if output.suffix else "disk"}})
    return {reader.stem(index): reader.read(index) for index in range(len(reader))}


# ---- cutting


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
    _prepare("folder", image_folder, "-o", tmp_path / output, *SMALL)
    images = _images(tmp_path / output)
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
    _prepare("folder", odd, "-o", tmp_path / output, *SMALL)
    lq = tmp_path / output.replace("gt", "lq")
    _prepare("folder", odd, "-o", lq, *SMALL)
    roots = {"dataroot_gt": str(tmp_path / output), "dataroot_lq": str(lq)}
    backend = {"type": "lmdb" if lq.suffix else "disk"}
    stock = build_dataset(
        {"type": "PairedImageDataset", "name": "s", "phase": "val", "scale": 1, "io_backend": backend.copy(), **roots}
    )
    # LMDB does not open a file twice in a process.
    shutil.copytree(tmp_path / output, tmp_path / f"copy_{output}")
    ours = _images(tmp_path / f"copy_{output}")
    assert len(stock) == len(ours) == 72
    assert {"v1.0.final_s001", "写真_s012"} <= set(ours)
    for index in range(len(stock)):
        sample = stock[index]
        name = Path(sample["gt_path"]).name
        image = ours[name_of_key(name) if lq.suffix else name.removesuffix(".png")]
        assert (sample["gt"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8).tobytes() == image.tobytes()


def test_grey_and_level_and_whole(tmp_path, image_folder):
    _prepare("folder", image_folder, "-o", tmp_path / "grey", *SMALL, "--whole", "--grey")
    picture = cv2.imread(str(tmp_path / "grey/coffee0.png"), cv2.IMREAD_UNCHANGED)
    assert picture.ndim == 2
    assert (picture == cv2.cvtColor(cv2.imread(str(image_folder / "coffee0.png")), cv2.COLOR_BGR2GRAY)).all()
    assert "coffee0.png (80,96,1)" in (tmp_path / "grey/info/meta_info.txt").read_text()
    sizes = []
    for level in (0, 9):
        _prepare("folder", image_folder, "-o", tmp_path / f"l{level}.lmdb", *SMALL, "--png-level", level)
        sizes.append(sum(map(len, _content(tmp_path / f"l{level}.lmdb").values())))
        assert (tmp_path / f"l{level}.lmdb/meta_info.txt").read_text().endswith(f" (32,32,3) {level}\n")
    assert sizes[0] > 1.2 * sizes[1]
    # Whole 8-bit PNGs are taken as they are.
    _prepare("folder", image_folder, "-o", tmp_path / "whole", "--whole", "--png-level", 9)
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
    # Small pictures, so that all 3450 are there.
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), cv2.imread(str(picture))[:16, :16])
    div2k = {f"DIV2K_train_HR/{number:04d}.png": small for number in range(1, 801)}
    flickr = {f"Flickr2K/Flickr2K_HR/{number:06d}.png": small for number in range(1, 2651)}
    archives = [
        _archive(tmp_path / "DIV2K_train_HR.zip", {**div2k, "__MACOSX/DIV2K_train_HR/._0001.png": small}),
        _archive(tmp_path / "Flickr2K.tar", {**flickr, "Flickr2K/Flickr2K_LR_bicubic/X2/000001x2.png": small}),
    ]
    assert main(["data", "prepare", "df2k", *map(str, archives), "--min-size", "8", "--workers", "0"]) == 0
    assert "3450 images of 3450 pictures" in capsys.readouterr().out
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
    _prepare("benchmark", archive, "-o", tmp_path / "sets")
    assert sorted(path.name for path in (tmp_path / "sets/Set5").glob("*.png")) == [f"{name}.png" for name in names]
    assert (tmp_path / "sets/Set5/baby.png").read_bytes() == picture.read_bytes()
    _prepare("benchmark", archive, "-o", tmp_path / "sets", "--lmdb")
    assert set(_images(tmp_path / "sets/Set5.lmdb")) == set(names)
    with pytest.raises(OptionError, match="none of Set5"):
        _prepare("benchmark", image_folder)


@pytest.mark.parametrize("name", ["cut.zip", "cut.tar", "compressed.tar.gz", "missing.zip", "empty"])
def test_sources_that_are_none(tmp_path, name):
    path = tmp_path / name
    if name == "empty":
        path.mkdir()
    elif name != "missing.zip":
        path.write_bytes(b"PK\x03\x04 but not the rest")
    with pytest.raises(OptionError, match=name):
        _prepare("folder", path, "-o", tmp_path / "set")


def test_damaged_member_of_an_archive_is_named(tmp_path, image_folder, capsys):
    archive = _archive(tmp_path / "a.zip", {f"{n}.png": image_folder / f"{n}.png" for n in ("coffee0", "coffee1")})
    content = bytearray(archive.read_bytes())
    content[200:240] = bytes(40)
    archive.write_bytes(content)
    with pytest.raises(CommandFailed, match=r"1 of 2 pictures.*\n.*coffee0\.png"):
        _prepare("folder", archive, "-o", tmp_path / "set", *SMALL)


def test_names_that_clash(tmp_path, image_folder):
    first, second = tmp_path / "1", tmp_path / "2"
    shutil.copytree(image_folder, first)
    Image.open(first / "coffee0.png").save(first / "coffee0.jpg")
    _prepare("folder", first, "-o", tmp_path / "set", *SMALL, "--whole")
    assert {"coffee0_png.png", "coffee0_jpg.png", "coffee1.png"} <= {path.name for path in (tmp_path / "set").iterdir()}
    shutil.copytree(image_folder, second)
    with pytest.raises(OptionError, match=r"astronaut0\.png and .*astronaut0\.png"):
        _prepare("folder", first, second, "-o", tmp_path / "both", *SMALL)


# ---- starting again


def test_finished_set_is_recognised_and_nothing_else_is(tmp_path, image_folder, capsys):
    output = tmp_path / "set.lmdb"
    folder = tmp_path / "pictures"
    shutil.copytree(image_folder, folder)
    _prepare("folder", folder, "-o", output, *SMALL)
    before = (output / "data.mdb").stat().st_mtime_ns
    capsys.readouterr()
    _prepare("folder", folder, "-o", output, *SMALL)
    assert "finished before, 72 images" in capsys.readouterr().out
    assert (output / "data.mdb").stat().st_mtime_ns == before
    with pytest.raises(OptionError, match=r"step 24 \(now 16\)"):
        _prepare("folder", folder, "-o", output, *SMALL, "--step", 16)
    (folder / "coffee0.png").unlink()
    with pytest.raises(OptionError, match="other pictures"):
        _prepare("folder", folder, "-o", output, *SMALL)
    with pytest.raises(OptionError, match="not made by this command"):
        _prepare("folder", image_folder, "-o", folder, *SMALL)


@pytest.mark.parametrize("output", ["set", "set.lmdb"])
def test_half_made_set_goes_on_and_forgets_what_changed(tmp_path, image_folder, output):
    folder = tmp_path / "pictures"
    shutil.copytree(image_folder, folder)
    (folder / "bad.png").write_text("no picture")
    (folder / "coffee0.png").write_text("no picture either")
    with pytest.raises(CommandFailed, match=r"2 of 7 pictures(.|\n)*bad\.png(.|\n)*coffee0\.png(.|\n)*--skip-bad"):
        _prepare("folder", folder, "-o", tmp_path / output, *SMALL)
    assert not (tmp_path / output).exists()
    with pytest.raises(OptionError, match=r"begun with step 24"):
        _prepare("folder", folder, "-o", tmp_path / output, *SMALL, "--step", 16)
    # One is mended, one goes, one that was done is another picture now, and one that was done is gone.
    shutil.copy(image_folder / "coffee0.png", folder)
    (folder / "bad.png").unlink()
    (folder / "chelsea0.png").unlink()
    cv2.imwrite(str(folder / "astronaut0.png"), np.full((40, 40, 3), 7, np.uint8))
    _prepare("folder", folder, "-o", tmp_path / output, *SMALL)
    _prepare("folder", folder, "-o", tmp_path / f"undisturbed_{output}", *SMALL)
    assert _content(tmp_path / output) == _content(tmp_path / f"undisturbed_{output}")


def test_skip_bad_lists_what_is_left_out(tmp_path, image_folder, capsys):
    folder = tmp_path / "pictures"
    shutil.copytree(image_folder, folder)
    (folder / "bad.png").write_text("no picture")
    assert main(["data", "prepare", "folder", str(folder), "-o", str(tmp_path / "set"), *SMALL]) == 1
    assert "bad.png" in capsys.readouterr().err
    assert main(["data", "prepare", "folder", str(folder), "-o", str(tmp_path / "set"), *SMALL, "--skip-bad"]) == 0
    assert "bad.png" in capsys.readouterr().out
    assert len(list((tmp_path / "set").glob("*.png"))) == 72


KILLED_TEN_TIMES = """
import os, random, signal, sys, time
from lightbsr import main
from lightbsr_model.data import set_writer

set_writer._BATCH = 20000  # many steps to the disk in a small set
moments = random.Random(0)
kills = 0
for attempt in range(40):
    child = os.fork()
    if not child:
        os._exit(main(["data", "prepare", "folder", *sys.argv[1:]]))
    if kills < 10:
        time.sleep(moments.uniform(0.0, 0.12))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        break
    kills += 1
print(kills, os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
@pytest.mark.parametrize("output", ["set", "set.lmdb"])
def test_killed_at_random_moments_it_ends_as_if_undisturbed(tmp_path, output):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(200):
        cv2.imwrite(str(folder / f"{number:03d}.png"), rng.integers(0, 256, (96, 96, 3), np.uint8))
    arguments = [folder, "-o", tmp_path / output, "--size", 32, "--step", 16, "--min-size", 8, "--workers", 0]
    words = list(map(str, arguments))
    done = subprocess.run(
        [sys.executable, "-c", KILLED_TEN_TIMES, *words], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "10 0"
    undisturbed = tmp_path / f"undisturbed_{output}"
    _prepare("folder", folder, "-o", undisturbed, *arguments[3:])
    assert _content(tmp_path / output) == _content(undisturbed)
    assert len(_images(undisturbed)) == 200 * 25


@pytest.mark.slow
def test_workers_make_the_same_set_and_take_little_ahead(tmp_path, image_folder, monkeypatch):
    monkeypatch.setattr(worker_pool, "WORTH_STARTING", 1)
    _prepare("folder", image_folder, "-o", tmp_path / "0.lmdb", *SMALL)
    _prepare("folder", image_folder, "-o", tmp_path / "2.lmdb", *SMALL, "--workers", 2)
    assert _content(tmp_path / "0.lmdb") == _content(tmp_path / "2.lmdb")

    class Items(list):
        taken = 0

        def __iter__(self):
            for item in super().__iter__():
                self.taken += 1
                yield item

    items = Items(range(-50, 0))
    with worker_pool.WorkerPool(abs, 2) as pool:
        results = pool.map(items)
        assert next(results) == 50
        assert items.taken == 4
        assert list(results) == list(range(49, 0, -1))


@pytest.mark.parametrize("stop", ["before the journal", "before the name", "after the name"])
@pytest.mark.parametrize("output", ["set", "set.lmdb"])
def test_stopped_between_its_steps(tmp_path, image_folder, output, stop, monkeypatch):
    def stopped(*_: object, **__: object) -> None:
        raise RuntimeError("stop")

    with monkeypatch.context() as patch:
        if stop == "before the journal":
            patch.setattr("os.fsync", stopped)
            patch.setattr("lightbsr_model.data.set_writer._write_whole", lambda path, text: path.write_text(text))
        elif stop == "before the name":
            patch.setattr(Path, "rename", stopped)
        else:
            patch.setattr(SetWriter, "_remove_working_files", stopped)
        with pytest.raises(RuntimeError, match="stop"):
            _prepare("folder", image_folder, "-o", tmp_path / output, *SMALL)
    assert (tmp_path / output).exists() == (stop == "after the name")
    _prepare("folder", image_folder, "-o", tmp_path / output, *SMALL)
    _prepare("folder", image_folder, "-o", tmp_path / f"undisturbed_{output}", *SMALL)
    assert _content(tmp_path / output) == _content(tmp_path / f"undisturbed_{output}")


def test_journal_cut_short_is_read_as_far_as_it_goes(tmp_path):
    images = [EncodedPng(str(number), b"png" * number, (4, 4, 3)) for number in range(1, 4)]
    writer = SetWriter(tmp_path / "set", {}, 3)
    writer.open(["1", "2", "3"])
    for image in images[:2]:
        writer.add(image.name, [image])
    writer.flush()
    journal = tmp_path / "set.part/info/journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    again = SetWriter(tmp_path / "set", {}, 3)
    assert again.open(["1", "2", "3"]) == {"1"}
    for image in images[1:]:
        again.add(image.name, [image])
    again.finish(["1", "2", "3"])
    assert (tmp_path / "set/info/meta_info.txt").read_text() == "1.png (4,4,3)\n2.png (4,4,3)\n3.png (4,4,3)\n"


def test_picture_that_changes_and_changes_back_is_made_again(tmp_path):
    contents = {"before": b"1", "after": b"2"}
    for identity in ("before", "after", "before"):
        writer = SetWriter(tmp_path / "set", {}, 3)
        assert writer.open([identity]) == set()
        writer.add(identity, [EncodedPng("picture", contents[identity], (4, 4, 3))])
        writer.flush()
        writer.close()
    writer.finish(["before"])
    assert (tmp_path / "set/picture.png").read_bytes() == b"1"


# ---- the disk


@pytest.mark.parametrize("output", ["set", "set.lmdb"])
def test_full_disk_ends_with_a_clear_error_and_nothing_that_looks_whole(tmp_path, image_folder, output):
    limit = 60000
    program = (
        "import resource, signal, sys; from lightbsr import main; from lightbsr_model.data import set_writer\n"
        "set_writer._BATCH = 20000\n"
        f"signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    cv2.imwrite(str(tmp_path / "noise.png"), np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    arguments = ["data", "prepare", "folder", str(image_folder), "-o", str(tmp_path / output)]
    if output == "set":
        # A folder's files meet the limit one by one: one of them is too large.
        arguments[3:4] = [str(tmp_path)]
    size = ["--size", "200", "--step", "200", "--min-size", "8", "--workers", "0"]
    ended = subprocess.run([sys.executable, "-c", program, *arguments, *size], capture_output=True, text=True)
    assert ended.returncode == 1
    assert f"{output}.part: the disk is full (" in ended.stderr
    assert "Make room and run the same command again" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / output).exists()
    # With room it goes on.
    assert main([*arguments, *size]) == 0
    assert _images(tmp_path / output)


def test_too_little_space_is_told_before_anything_is_written(tmp_path, image_folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(set_making.shutil, "disk_usage", lambda _: usage(0, 0, 100_000))
    with pytest.raises(CommandFailed, match=r"GiB are needed .* GiB are free"):
        _prepare("folder", image_folder, "-o", tmp_path / "set", *SMALL)
    assert not list((tmp_path / "set.part").glob("*.png"))


# ---- strange pictures


def test_each_strange_picture_is_handled_or_named(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rgb = np.random.default_rng(0).integers(0, 256, (40, 44, 3), dtype=np.uint8)
    grey = rgb[:, :, 0]
    good = {"16bit.png": rgb, "grey.png": np.dstack([grey] * 3), "alpha.png": rgb, "v1.2.png": rgb}
    cv2.imwrite(str(folder / "16bit.png"), rgb[:, :, ::-1].astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "grey.png"), grey)
    cv2.imwrite(str(folder / "alpha.png"), np.dstack([rgb[:, :, ::-1], grey]))
    cv2.imwrite(str(folder / "v1.2.png"), rgb[:, :, ::-1])
    flat = Image.new("CMYK", (44, 40), (0, 255, 255, 0))
    flat.save(folder / "cmyk.jpg")
    cv2.imwrite(str(folder / "pixel.png"), rgb[:1, :1])
    whole = (folder / "v1.2.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.png").write_text("hello")
    (folder / "dangling.png").symlink_to(folder / "nothing")
    (folder / "notes.txt").write_text("not asked for")
    bad = ["pixel", "truncated", "zero", "text", "dangling"]
    with pytest.raises(CommandFailed) as caught:
        _prepare("folder", folder, "-o", tmp_path / "set.lmdb", *SMALL, "--whole")
    assert f"{len(bad)} of {len(bad) + 5} pictures" in str(caught.value)
    assert all(f"{name}.png: " in str(caught.value) for name in bad)
    _prepare("folder", folder, "-o", tmp_path / "set.lmdb", *SMALL, "--whole", "--skip-bad")
    images = _images(tmp_path / "set.lmdb")
    assert set(images) == {"16bit", "grey", "alpha", "v1.2", "cmyk"}
    for name, expected in good.items():
        assert (images[name.removesuffix(".png")] == expected).all(), name
    assert np.abs(images["cmyk"].astype(int) - (255, 0, 0)).max() < 40
    record = json.loads((tmp_path / "set.lmdb/prepared.json").read_text())
    assert len(record["left_out"]) == len(bad)


def test_what_waits_for_the_disk_is_bounded(tmp_path):
    writer = SetWriter(tmp_path / "set.lmdb", {}, 3)
    sources = [str(number) for number in range(30)]
    writer.open(sources)
    tracemalloc.start()
    for source in sources:
        writer.add(source, [EncodedPng(source, bytes(8 * 2**20), (4, 4, 3))])
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    writer.finish(sources)
    assert held < 80 * 2**20
