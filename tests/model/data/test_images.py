from __future__ import annotations

from multiprocessing import get_context

import cv2
import lmdb
import numpy as np
import pytest

from lightbsr_arch.errors import ImageError, MissingFileError, OptionError
from lightbsr_model.data.decoding import decode_rgb
from lightbsr_model.data.image_sources import open_images


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)


def test_colours_and_depths(rgb):
    bgr = rgb[:, :, ::-1]
    alpha = np.full((6, 5, 1), 99, np.uint8)
    decoded, dropped = decode_rgb(_png(bgr), "a")
    assert (decoded == rgb).all()
    assert not dropped
    decoded, dropped = decode_rgb(_png(np.concatenate([bgr, alpha], axis=2)), "a")
    assert (decoded == rgb).all()
    assert dropped
    grey = rgb[:, :, 0]
    assert (decode_rgb(_png(grey), "a")[0] == np.stack([grey] * 3, axis=2)).all()
    assert (decode_rgb(_png(bgr.astype(np.uint16) * 257 + 100), "a")[0] == rgb).all()
    assert (decode_rgb(_png(grey.astype(np.uint16) * 257), "a")[0] == grey[:, :, None]).all()


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n cut"])
def test_no_image_is_named(content):
    with pytest.raises(ImageError, match=r"photo\.png"):
        decode_rgb(content, "photo.png")


def test_truncated_file_is_named(rgb):
    with pytest.raises(ImageError, match=r"photo\.png"):
        decode_rgb(_png(rgb)[:40], "photo.png")


def test_folder_meta_info_and_lmdb_read_the_same(tmp_path, image_folder):
    whole = open_images({"dataroot_gt": str(image_folder)})
    assert [whole.name(i).rsplit("/")[-1] for i in range(2)] == ["astronaut0.png", "astronaut1.png"]
    assert len(whole) == 6
    meta_info = tmp_path / "meta.txt"
    meta_info.write_text("coffee1.png (80,96,3)\nchelsea0.png (80,96,3)\n")
    listed = open_images({"dataroot_gt": str(image_folder), "meta_info_file": str(meta_info)})
    assert (listed.read(0) == whole.read(5)).all()
    assert (listed.read(1) == whole.read(2)).all()
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    # More than its first image times ten would not fit into BasicSR's own map.
    names = ["astronaut0.png", "coffee1.png"]
    make_lmdb_from_imgs(str(image_folder), str(tmp_path / "gt.lmdb"), names, [name[:-4] for name in names])
    stored = open_images({"dataroot_gt": str(tmp_path / "gt.lmdb"), "io_backend": {"type": "lmdb"}})
    assert (stored.read(0) == whole.read(0)).all()
    assert (stored.read(1) == whole.read(5)).all()
    # A second set on the same file in one process, which lmdb itself refuses.
    again = open_images({"dataroot_gt": str(tmp_path / "gt.lmdb"), "io_backend": {"type": "lmdb"}})
    assert (again.read(1) == whole.read(5)).all()


def test_record_missing_in_lmdb_is_named(tmp_path):
    root = tmp_path / "gt.lmdb"
    lmdb.open(str(root)).close()
    (root / "meta_info.txt").write_text("0001.png (4,4,3) 1\n")
    with pytest.raises(ImageError, match="0001"):
        open_images({"dataroot_gt": str(root), "io_backend": {"type": "lmdb"}}).read(0)


def test_bundled_pictures():
    import skimage.data

    images = open_images({"io_backend": {"type": "bundled"}, "pictures": ["coffee", "camera"]})
    assert (images.read(0) == skimage.data.coffee()).all()
    assert (images.read(1) == skimage.data.camera()[:, :, None]).all()


@pytest.mark.parametrize(
    ("opt", "error", "message"),
    [
        ({"dataroot_gt": "/nowhere/HR"}, MissingFileError, "/nowhere/HR.*datasets/README.md.*lightbsr demo"),
        ({"dataroot_gt": "/nowhere/x.lmdb", "io_backend": {"type": "lmdb"}}, MissingFileError, "lightbsr demo"),
        ({}, OptionError, "dataroot_gt: missing"),
        ({"dataroot_gt": ".", "io_backend": {"type": "tape"}}, OptionError, "disk, lmdb or bundled, got 'tape'"),
        ({"io_backend": {"type": "bundled"}, "pictures": ["mona_lisa"]}, MissingFileError, "mona_lisa"),
        ({"dataroot_gt": ".", "meta_info_file": "/nowhere.txt"}, MissingFileError, "meta_info_file"),
    ],
)
def test_what_is_missing_is_named(opt, error, message):
    with pytest.raises(error, match=message):
        open_images(opt)


def test_empty_folder_and_stale_list(tmp_path):
    with pytest.raises(ImageError, match="no images"):
        open_images({"dataroot_gt": str(tmp_path)})
    (tmp_path / "meta.txt").write_text("gone.png (1,1,3)\n")
    with pytest.raises(MissingFileError, match=r"gone\.png"):
        open_images({"dataroot_gt": str(tmp_path), "meta_info_file": str(tmp_path / "meta.txt")})


def test_stock_and_our_sets_share_an_lmdb(tmp_path, image_folder, monkeypatch):
    from basicsr.utils.file_client import FileClient, LmdbBackend
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    from lightbsr_model.bridge.lmdb_backend import open_clients

    root = str(tmp_path / "gt.lmdb")
    make_lmdb_from_imgs(str(image_folder), root, ["astronaut0.png"], ["astronaut0"])
    ours = open_images({"dataroot_gt": root, "io_backend": {"type": "lmdb"}})
    image = ours.read(0)
    arguments = {"db_paths": [root, root], "client_keys": ["lq", "gt"]}
    monkeypatch.setattr(LmdbBackend, "__init__", open_clients)
    client = FileClient("lmdb", **arguments)
    for key in ("lq", "gt"):
        assert (decode_rgb(client.get("astronaut0", key), "a")[0] == image).all()
    # In a forked worker too, with the file open on both sides.
    with get_context("fork").Pool(1) as pool:
        assert (decode_rgb(pool.apply(client.get, ("astronaut0", "gt")), "a")[0] == image).all()
    assert (ours.read(0) == image).all()
