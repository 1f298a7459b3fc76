from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from torch.utils.data import DataLoader

from lightbsr_arch.errors import ImageError, OptionError
from lightbsr_arch.methods.bicubic import BicubicUpsampler
from lightbsr_model.degradation import blur_and_downsample, degrade, get_degradation
from lightbsr_model.evaluation.comparison.metrics import METRICS

from support.data_sets import PAIRED, benchmark, paired
from support.helpers import ROOT
from support.lmdb_files import lmdb_of

# ---- training


def test_views_for_the_device(image_folder):
    torch.manual_seed(0)
    sample = paired(image_folder, views=4)[0]
    assert sample["gt_views"].shape == (4, 3, 32, 32)
    assert sample["gt_views"].dtype == torch.uint8
    assert sample["kernel"].shape == (21, 21)
    torch.testing.assert_close(sample["kernel"].sum(), torch.tensor(1.0))
    assert 0 <= sample["noise_level"] <= 25
    assert len({view.numpy().tobytes() for view in sample["gt_views"]}) == 4


def test_finished_pairs_are_the_degraded_patches(image_folder):
    torch.manual_seed(0)
    sample = paired(image_folder, degrade_in="loader", degradation={"noise_level": 0})[0]
    assert sample["lq"].shape == (3, 8, 8)
    assert sample["gt"].shape == (3, 32, 32)
    expected = degrade(sample["gt"][None] * 255, sample["kernel"][None], None, 4)[0]
    torch.testing.assert_close(sample["lq"], expected, rtol=0, atol=1.01 / 255)
    assert ((sample["lq"] - expected).abs() > 1e-3).float().mean() < 0.01
    views = paired(image_folder, degrade_in="loader", views=2)[0]
    assert views["views"].shape == (2, 3, 8, 8)
    assert torch.equal(views["lq"], views["views"][0])
    assert views["gt_views"].shape == (2, 3, 32, 32)


def test_a_loader_gives_the_bits_it_always_gave():
    """Outer products, which a device takes for isotropic kernels, round one pixel in 60,000 otherwise."""
    bundled = {"io_backend": {"type": "bundled"}, "pictures": ["astronaut"], "gt_size": 192}
    dataset = build_dataset({**PAIRED, **bundled, "preset": "setting1_x4", "degrade_in": "loader", "views": 4})
    torch.manual_seed(0)
    for _ in range(15):
        sample = dataset[0]
        gt, kernels = (sample["gt"] * 255).round(), sample["kernel"].expand(4, -1, -1)
        assert torch.equal(sample["lq"], degrade(gt[None], kernels[:1], None, 4)[0])


def test_every_offset_occurs(tmp_path):
    image = np.arange(35 * 34, dtype=np.int32).reshape(35, 34)
    coded = np.stack([image % 256, image // 256, np.zeros_like(image)], axis=2).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), coded[:, :, ::-1])
    torch.manual_seed(0)
    dataset = paired(tmp_path, views=200, use_hflip=False, use_rot=False)
    corners = dataset[0]["gt_views"][:, :, 0, 0].int()
    offsets = {divmod(int(low + 256 * high), 34) for low, high, _ in corners}
    assert offsets == {(top, left) for top in range(4) for left in range(3)}


@pytest.mark.parametrize(
    ("flip", "rot", "count"), [(False, False, 1), (True, False, 2), (False, True, 4), (True, True, 8)]
)
def test_flips_and_rotations(tmp_path, flip, rot, count):
    cv2.imwrite(str(tmp_path / "a.png"), np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    torch.manual_seed(0)
    views = paired(tmp_path, views=100, use_hflip=flip, use_rot=rot)[0]["gt_views"]
    assert len({view.numpy().tobytes() for view in views}) == count


def _epoch(dataset, workers):
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, multiprocessing_context="fork" if workers else None)
    return torch.cat([batch["gt_views"].flatten(1).float() for batch in loader])


@pytest.mark.parametrize("workers", [0, 2])
def test_seed_gives_the_crops_and_epochs_differ(image_folder, workers):
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        dataset = paired(image_folder)
        runs.append([_epoch(dataset, workers), _epoch(dataset, workers)])
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0], runs[0][1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gt_size": 30}, "gt_size: expected a multiple of the scale 4"),
        ({"gt_size": 8}, "above 10"),
        ({"views": 0}, "views"),
        ({"degrade_in": "cloud"}, "device or loader, got 'cloud'"),
        ({"preset": "setting3_x4"}, "did you mean"),
        ({"io_backend": "disk"}, "io_backend: expected a section, such as {type: disk}, got 'disk'"),
        ({"io_backend": {"type": "bundled"}, "pictures": "coffee"}, "pictures: expected a list of names"),
        ({"dataroot_gt": 5}, "dataroot_gt: expected the path of a folder or an LMDB, got 5"),
        ({"meta_info_file": ["a"]}, r"meta_info_file: expected the path of a file, got \['a'\]"),
    ],
)
def test_options_that_do_not_fit(image_folder, options, message):
    with pytest.raises(OptionError, match=message):
        paired(image_folder, **options)


