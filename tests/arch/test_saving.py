"""Files are whole or not there, on a disk that fills at any byte."""

from __future__ import annotations

import contextlib
import errno
import io

import numpy as np
import pytest
import torch
from PIL import Image

from lightbsr_arch.errors import CommandFailed
from lightbsr_arch.inference.image_files import read_picture
from lightbsr_arch.inference.image_writing import FORMATS, write_picture
from lightbsr_arch.saving import WriteFailed, check_writable, new_file, write_whole

from support.full_disk import file_size_limit, small_disk

NOISE = np.random.default_rng(0).integers(0, 256, (200, 290, 3), dtype=np.uint8)
"""170 KB that no format makes much smaller without loss."""
KINDS = [(extension, np.uint8) for extension in FORMATS] + [(".png", np.uint16), (".tif", np.uint16)]


def _write(path, dtype):
    pixels = NOISE[:, :140].astype(np.uint16) * 257 if dtype == np.uint16 else NOISE.copy()
    write_picture(path, pixels, quality=100)


def _outcome(path, dtype):
    try:
        _write(path, dtype)
    except WriteFailed as error:
        return error
    return None


@pytest.mark.parametrize(("extension", "dtype"), KINDS)
def test_a_picture_is_whole_or_not_there_whatever_the_room(tmp_path, extension, dtype):
    path = tmp_path / f"a{extension}"
    _write(path, dtype)
    size = path.stat().st_size
    path.unlink()
    for missing in (1, 2, 17, 1 << 10, 2 << 10, 4 << 10, 5000, 8 << 10, 64 << 10, size - 1, size):
        with (
            file_size_limit(size - missing),
            pytest.raises(WriteFailed, match=r"a\.\w+ cannot be written: File too large"),
        ):
            _write(path, dtype)
        assert list(tmp_path.iterdir()) == []
    with file_size_limit(size):
        _write(path, dtype)
    assert path.stat().st_size == size


def test_a_disk_that_fills_in_the_last_kilobytes(tmp_path):
    with small_disk(tmp_path / "disk", 256) as disk:
        for extension, dtype in KINDS:
            whole = tmp_path / f"whole{np.dtype(dtype).itemsize}{extension}"
            _write(whole, dtype)
            size = whole.stat().st_size
            outcomes = []
            for missing in range(-8, 17, 2):
                (disk / "filler").write_bytes(bytes((256 << 10) - size + (missing << 10)))
                error = _outcome(disk / f"a{extension}", dtype)
                outcomes.append(error)
                if error is None:
                    assert (disk / f"a{extension}").read_bytes() == whole.read_bytes()
                    (disk / f"a{extension}").unlink()
                else:
                    assert error.errno == errno.ENOSPC
                    assert str(error) == (
                        f"{disk}/a{extension} cannot be written: No space left on device; make room and try again"
                    )
                    assert [path.name for path in disk.iterdir()] == ["filler"]
                (disk / "filler").unlink()
            assert outcomes[0] is None
            assert outcomes[-1] is not None


def test_an_old_file_stays_where_the_new_one_fails(tmp_path):
    write_whole(tmp_path / "a.txt", "old")
    with file_size_limit(100), pytest.raises(CommandFailed):
        write_whole(tmp_path / "a.txt", b"x" * 101)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def _write_past_failures(path):
    with new_file(path) as file:
        for _ in range(4):
            with contextlib.suppress(OSError):  # as OpenCV does
                file.write(bytes(1 << 20))
                file.seek(0)


def _save_tensors(path):
    with new_file(path) as file:
        torch.save({"a": torch.zeros(1 << 20)}, file)  # raises a RuntimeError of its own


@pytest.mark.parametrize("write", [_write_past_failures, _save_tensors])
def test_a_failure_that_a_library_keeps_to_itself_is_raised(tmp_path, write):
    with file_size_limit(1000), pytest.raises(WriteFailed, match="File too large"):
        write(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_libraries_cannot_write_past_the_checks(tmp_path):
    with new_file(tmp_path / "a") as file, pytest.raises(io.UnsupportedOperation):
        file.fileno()


def test_a_place_that_takes_no_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WriteFailed, match=r"file/a cannot be written: (Not a directory|File exists)"):
        write_whole(tmp_path / "file/a", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteFailed, match="folder cannot be written: Is a directory"):
        write_whole(tmp_path / "folder", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_what_cannot_be_written_is_known_before(tmp_path):
    (tmp_path / "file").write_text("mine")
    check_writable(tmp_path / "new/deep/a", tmp_path / "new/b", tmp_path / "file")
    with pytest.raises(WriteFailed, match=r"file/a cannot be written: (Not a directory|File exists)"):
        check_writable(tmp_path / "new/b", tmp_path / "file/a")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (7, 5, 2), (1, 9, 3), (600, 700, 3), (3, 1, 4), (2, 400000, 4)])
def test_png_files_hold_the_pixels(tmp_path, shape, dtype):
    pixels = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    exif = Image.Exif()
    exif[0x010E] = "a lake"
    write_picture(tmp_path / "a.png", pixels.copy(), profile=b"profile", exif=exif.tobytes())
    read = read_picture((tmp_path / "a.png").read_bytes())
    np.testing.assert_array_equal(read.pixels, pixels)
    with Image.open(tmp_path / "a.png") as image:
        assert (image.info["icc_profile"], image.getexif()[0x010E]) == (b"profile", "a lake")
