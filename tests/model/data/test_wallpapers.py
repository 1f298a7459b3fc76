"""The set of wallpapers, from packages and folders of tiny images."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightbsr import main
from lightbsr_arch.errors import MissingFileError, OptionError
from lightbsr_model.data import wallpapers
from lightbsr_model.data.image_sources import BUNDLED
from lightbsr_model.data.photographs import BUNDLED_PHOTOGRAPHS, WALLPAPERS
from lightbsr_model.data.set_writer import SetWriter

from prepared_sets import SMALL, content, images_of, prepare

COINS = next(photo for photo in BUNDLED_PHOTOGRAPHS if photo.file == "coins.png")


@pytest.fixture
def photographs(monkeypatch) -> dict[str, np.ndarray]:
    """Nine tiny images in place of the photographs, with their hashes; of scikit-image's only the coins."""
    random = np.random.default_rng(0)
    images = {photo.file: random.integers(0, 256, (50 + n, 71, 3), np.uint8) for n, photo in enumerate(WALLPAPERS)}
    table = [replace(photo, sha256=hashlib.sha256(_png(images[photo.file])).hexdigest()) for photo in WALLPAPERS]
    monkeypatch.setattr(wallpapers, "WALLPAPERS", tuple(table))
    monkeypatch.setattr(wallpapers, "BUNDLED_PHOTOGRAPHS", (COINS,))
    return images


@pytest.fixture
def folder(tmp_path, photographs) -> Path:
    """A folder of them, with others of the package that are not used."""
    root = tmp_path / "unpacked"
    root.mkdir()
    for file, image in photographs.items():
        (root / file).write_bytes(_png(image))
    for other in ("umang_by_Abhishek_Mudgal.jpg", "Bridge_by_Sander_Klootwijk.jpg"):
        (root / other).write_bytes(b"not asked for")
    return root


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


def _ar(path: Path, members: dict[str, bytes]) -> Path:
    """What dpkg-deb writes: an ar archive, its members at even bytes."""
    written = b"!<arch>\n"
    for name, body in members.items():
        written += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n".encode() + body + b"\n" * (len(body) % 2)
        )
    path.write_bytes(written)
    return path