def test_image_too_small_is_named(image_folder):
    with pytest.raises(ImageError, match=r"astronaut0\.png: 96x80 is too small for a crop of gt_size 128"):
        paired(image_folder, gt_size=128)[0]


# ---- benchmark


def test_benchmark_sample(image_folder):
    sample = benchmark(image_folder, preset="iso_1.2")[2]
    assert sample["gt"].shape == (3, 80, 96)
    assert sample["lq"].shape == (3, 20, 24)
    assert sample["lq_path"] == "chelsea0_iso_1.2.png"
    assert sample["gt_path"].endswith("chelsea0.png")
    assert sample["noise_level"] == 0
    gt = (sample["gt"] * 255).round()[None].double()
    expected = blur_and_downsample(gt, get_degradation("iso_1.2").draw()["kernel"][None], 4)[0]
    assert (sample["lq"] * 255 - expected).abs().max() <= 0.5 + 1e-4


def test_same_bits_whatever_order_workers_threads_and_company(tmp_path, image_folder):
    dataset = benchmark(image_folder)
    first = [dataset[index]["lq"] for index in range(6)]
    backwards = [dataset[index]["lq"] for index in reversed(range(6))][::-1]
    loader = DataLoader(dataset, batch_size=1, num_workers=2, multiprocessing_context="fork")
    by_workers = [batch["lq"][0] for batch in loader]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = [dataset[index]["lq"] for index in range(6)]
    torch.set_num_threads(threads)
    for other in (backwards, by_workers, alone):
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    # The same image in another set has the same noise.
    (tmp_path / "coffee1.png").write_bytes((image_folder / "coffee1.png").read_bytes())
    assert torch.equal(benchmark(tmp_path)[0]["lq"], first[5])
    assert not torch.equal(benchmark(image_folder, seed=1)[5]["lq"], first[5])


def test_noise_stream_is_frozen(tmp_path):
    """The bits of another machine, another day: a change here would change everybody's test images."""
    cv2.imwrite(str(tmp_path / "ramp.png"), np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 3, (64, 1, 3)))
    lq = (benchmark(tmp_path)[0]["lq"] * 255).round().int()
    assert lq[0, 3, :8].tolist() == FROZEN


FROZEN = [6, 20, 24, 36, 54, 68, 77, 85]


def test_noise_has_its_level(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((256, 256, 3), 128, np.uint8))
    lq = benchmark(tmp_path, preset="aniso_k3_n10")[0]["lq"]
    assert abs(float((lq * 255).std()) - 10) < 0.3


