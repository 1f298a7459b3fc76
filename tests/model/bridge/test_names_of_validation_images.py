"""Names in BasicSR's own data sets: no validation image leaves the run's folder, and none ends a training."""

from __future__ import annotations

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset

from lightbsr_arch.errors import CommandFailed, OptionError
from lightbsr_model.bridge import launcher, side_products

from support.training_files import as_test, log_of, plain_training

ESCAPE = "\x1b[31mred"


def _paired_lmdb(folder, names):
    """LR and GT in LMDBs as BasicSR's tools write them."""
    rng = np.random.default_rng(0)
    for kind, size in (("lq", 8), ("gt", 32)):
        image = cv2.imencode(".png", rng.integers(0, 256, (size, size, 3), np.uint8))[1].tobytes()
        with lmdb.open(str(folder / f"{kind}.lmdb"), map_size=2**22) as store, store.begin(write=True) as transaction:
            for name in names:
                transaction.put((name.split(".")[0] or "-").encode(), image)
        lines = "".join(f"{name}.png ({size},{size},3) 1\n" for name in names)
        (folder / f"{kind}.lmdb/meta_info.txt").write_text(lines)


@pytest.fixture
def options(tmp_path, image_folder):
    def make(*names, folder="sets"):
        (tmp_path / folder).mkdir()
        _paired_lmdb(tmp_path / folder, names)
        opt = plain_training(image_folder, total_iter=1)
        opt["datasets"]["val"] = {
            "name": "val",
            "type": "PairedImageDataset",
            "dataroot_gt": str(tmp_path / folder / "gt.lmdb"),
            "dataroot_lq": str(tmp_path / folder / "lq.lmdb"),
            "io_backend": {"type": "lmdb"},
        }
        opt["val"].update(val_freq=1, save_img=True, pbar=True)
        return opt

    return make


def _images(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_a_training_goes_on_and_keeps_to_its_folder(run, tmp_path, options, capsys):
    long = "n" * 300
    run(launcher.train, options("good", f"{tmp_path}/abs", "a/equal", "b/equal", ESCAPE, long))
    experiment = tmp_path / "experiments/run"
    names = ("abs", "equal", "good", ESCAPE)
    assert _images(tmp_path) == sorted(f"experiments/run/visualization/{name}/{name}_1.png" for name in names)
    log = log_of(experiment)
    assert log.count("A validation image cannot be written") == 1
    assert "File name too long" in log
    assert log.count("Several validation images have the name equal_1.png") == 1
    assert "# psnr" in log
    assert (experiment / "models/net_g_latest.pth").is_file()
    shown = capsys.readouterr().err
    assert r"Test \x1b[31mred" in shown
    assert ESCAPE not in shown


def test_a_test_ends_with_the_name(run, tmp_path, options):
    with pytest.raises(CommandFailed, match=r"n_tested\.png cannot be written: File name too long"):
        run(launcher.test, as_test(options("n" * 300)))
    assert not _images(tmp_path)


def test_dots_that_lead_upwards(run, tmp_path, options):
    """BasicSR takes a name up to its first dot: nothing is left of the first of these, ``a/`` of the second."""
    with pytest.raises(OptionError, match=r"gt\.lmdb holds no record '', which its meta_info\.txt lists"):
        run(launcher.train, options("../../x"))
    run(launcher.train, options("a/../x", folder="others"))
    assert _images(tmp_path) == ["experiments/run/visualization/_1.png"]


def test_a_data_set_whose_names_lead_out_of_the_folder(run, tmp_path, options, monkeypatch):
    load = PairedImageDataset.__getitem__
    monkeypatch.setattr(PairedImageDataset, "__getitem__", lambda *args: {**load(*args), "lq_path": "a/.."})
    run(launcher.train, options("good"))
    assert not _images(tmp_path)
    assert "the image's name leads out of" in log_of(tmp_path / "experiments/run")


def test_parts_of_a_path_that_lead_out_of_the_folder(tmp_path, monkeypatch):
    """As SRModel joins ``..`` (a record ``a/..``), and a video model the folders of its list."""
    folder = tmp_path / "experiments/run/visualization"
    monkeypatch.setattr(side_products, "_image_folder", None)  # and what it is now afterwards
    side_products.begin_run({"path": {"visualization": str(folder)}})
    image = np.zeros((4, 4, 3), np.uint8)
    places = [
        f"{folder}/../.._4.png",
        f"{folder}/val/../../../x/0_run.png",
        f"{tmp_path}/x/0_run.png",
        f"{folder}/a\0b.png",
    ]
    for place in places:
        with pytest.raises(CommandFailed, match="cannot be written"):
            side_products.write_image(image, place)
        with side_products.validation_of_a_training():
            side_products.write_image(image, place)
    assert not list(tmp_path.rglob("*.png"))
    side_products.write_image(image, f"{folder}/val/../x.png")
    assert _images(tmp_path) == ["experiments/run/visualization/x.png"]
