"""Preparing that is stopped, starved or given strange images."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tracemalloc
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lightbsr import main
from lightbsr_arch.errors import CommandFailed, OptionError
from lightbsr_model.data import set_making, worker_pool
from lightbsr_model.data.set_stores import EncodedPng
from lightbsr_model.data.set_writer import SetWriter

from prepared_sets import SMALL, content, images_of, prepare

# ---- starting again


def test_finished_set_is_recognised_and_nothing_else_is(tmp_path, image_folder, capsys):
    output = tmp_path / "set.lmdb"
    folder = tmp_path / "pictures"
    shutil.copytree(image_folder, folder)
    prepare("folder", folder, "-o", output, *SMALL)
    before = (output / "data.mdb").stat().st_mtime_ns
    capsys.readouterr()
    prepare("folder", folder, "-o", output, *SMALL)
    assert "finished before, 72 images" in capsys.readouterr().out
    assert (output / "data.mdb").stat().st_mtime_ns == before
    with pytest.raises(OptionError, match=r"step 24 \(now 16\)"):
        prepare("folder", folder, "-o", output, *SMALL, "--step", 16)
    (folder / "coffee0.png").unlink()
    with pytest.raises(OptionError, match="other images"):
        prepare("folder", folder, "-o", output, *SMALL)
    with pytest.raises(OptionError, match="not made by this command"):
        prepare("folder", image_folder, "-o", folder, *SMALL)


@pytest.mark.parametrize("output", ["set", "set.lmdb"])
def test_half_made_set_goes_on_and_forgets_what_changed(tmp_path, image_folder, output):
    folder = tmp_path / "pictures"
    shutil.copytree(image_folder, folder)
    (folder / "bad.png").write_text("no image")
    (folder / "coffee0.png").write_text("no image either")
    with pytest.raises(CommandFailed, match=r"2 of 7 images(.|\n)*bad\.png(.|\n)*coffee0\.png(.|\n)*--skip-bad"):
        prepare("folder", folder, "-o", tmp_path / output, *SMALL)
    assert not (tmp_path / output).exists()
    with pytest.raises(OptionError, match=r"begun with step 24"):
        prepare("folder", folder, "-o", tmp_path / output, *SMALL, "--step", 16)
    # One is mended, one goes, one that was done is another image now, and one that was done is gone.
    shutil.copy(image_folder / "coffee0.png", folder)
    (folder / "bad.png").unlink()
    (folder / "chelsea0.png").unlink()
    cv2.imwrite(str(folder / "astronaut0.png"), np.full((40, 40, 3), 7, np.uint8))
    prepare("folder", folder, "-o", tmp_path / output, *SMALL)
    prepare("folder", folder, "-o", tmp_path / f"undisturbed_{output}", *SMALL)
    assert content(tmp_path / output) == content(tmp_path / f"undisturbed_{output}")


def test_skip_bad_lists_what_is_left_out(tmp_path, image_folder, capsys):
    folder = tmp_path / "pictures"
    shutil.copytree(image_folder, folder)
    (folder / "bad.png").write_text("no image")
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
    prepare("folder", folder, "-o", undisturbed, *arguments[3:])
    assert content(tmp_path / output) == content(undisturbed)
    assert len(images_of(undisturbed)) == 200 * 25


@pytest.mark.slow
def test_workers_make_the_same_set_and_take_little_ahead(tmp_path, image_folder, monkeypatch):
    monkeypatch.setattr(worker_pool, "WORTH_STARTING", 1)
    prepare("folder", image_folder, "-o", tmp_path / "0.lmdb", *SMALL)
    prepare("folder", image_folder, "-o", tmp_path / "2.lmdb", *SMALL, "--workers", 2)
    assert content(tmp_path / "0.lmdb") == content(tmp_path / "2.lmdb")

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
            patch.setattr("lightbsr_model.data.set_writer.write_whole", lambda path, text: path.write_text(text))
        elif stop == "before the name":
            patch.setattr(Path, "rename", stopped)
        else:
            patch.setattr(SetWriter, "_remove_working_files", stopped)
        with pytest.raises(RuntimeError, match="stop"):
            prepare("folder", image_folder, "-o", tmp_path / output, *SMALL)
    assert (tmp_path / output).exists() == (stop == "after the name")
    prepare("folder", image_folder, "-o", tmp_path / output, *SMALL)
    prepare("folder", image_folder, "-o", tmp_path / f"undisturbed_{output}", *SMALL)
    assert content(tmp_path / output) == content(tmp_path / f"undisturbed_{output}")


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
    assert images_of(tmp_path / output)


def test_too_little_space_is_told_before_anything_is_written(tmp_path, image_folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(set_making.shutil, "disk_usage", lambda _: usage(0, 0, 100_000))
    with pytest.raises(CommandFailed, match=r"GiB are needed .* GiB are free"):
        prepare("folder", image_folder, "-o", tmp_path / "set", *SMALL)
    assert not list((tmp_path / "set.part").glob("*.png"))


# ---- strange images


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
        prepare("folder", folder, "-o", tmp_path / "set.lmdb", *SMALL, "--whole")
    assert f"{len(bad)} of {len(bad) + 5} images" in str(caught.value)
    assert all(f"{name}.png: " in str(caught.value) for name in bad)
    prepare("folder", folder, "-o", tmp_path / "set.lmdb", *SMALL, "--whole", "--skip-bad")
    images = images_of(tmp_path / "set.lmdb")
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