def test_sizes_are_cropped_to_the_scale(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (31, 30, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    for scale, size in ((2, (30, 30)), (3, (30, 30)), (4, (28, 28))):
        sample = benchmark(tmp_path, scale=scale, preset="bicubic")[0]
        assert sample["gt"].shape[1:] == size
        assert sample["lq"].shape[1:] == (size[0] // scale, size[1] // scale)
        expected = image[: size[0], : size[1], ::-1].transpose(2, 0, 1).astype(np.float32)
        assert torch.equal((sample["gt"] * 255).round(), torch.from_numpy(expected))


def test_strange_images(tmp_path, caplog):
    rgba = np.random.default_rng(0).integers(0, 256, (32, 32, 4), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "alpha.png"), rgba)
    cv2.imwrite(str(tmp_path / "grey.png"), rgba[:, :, 0])
    cv2.imwrite(str(tmp_path / "tiny.png"), rgba[:11, :11, :3])
    dataset = benchmark(tmp_path)
    logger = logging.getLogger("basicsr")
    logger.addHandler(caplog.handler)
    try:
        for _ in range(2):
            assert dataset[0]["lq"].shape == (3, 8, 8)
    finally:
        logger.removeHandler(caplog.handler)
    notes = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert notes == [f"{tmp_path}/alpha.png: its alpha channel is dropped."]
    gt = dataset[1]["gt"]
    assert torch.equal(gt[0], gt[1])
    with pytest.raises(ImageError, match=r"tiny\.png: 11x11 is too small"):
        dataset[2]


# ---- the protocol


@pytest.mark.skipif(
    not (ROOT.parent / "shared/images").is_dir(), reason="needs Set5 and Set14, which are not ours to ship"
)
@pytest.mark.parametrize(
    ("name", "preset", "psnr"),
    [("Set5", "bicubic", 28.43), ("Set14", "bicubic", 26.095), ("Set5", "iso_2.4", 25.99), ("Set14", "iso_3.6", 23.25)],
)
def test_bicubic_scores_as_in_the_literature(name, preset, psnr):

    dataset = benchmark(ROOT.parent / "shared/images" / name, preset=preset)
    scores = []
    for index in range(len(dataset)):
        sample = dataset[index]
        sr = BicubicUpsampler(4)(sample["lq"][None])[0].clamp(0, 1)
        pair = ((image * 255).round().byte().numpy().transpose(1, 2, 0) for image in (sr, sample["gt"]))
        scores.append(METRICS["psnr_y"].measure(*pair, 4))
    assert abs(np.mean(scores) - psnr) < 0.02


# ---- reading


@pytest.fixture
def stored(tmp_path, image_folder):
    return lmdb_of(image_folder, tmp_path / "gt.lmdb")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_sets_on_one_lmdb_in_workers(stored, image_folder, method):
    sets = [
        (paired(image_folder, **stored, preset="iso_1.2"), method),
        (paired(image_folder, preset="iso_1.2"), "fork"),
    ]
    if method == "fork":  # the other takes seconds to start
        sets.append((paired(image_folder, **stored, preset="iso_2.4"), method))
    orders = []
    for dataset, start in sets:
        torch.manual_seed(1)
        dataset[0]  # opens the file in this process too
        torch.manual_seed(1)
        loader = DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context=start)
        orders.append(torch.cat([batch["gt_views"] for batch in loader]))
    assert all(torch.equal(orders[0], order) for order in orders[1:])
    assert len(orders[0]) == 6


def _anonymous_memory() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) * 1024


@pytest.mark.parametrize("kind", ["folder", "lmdb"])
def test_memory_stays_flat_over_epochs(image_folder, stored, kind):
    dataset = paired(image_folder, **(stored if kind == "lmdb" else {}))

    def epochs(count: int) -> None:
        for index in [*range(6)] * count:
            dataset[index]

    epochs(50)
    before = _anonymous_memory()
    epochs(200)
    # 1200 images of 23 kB, decoded: 28 MB if they were kept.
    assert _anonymous_memory() - before < 4e6
