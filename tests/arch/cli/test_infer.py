"""``lightbsr infer``: which images, where to, what is said."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightbsr.cli import infer_run
from lightbsr_arch import Upscaler
from lightbsr_arch.weights.model_files import ModelCard, bundled_models, save_model

from infer_helpers import files, photograph, save
from support.students import tiny


@pytest.fixture(scope="module")
def expected(net):
    return Upscaler(net, device="cpu").upscale(photograph())


def test_one_picture_to_one_file(infer, tmp_path, expected):
    source, target = save(tmp_path / "photo.png"), tmp_path / "deep/er/big.png"
    status, told = infer(source, "-o", target)
    assert status == 0
    np.testing.assert_array_equal(np.asarray(Image.open(target)), expected)
    assert f"{source} -> {target}: 32x24 to 128x96" in told
    assert "1 image: 1 done." in told


def test_beside_the_input_by_default(infer, tmp_path, expected):
    source = save(tmp_path / "photo.bmp")
    assert infer(source)[0] == 0
    assert files(tmp_path) == ["photo.bmp", "photo_x4.bmp"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "photo_x4.bmp")), expected)


def test_folders_keep_their_tree(infer, tmp_path):
    for name in ("in/a.png", "in/holiday/b.jpg", "in/holiday/2019/c.webp", "in/.hidden/d.png", "in/.e.png"):
        save(tmp_path / name)
    (tmp_path / "in/notes.txt").write_text("no image")
    status, told = infer(tmp_path / "in", "-o", tmp_path / "out")
    assert status == 0
    assert files(tmp_path / "out") == ["a_x4.png", "holiday/2019/c_x4.webp", "holiday/b_x4.jpg"]
    assert "3 images: 3 done." in told
    # Again: nothing is done twice.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}
    status, told = infer(tmp_path / "in", "-o", tmp_path / "out")
    assert (status, {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}) == (0, before)
    assert f"{tmp_path}/in/a.png: skipped, {tmp_path}/out/a_x4.png is there" in told
    assert "3 images: 0 done, 3 skipped (the result is there; --overwrite replaces it)." in told
    assert "3 images: 3 done." in infer(tmp_path / "in", "-o", tmp_path / "out", "--overwrite")[1]


def test_patterns_and_several_inputs(infer, tmp_path, monkeypatch):
    for name in ("a1.png", "a2.png", "b1.png", "sub/a3.png"):
        save(tmp_path / "in" / name)
    monkeypatch.chdir(tmp_path / "in")
    assert infer("a*.png", "b1.png", "a1.png", "-o", "../out")[0] == 0
    assert files(tmp_path / "out") == ["a1_x4.png", "a2_x4.png", "b1_x4.png"]
    assert infer("**/a*.png", "-o", "../all")[0] == 0
    assert files(tmp_path / "all") == ["a1_x4.png", "a2_x4.png", "sub/a3_x4.png"]
    status, told = infer("c*.png", "-o", "../out")
    assert (status, "c*.png: nothing has a name like this." in told) == (2, True)


def test_an_input_whose_name_is_a_pattern(infer, tmp_path):
    save(tmp_path / "a[1].png")
    save(tmp_path / "a1.png")
    infer(tmp_path / "a[1].png", "-o", tmp_path / "out")
    assert files(tmp_path / "out") == ["a[1]_x4.png"]


def test_results_in_the_folder_of_the_inputs_are_no_inputs(infer, tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    for _ in range(2):
        assert infer(tmp_path)[0] == 0
        assert files(tmp_path) == ["a.png", "a_x4.png", "b.png", "b_x4.png"]
    # A folder of results within the folder of inputs is not looked into.
    assert infer(tmp_path, "-o", tmp_path / "out")[0] == 0
    before = files(tmp_path / "out")
    assert infer(tmp_path, "-o", tmp_path / "out", "--overwrite")[0] == 0
    assert files(tmp_path / "out") == before


def test_suffix_and_extension(infer, tmp_path):
    save(tmp_path / "a.jpg")
    infer(tmp_path / "a.jpg", "-o", tmp_path / "out", "--suffix", "", "--ext", "png")
    infer(tmp_path / "a.jpg", "-o", tmp_path / "out", "--suffix=-big", "--ext", ".TIFF")
    assert files(tmp_path / "out") == ["a-big.tiff", "a.png"]
    with Image.open(tmp_path / "out/a.png") as image:
        assert (image.format, image.size) == ("PNG", (128, 96))


def test_a_format_that_is_only_read_becomes_png(infer, tmp_path):
    Image.fromarray(photograph()).save(tmp_path / "a.gif")
    infer(tmp_path / "a.gif", "-o", tmp_path / "out")
    assert files(tmp_path / "out") == ["a_x4.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "--ext", "heic"], "--ext: expected one of .png, .jpg"),
        (["a.png", "--suffix", "/x"], "--suffix: expected a part of a file name, got '/x'"),
        (["a.png", "b.png", "-o", "c.png"], "-o c.png: names one image, but there may be several; name a folder"),
        (["a.png", "-o", "c.png", "--ext", "jpg"], "--ext .jpg and -o c.png name different formats"),
        (["a.png", "-o", "notes.txt"], "-o notes.txt: is a file that is no image"),
        (["a.png", "b.png", "-o", "-"], "-o -: standard output takes one image"),
        (["nothing.png"], "nothing.png: there is no such file or folder"),
        (["empty"], "empty: no images in this folder"),
        (["a.png", "--tile", "ten"], "--tile: expected auto, off or a number, got 'ten'"),
        (["a.png", "--tile", "8"], "tile: expected auto, off or an integer >= 96, got 8"),
        (["a.png", "--quality", "0"], "--quality: expected 1 to 100, got 0"),
        (["a.png", "--downscale-first", "0"], "downscale_first: expected a factor from 1 to 64"),
        (["a.png", "-m", "nothing.pth"], "there is no model nothing.pth"),
        (["a.png", "--scale", "3"], "tiny.safetensors enlarges by 4; leave out --scale, or -m"),
        (["a.png", "-o", "-", "--compare"], "--compare writes files"),
        (["a.png", "sub/a.png", "-o", "out"], "2 of the images would be written to out/a_png_x4.png: rename some"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(infer, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "sub/a.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    before = files(tmp_path)
    status, told = infer(*arguments)
    assert status == 2
    assert message in told
    assert files(tmp_path) == before


def test_the_scale_chooses_a_model_of_the_package(run, tmp_path):
    image = save(tmp_path / "a.png")
    for name in bundled_models():
        scale = int(name.rpartition("_x")[2])
        assert run("infer", image, "--scale", scale, "--overwrite", "--device", "cpu")[0] == 0
        with Image.open(tmp_path / f"a_x{scale}.png") as result:
            assert result.size == (32 * scale, 24 * scale)
    status, told = run("infer", image, "--scale", 7)
    assert status == 2
    assert f"no model that enlarges by 7 comes with the package; {', '.join(bundled_models())} do." in told


def test_failures_are_told_at_the_end_and_the_rest_is_done(infer, tmp_path):
    for name in ("a.png", "c.png", "d.png"):
        save(tmp_path / "in" / name)
    (tmp_path / "in/b.png").write_bytes(b"")
    status, told = infer(tmp_path / "in", "-o", tmp_path / "out")
    assert status == 1
    assert files(tmp_path / "out") == ["a_x4.png", "c_x4.png", "d_x4.png"]
    assert "4 images: 3 done, 1 failed." in told
    assert re.search(r"  \S*b\.png: the file is empty\.", told)


def test_a_failure_while_writing_is_a_failure(infer, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name)
    real = infer_run.write_picture

    def full(path, *rest):
        if path.name == "a_x4.png":
            raise OSError(28, "No space left on device", str(path))
        return real(path, *rest)

    monkeypatch.setattr(infer_run, "write_picture", full)
    status, told = infer(tmp_path / "in", "-o", tmp_path / "out")
    assert (status, files(tmp_path / "out")) == (1, ["b_x4.png"])
    assert "a.png: failed: No space left on device" in told


def test_ctrl_c_leaves_whole_files_and_says_how_far_it_came(infer, tmp_path, monkeypatch):
    for name in "abcd":
        save(tmp_path / f"in/{name}.png")
    real, calls = Upscaler.upscale_array, []

    def stopped(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(Upscaler, "upscale_array", stopped)
    status, told = infer(tmp_path / "in", "-o", tmp_path / "out")
    assert status == 130
    assert "stopped; 4 images: 2 done, 2 not reached." in told
    assert files(tmp_path / "out") == ["a_x4.png", "b_x4.png"]


def test_reading_and_writing_overlap_computing(infer, tmp_path, monkeypatch):
    """While the second image is computed, the third is read and the first is being written."""
    import threading

    for name in "abc":
        save(tmp_path / f"in/{name}.png")
    third_read, first_written_late = threading.Event(), threading.Event()
    reading, writing, computing = infer_run.read_picture, infer_run.write_picture, Upscaler.upscale_array
    reads, computed = [], []

    def read(content):
        reads.append(1)
        if len(reads) == 3:
            third_read.set()
        return reading(content)

    def compute(self, *arguments):
        computed.append(1)
        if len(computed) == 2:
            assert third_read.wait(20)
            first_written_late.set()
        return computing(self, *arguments)

    def write(*arguments):
        assert first_written_late.wait(20)
        return writing(*arguments)

    monkeypatch.setattr(infer_run, "read_picture", read)
    monkeypatch.setattr(infer_run, "write_picture", write)
    monkeypatch.setattr(Upscaler, "upscale_array", compute)
    assert infer(tmp_path / "in", "-o", tmp_path / "out")[0] == 0


def test_compare_writes_a_picture_and_a_page(infer, tmp_path, expected):
    save(tmp_path / "a.png")
    assert infer(tmp_path / "a.png", "-o", tmp_path / "out", "--compare")[0] == 0
    assert files(tmp_path / "out") == ["a_x4.png", "a_x4_compare.html", "a_x4_compare.png"]
    with Image.open(tmp_path / "out/a_x4_compare.png") as image:
        both = np.asarray(image.convert("RGB"))
    assert both.shape[1] >= 2 * 128
    found = [
        np.array_equal(both[row : row + 96, column : column + 128], expected)
        for row in range(both.shape[0] - 95)
        for column in range(both.shape[1] - 127)
    ]
    assert sum(found) == 1
    page = (tmp_path / "out/a_x4_compare.html").read_text()
    # Bicubic and the result, and the middle at five strengths.
    assert page.count("data:image/png;base64,") == 2 + 5
    assert not re.search(r"(src|href)=.?(http|/)", page)
    assert '<input type="range"' in page
    # Existing ones stay.
    (tmp_path / "out/a_x4.png").unlink()
    (tmp_path / "out/a_x4_compare.png").write_bytes(b"mine")
    status, told = infer(tmp_path / "a.png", "-o", tmp_path / "out", "--compare")
    assert status == 1
    assert "a_x4_compare.png is there already; --overwrite replaces it" in told
    assert (tmp_path / "out/a_x4_compare.png").read_bytes() == b"mine"
    assert "a_x4.png" not in files(tmp_path / "out")


def test_degradation_is_not_invented_where_no_probe_is_stored(infer, tmp_path):
    save(tmp_path / "a.png")
    status, told = infer(tmp_path / "a.png", "-o", tmp_path / "one", "--show-degradation")
    assert status == 0
    assert "holds no probe: what its encoder sees cannot be put into words" in told
    assert "looks like" not in told


def test_self_ensemble_tile_precision_and_shrinking_reach_the_upscaler(infer, tmp_path, net):
    source = save(tmp_path / "a.png", 100, 120)
    pixels = photograph(100, 120)
    for number, (arguments, options) in enumerate(
        (
            (["--self-ensemble"], {"self_ensemble": True}),
            (["--tile", "96"], {"tile": 96}),
            (["--precision", "bf16", "--tile", "off"], {"precision": "bf16", "tile": "off"}),
            (["--downscale-first", "2"], {"downscale_first": 2}),
        )
    ):
        target = tmp_path / f"{number}.png"
        assert infer(source, "-o", target, *arguments)[0] == 0
        result = Upscaler(net, device="cpu", **options).upscale(pixels)
        np.testing.assert_array_equal(np.asarray(Image.open(target)), result)


def test_steering_reaches_the_upscaler_and_the_page(infer, tmp_path):
    net = tiny("DASR")  # its code matters, with random weights too
    model, source, reference = tmp_path / "net.safetensors", save(tmp_path / "a.png"), tmp_path / "reference.png"
    save_model(model, net.state_dict(), ModelCard())
    Image.fromarray(photograph(9, 9)).save(reference)

    def restored(*arguments):
        status, told = infer(source, "-m", model, "-o", tmp_path / "out", "--overwrite", "--compare", *arguments)
        assert status == 0, told
        page = (tmp_path / "out/a_x4_compare.html").read_text()
        encoded = re.findall(r'alt="strength ([\d.]+)" src="data:image/png;base64,([^"]+)"', page)
        row = {float(one): np.asarray(Image.open(io.BytesIO(base64.b64decode(image)))) for one, image in encoded}
        return np.asarray(Image.open(tmp_path / "out/a_x4.png")), row

    def expected(**options):
        return Upscaler(net, device="cpu", **options).upscale(photograph()).astype(int)

    plain, row = restored()
    assert list(row) == [0, 0.25, 0.5, 0.75, 1]
    weak, same_row = restored("--strength", 0.25)
    np.testing.assert_array_equal(weak, expected(strength=0.25))
    assert np.abs(weak - expected()).max() > 5
    for shown in (row, same_row):
        np.testing.assert_allclose(shown[1], plain, atol=1)
        np.testing.assert_allclose(shown[0.25].astype(int), weak, atol=1)
    as_if, its_row = restored("--as-if", reference)
    np.testing.assert_array_equal(as_if, expected(as_if=photograph(9, 9)))
    np.testing.assert_allclose(its_row[0.5].astype(int), expected(as_if=photograph(9, 9), strength=0.5), atol=1)
    assert np.abs(as_if - expected()).max() > 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strength", "1.5"], "strength: expected a number from 0 to 1, got 1.5"),
        (["--as-if", "blur 2.0"], "as_if: this model's file does not say which code belongs to a degradation"),
        (["--as-if", "."], "--as-if .: a folder; name one image, or words and numbers"),
        (["--as-if", "missing.png"], "--as-if missing.png: there is no such image"),
        (["--as-if", "notes.txt"], "--as-if notes.txt: "),
        (["--as-if", ""], "--as-if: expected"),
    ],
)
def test_steering_that_makes_no_sense_is_refused(infer, tmp_path, monkeypatch, arguments, message):
    save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("no image")
    status, told = infer("a.png", *arguments)
    assert status != 0
    assert message in told
    assert files(tmp_path) == ["a.png", "notes.txt"]


def test_quality_counts(infer, tmp_path):
    source = save(tmp_path / "a.png")
    sizes = []
    for quality in (30, 95):
        infer(source, "-o", tmp_path / f"{quality}.jpg", "--quality", quality)
        sizes.append((tmp_path / f"{quality}.jpg").stat().st_size)
    assert sizes[0] < 0.6 * sizes[1]


def _run(arguments, **options):
    return subprocess.run([sys.executable, "-m", "lightbsr", *arguments], capture_output=True, timeout=120, **options)


def test_standard_input_to_standard_output(model, tmp_path, expected):
    content = save(tmp_path / "a.png").read_bytes()
    done = _run(["infer", "-", "-m", str(model), "--device", "cpu"], input=content)
    assert done.returncode == 0, done.stderr
    (tmp_path / "out.png").write_bytes(done.stdout)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), expected)
    done = _run(["infer", "-", "-o", str(tmp_path / "b.jpg"), "-m", str(model), "--device", "cpu"], input=content)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (128, 96)
    done = _run(["infer", "-", "-o", "-", "-m", str(model)], input=b"no image")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"not an image in a known format" in done.stderr


def test_it_runs_without_basicsr(model, tmp_path):
    source = save(tmp_path / "a.png")
    code = (
        "import sys\n"
        "for name in ('basicsr', 'torchvision', 'lmdb', 'skimage'): sys.modules[name] = None\n"
        f"import lightbsr; raise SystemExit(lightbsr.main(['infer', {str(source)!r}, '-m', {str(model)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == ["a.png", "a_x4.png"]