def _deb(path: Path, folder: Path, data: str = "data.tar.xz") -> Path:
    compression = data.removeprefix("data.tar").removeprefix(".")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}") as tar:  # type: ignore[call-overload]
        tar.add(folder, "./usr/share/backgrounds")
    # The first member has an odd length: the next begins a byte later.
    return _ar(path, {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", data: stream.getvalue()})


@pytest.mark.parametrize("output", ["set", "set.lmdb"])
def test_photographs_at_three_sizes_and_the_bundled_ones(tmp_path, photographs, folder, output):
    prepare("wallpapers", _deb(tmp_path / "a.deb", folder), "-o", tmp_path / output, "--whole", "--min-size", 8)
    images = images_of(tmp_path / output)
    assert len(images) == 9 * 3 + 1
    for file, image in photographs.items():
        name = file.removesuffix(".jpg")
        assert (images[name] == image).all()
        for suffix, factor in (("half", 2), ("quarter", 4)):
            height, width = image.shape[0] // factor, image.shape[1] // factor
            squares = image[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
            average = squares.mean(axis=(1, 3))
            assert np.abs(images[f"{name}_{suffix}"] - average).max() <= 0.5
    assert images["coins"].shape == (303, 384, 3)


def test_sub_images_are_those_of_other_sets(tmp_path, photographs, folder):
    prepare("wallpapers", folder, "-o", tmp_path / "set", *SMALL)
    images = images_of(tmp_path / "set")
    assert (
        images["seeding_by_Clements_Engelhardt_s001"] == photographs["seeding_by_Clements_Engelhardt.jpg"][:32, :32]
    ).all()
    # 35 x 28 pixels: whole in one direction, two in the other.
    assert images["seeding_by_Clements_Engelhardt_half_s002"].shape == (28, 32, 3)
    assert "seeding_by_Clements_Engelhardt_half_s003" not in images


@pytest.mark.parametrize("source", ["data.tar", "data.tar.gz", "data.tar.bz2", "zip", "dpkg-deb -x"])
def test_every_kind_of_source_makes_the_same_set(tmp_path, folder, source, capsys):
    prepare("wallpapers", _deb(tmp_path / "xz.deb", folder), "-o", tmp_path / "set", *SMALL)
    if source == "zip":
        other = tmp_path / "a.zip"
        with zipfile.ZipFile(other, "w") as file:
            for path in folder.iterdir():
                file.write(path, f"backgrounds/{path.name}")
    elif source == "dpkg-deb -x":
        other = tmp_path / "x"
        shutil.copytree(folder, other / "usr/share/backgrounds")
    else:
        other = _deb(tmp_path / "other.deb", folder, source)
    prepare("wallpapers", other, "-o", tmp_path / "other", *SMALL)
    assert content(tmp_path / "set") == content(tmp_path / "other")
    capsys.readouterr()
    prepare("wallpapers", other, "-o", tmp_path / "set", *SMALL)
    assert "finished before" in capsys.readouterr().out


def test_stopped_it_goes_on(tmp_path, folder, monkeypatch, capsys):
    def stopped(*_: object, **__: object) -> None:
        raise RuntimeError("stop")

    package = _deb(tmp_path / "a.deb", folder)
    with monkeypatch.context() as patch:
        patch.setattr(SetWriter, "finish", stopped)
        with pytest.raises(RuntimeError, match="stop"):
            prepare("wallpapers", package, "-o", tmp_path / "set", *SMALL)
    assert not (tmp_path / "set").exists()
    prepare("wallpapers", folder, "-o", tmp_path / "set", *SMALL)
    assert "made of 28, 28 of them from before" in capsys.readouterr().out
    prepare("wallpapers", folder, "-o", tmp_path / "undisturbed", *SMALL)
    assert content(tmp_path / "set") == content(tmp_path / "undisturbed")


def test_authors_and_licences_are_printed_and_come_with_the_set(tmp_path, folder, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prepare("wallpapers", folder, *SMALL)
    text = Path("datasets/wallpapers_sub.lmdb/sources.md").read_text(encoding="utf-8")
    record = json.loads(Path("datasets/wallpapers_sub.lmdb/prepared.json").read_text())
    assert f"cut into {record['images']} images" in text
    out = capsys.readouterr().out
    assert "datasets/wallpapers_sub.lmdb/sources.md" in out
    for photo in (*wallpapers.WALLPAPERS, COINS):
        row = f"| {photo.file} | {photo.author} | {photo.licence} | {photo.source} | `{photo.sha256}` |\n"
        assert row in text
        assert re.search(rf"{re.escape(photo.author)} \({re.escape(photo.licence)}\): .*{photo.file}", out)
    assert "https://creativecommons.org/licenses/by/4.0/" in text
    prepare("wallpapers", folder, "-o", "set", *SMALL)
    assert "set/info/sources.md" in capsys.readouterr().out
    assert Path("set/info/sources.md").read_text(encoding="utf-8") == text


def test_installed_package_is_found_and_a_missing_one_named(tmp_path, folder, monkeypatch, capsys):
    monkeypatch.setattr(wallpapers, "INSTALLED", folder)
    prepare("wallpapers", "-o", tmp_path / "set", *SMALL)
    assert len({name.rsplit("_", 1)[0] for name in images_of(tmp_path / "set")}) == 28
    monkeypatch.setattr(wallpapers, "INSTALLED", tmp_path / "backgrounds")
    monkeypatch.chdir(tmp_path)
    for there in (False, True):
        if there:
            (tmp_path / "backgrounds").mkdir()
            (tmp_path / "backgrounds/another.jpg").write_bytes(b"")
        assert main(["data", "prepare", "wallpapers"]) == 2
        error = capsys.readouterr().err
        assert "not installed" in error
        assert "apt-get download lomiri-wallpapers-16.04" in error
    assert not Path("datasets").exists()


def test_missing_and_changed_photographs_are_named_before_any_work(tmp_path, photographs, folder):
    wine = folder / "Wine_by_Jakkub_Mede.jpg"
    whole = wine.read_bytes()
    wine.write_bytes(whole + b"\0")
    came, expected = (hashlib.sha256(body).hexdigest() for body in (whole + b"\0", whole))
    with pytest.raises(OptionError, match=rf"{wine}: SHA-256 is {came}, expected {expected}.*20\.04\.0-2.*apt-get"):
        prepare("wallpapers", folder, "-o", tmp_path / "set", *SMALL)
    wine.unlink()
    (folder / "sunset_by_Aitzol_Berasategi.jpg").unlink()
    for source in (folder, _deb(tmp_path / "old.deb", folder)):
        with pytest.raises(MissingFileError, match=r"2 of the 9 .*: Wine_by_Jakkub_Mede\.jpg, sunset_.*apt-get"):
            prepare("wallpapers", source, "-o", tmp_path / "set", *SMALL)
    assert not list(tmp_path.glob("set*"))


def test_changed_bundled_photograph_is_named(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(wallpapers, "BUNDLED_PHOTOGRAPHS", (replace(COINS, sha256="0" * 64),))
    with pytest.raises(OptionError, match=r"coins\.png: SHA-256 is f8d773fc\w*, expected 0{64}: .*scikit-image"):
        prepare("wallpapers", folder, "-o", tmp_path / "set", *SMALL)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("cut", r"\d+ bytes are announced, \d+ are there.*Download it again"),
        ("cut in a header", "no header of a member at byte 72.*Download it again"),
        ("bytes", "Download it again"),
        ("no package", "does not begin like one.*Download it again"),
        ("size", "no header of a member at byte 72.*Download it again"),
        ("end of a header", "no header of a member at byte 72.*Download it again"),
        ("no data", r"it has no data\.tar.*Download it again"),
        ("zst", r"data\.tar\.zst.*dpkg-deb -x a\.deb FOLDER"),
        ("missing", "there is no such file"),
    ],
)
def test_packages_that_cannot_be_read(tmp_path, folder, damage, says):
    package = _deb(tmp_path / "a.deb", folder)
    body = package.read_bytes()
    if damage == "cut":
        package.write_bytes(body[:-1000])
    elif damage == "cut in a header":
        package.write_bytes(body[:100])
    elif damage == "bytes":
        package.write_bytes(body[:1000] + bytes(500) + body[1500:])
    elif damage == "no package":
        package.write_bytes(b"<html>" + body)
    elif damage == "size":
        package.write_bytes(body[:120] + b"many" + body[124:])
    elif damage == "end of a header":
        package.write_bytes(body[:130] + b"??" + body[132:])
    elif damage == "no data":
        _ar(package, {"debian-binary": b"2.0\n"})
    elif damage == "zst":
        _ar(package, {"debian-binary": b"2.0\n", "data.tar.zst": b"(\xb5/\xfd"})
    else:
        package.unlink()
    with pytest.raises(OptionError, match=rf"a\.deb.*{says}"):
        prepare("wallpapers", package, "-o", tmp_path / "set")
    assert not list(tmp_path.glob("set*"))


def test_without_xz_in_python_the_way_out_is_named(tmp_path, folder, monkeypatch):
    package = _deb(tmp_path / "a.deb", folder)

    def none(*_: object, **__: object) -> None:
        raise tarfile.CompressionError("lzma module is not available")

    monkeypatch.setattr(tarfile, "open", none)
    with pytest.raises(OptionError, match=r"lzma module is not available.*dpkg-deb -x a\.deb FOLDER"):
        prepare("wallpapers", package, "-o", tmp_path / "set")


def test_only_free_licences_and_nothing_that_is_validated_on():
    assert len(WALLPAPERS) == 9
    assert {photo.licence for photo in WALLPAPERS} == {"CC0-1.0", "CC-BY-4.0"}
    assert {Path(photo.file).stem for photo in BUNDLED_PHOTOGRAPHS} == set(BUNDLED) - {"coffee", "chelsea"}
    assert len(wallpapers._bundled()) == len(BUNDLED_PHOTOGRAPHS)  # the installed ones have the hashes


@pytest.mark.parametrize("name", ["df2k", "benchmark", "folder"])
def test_other_sets_need_sources(name, capsys):
    with pytest.raises(SystemExit):
        main(["data", "prepare", name])
    assert "required: SOURCE" in capsys.readouterr().err
