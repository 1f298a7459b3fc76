"""Real-world degradations: what they draw, and the whole sequence against an independent computation."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
import skimage.data
import torch
from torch.utils.data import default_collate

from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation import get_degradation
from lightbsr_model.degradation.mixed_kernels import KERNELS
from lightbsr_model.degradation.second_order import NAME, SecondOrderDegradation
from lightbsr_model.degradation.second_order_params import COLUMNS, OPERATIONS, by_name

from support.by_hand import ByHand

REAL, PHOTO = get_degradation("realworld_x4"), get_degradation("photo_x4")


def _gt(side=64, count=1):
    image = torch.from_numpy(skimage.data.astronaut().transpose(2, 0, 1).copy())
    return torch.stack([image[:, 40 * place : 40 * place + side, 90 : 90 + side] for place in range(count)])


def _draws(degradation, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return default_collate([degradation.draw(generator) for _ in range(count)])


# ---- statistics


def _share(mask):
    return float(mask.double().mean())


def test_draws_are_distributed_as_published():
    row = by_name(_draws(REAL, 6000)[NAME])
    close = lambda expected: pytest.approx(expected, abs=0.025)  # noqa: E731
    for suffix, sinc, blurred in (("", 0.1, 1.0), ("2", 0.1, 0.8)):
        kernel = row[f"kernel{suffix}"]
        assert _share(kernel > 0) == close(blurred)
        weights = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
        for place, weight in enumerate(weights):
            assert _share(kernel == 1 + place) == close(blurred * (1 - sinc) * weight)
        assert _share(kernel == 1 + KERNELS.index("sinc")) == close(blurred * sinc)
    sizes = Counter(row["kernel_size"].tolist())
    assert set(sizes) == set(range(7, 22, 2))
    assert min(sizes.values()) > 6000 / 8 * 0.85
    up, down = _share(row["resize"] > 1), _share(row["resize"] < 1)
    assert (up, down) == (close(0.2), close(0.7))
    assert (_share(row["resize2"] > 1), _share(row["resize2"] < 1)) == (close(0.3), close(0.4))
    assert 0.15 <= row["resize"].min() < 0.16
    assert 1.48 < row["resize"].max() <= 1.5
    assert [_share(row["resize_mode"] == mode) for mode in range(3)] == [close(1 / 3)] * 3
    assert _share(row["noise"] == 1) == close(0.5)
    assert _share(row["grey"] == 1) == close(0.4)
    gaussian = row["noise_level"][row["noise"] == 1]
    assert (float(gaussian.min()), float(gaussian.max())) == (pytest.approx(1, abs=0.1), pytest.approx(30, abs=0.1))
    assert float(gaussian.mean()) == pytest.approx(15.5, abs=0.6)
    poisson = row["noise_level2"][row["noise2"] == 2]
    assert (float(poisson.min()), float(poisson.max())) == (pytest.approx(0.05, abs=0.01), pytest.approx(2.5, abs=0.01))
    quality = row["jpeg_quality"]
    assert set(quality.tolist()) == set(range(30, 96))
    assert float(quality.mean()) == pytest.approx(62.5, abs=0.8)
    assert _share(row["final_size"] > 0) == close(0.8)
    assert _share(row["jpeg_first"] == 1) == close(0.5)


def test_numbers_belong_to_their_kinds():
    row = by_name(_draws(REAL, 3000)[NAME])
    sinc = row["kernel"] == 7
    assert (row["cutoff"][sinc] >= 0.2).all()
    assert (row["cutoff"][sinc & (row["kernel_size"] < 13)] >= 1 / 3).all()
    assert (row["cutoff"][sinc & (row["kernel_size"] >= 13)] < 0.3).any()
    assert not row["sigma_x"][sinc].any()
    assert not row["cutoff"][~sinc].any()
    round_ones = (row["kernel"] == 1) | (row["kernel"] == 3) | (row["kernel"] == 5)
    assert torch.equal(row["sigma_x"][round_ones], row["sigma_y"][round_ones])
    assert not row["rotation"][round_ones].any()
    oblique = row["kernel"] == 2
    assert (row["sigma_x"] != row["sigma_y"])[oblique].all()
    assert row["rotation"][oblique].min() < -3
    assert row["rotation"][oblique].max() > 3
    general, plateau = row["beta"][(row["kernel"] == 3) | (row["kernel"] == 4)], row["beta"][row["kernel"] >= 5]
    # Below and above 1 with equal probability.
    assert _share(general < 1) == pytest.approx(0.5, abs=0.08)
    assert (float(general.min()), float(general.max())) == (pytest.approx(0.5, abs=0.02), pytest.approx(4, abs=0.05))
    assert _share(plateau[plateau > 0] == 1) == pytest.approx(0.5, abs=0.08)


def test_photographs_are_mild():
    for scale, widest in ((2, 1.2), (4, 2.4)):
        row = by_name(_draws(get_degradation(f"photo_x{scale}"), 3000)[NAME])
        assert (row["orders"] == 1).all()
        assert (row["resize"] == 1).all()
        assert not row["final_size"].any()
        assert set(row["kernel"].tolist()) == {0, 1, 2}
        assert widest - 0.05 < row["sigma_x"].max() <= widest
        assert _share(row["kernel"] == 0) == pytest.approx(0.2, abs=0.03)
        assert _share(row["noise"] == 0) == pytest.approx(0.2, abs=0.03)
        assert row["noise_level"].max() <= 10
        with_jpeg = row["jpeg_quality"] > 0
        assert _share(with_jpeg) == pytest.approx(0.9, abs=0.03)
        assert set(row["jpeg_quality"][with_jpeg].tolist()) == set(range(60, 96))
        assert not any(row[f"{name}2"].any() for name in ("kernel", "resize", "noise", "jpeg_quality"))


def test_one_option_leaves_all_other_draws_alone():
    other = REAL.with_options({"sinc_prob": 1, "noise_range2": [3, 4], "kernel_range": [33, 35], "jpeg_range": 50})
    one, two = by_name(_draws(REAL, 200)[NAME]), by_name(_draws(other, 200)[NAME])
    assert (two["kernel"] == 7).all()
    assert set(two["kernel_size"].tolist()) == {33, 35}
    same = [name for name in COLUMNS if torch.equal(one[name], two[name])]
    assert {
        "resize",
        "resize_mode",
        "noise",
        "noise_level",
        "kernel2",
        "resize2",
        "jpeg_quality2",
        "final_size",
    } <= set(same)


def test_random_orders_are_bsrgans():
    row = by_name(_draws(REAL.with_options({"shuffle_prob": 1}), 2000)[NAME])
    places = torch.stack([row[f"at_{name}"] for name in OPERATIONS], dim=1)
    assert torch.equal(places.sort(dim=1).values, torch.arange(7.0, dtype=torch.float64).expand(2000, 7))
    assert (row["at_resize"] < row["at_resize2"]).all()
    for name in ("blur", "noise", "jpeg", "blur2", "noise2"):
        assert set(row[f"at_{name}"].tolist()) == set(range(7))
    assert len({tuple(each) for each in places.tolist()}) > 1000
    half = by_name(_draws(REAL.with_options({"shuffle_prob": 0.5}), 1000)[NAME])
    in_order = torch.stack([half[f"at_{name}"] == place for place, name in enumerate(OPERATIONS)]).all(0)
    assert _share(in_order) == pytest.approx(0.5, abs=0.06)


# ---- the whole sequence


@pytest.mark.parametrize("seed", range(12))
def test_the_sequence_is_what_its_description_says(seed):
    degradation = [REAL, REAL.with_options({"shuffle_prob": 1, "second_prob": 0.5})][seed % 2]
    params = degradation.draw(torch.Generator().manual_seed(seed))
    described = json.loads(json.dumps(degradation.describe(params)))
    gt = _gt()[0]
    exact = degradation.apply_exactly(gt, params, 4, seed) * 255
    expected = ByHand(gt, 4, seed).run(described).transpose(2, 0, 1)
    off = np.abs(exact.numpy() - expected)
    # A value at a half may round either way, and a compression makes more of it.
    assert (off > 1.01).mean() < 0.02
    assert off.mean() < 0.15


def test_training_sees_what_tests_see():
    """Without noise, which the two draw from other streams."""
    quiet = {"noise_prob": 0, "noise_prob2": 0, "jpeg_prob": 0, "jpeg_prob2": 0, "shuffle_prob": 0.5}
    degradation = REAL.with_options(quiet)
    batch = _draws(degradation, 8)
    gt = _gt(count=8)
    trained = degradation.apply(gt, {NAME: batch[NAME].float()}, 4)
    for place in range(8):
        tested = degradation.apply_exactly(gt[place], {NAME: batch[NAME][place]}, 4, 0)
        assert ((trained[place] - tested).abs() * 255 > 0.5).float().mean() < 0.01
        assert (trained[place] - tested).abs().max() * 255 < 1.01


@pytest.mark.parametrize("degradation", [REAL, PHOTO], ids=["realworld", "photo"])
def test_bits_are_the_seeds_alone(degradation):
    batch, gt = _draws(degradation, 5), _gt(count=5)
    first = degradation.apply(gt, batch, 4, torch.Generator().manual_seed(1))
    torch.rand(7)
    assert torch.equal(first, degradation.apply(gt, batch, 4, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, degradation.apply(gt, batch, 4, torch.Generator().manual_seed(2)))
    exact = degradation.apply_exactly(gt[0], {NAME: batch[NAME][0]}, 4, 1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert torch.equal(exact, degradation.apply_exactly(gt[0], {NAME: batch[NAME][0]}, 4, 1))
    finally:
        torch.set_num_threads(threads)


def test_kernels_may_be_larger_and_images_smaller():
    degradation = REAL.with_options({"kernel_range": [61, 61], "blur_sigma": 20, "resize_prob": [0, 1, 0]})
    degraded = degradation.apply(_gt(16), _draws(degradation, 1), 4, torch.Generator().manual_seed(0))
    assert degraded.shape == (1, 3, 4, 4)
    with pytest.raises(ValueError, match="an image of 18x18 cannot be shrunk by 4"):
        degradation.apply(_gt(18), _draws(degradation, 1), 4)


def test_samples_that_share_their_sizes_are_degraded_together():
    degradation = REAL.with_options({"second_prob": 0.5, "shuffle_prob": 0.5})
    for seed in range(4):
        params = _draws(degradation, 6, seed)
        shared = degradation.sharing_sizes(params)
        row, before = by_name(shared[NAME]), by_name(params[NAME])
        assert len(set(row["resize"].tolist())) == len(set(row["orders"].tolist())) == 1
        assert len({tuple(each) for each in torch.stack([row[f"at_{name}"] for name in OPERATIONS], 1).tolist()}) == 1
        assert torch.equal(row["noise_level"], before["noise_level"])
        if row["orders"][0] == 1:
            assert not row["noise_level2"].any()
        assert torch.equal(shared[NAME][0], params[NAME][0])
        gt = _gt(count=6)
        together = degradation.apply(gt, shared, 4, torch.Generator().manual_seed(0))
        assert together.shape == (6, 3, 16, 16)
        described = [degradation.describe({NAME: values}) for values in shared[NAME]]
        assert len({json.dumps([each["operations"], each["first"]["resize"]]) for each in described}) == 1


# ---- vectors and quantities


def test_the_vector_is_what_the_description_says():
    for degradation in (REAL, PHOTO, REAL.with_options({"second_prob": 0.5, "shuffle_prob": 1})):
        params = _draws(degradation, 40)
        vectors, names = degradation.vector(params), degradation.vector_names()
        assert vectors.shape == (40, len(names)) == (40, 65)
        assert len(set(names)) == len(names)
        assert vectors.abs().max() <= 1.6
        for values, vector in zip(params[NAME], vectors.tolist(), strict=True):
            entry = dict(zip(names, vector, strict=True))
            described = degradation.describe({NAME: values})
            for number, word in ((1, "first"), (2, "second")):
                own = described.get(word)
                assert entry["there is a second order"] == ("second" in described)
                if own is None:
                    assert not any(value for name, value in entry.items() if name.endswith(f", order {number}"))
                    continue
                kind = own["blur"]["kind"] if "blur" in own else "none"
                chosen = [name for name in names if name.startswith("kernel is") and name.endswith(f"order {number}")]
                assert [name for name in chosen if entry[name] == 1] == [f"kernel is {kind}, order {number}"]
                assert sum(entry[name] for name in chosen) == 1
                assert 2 ** (3 * entry[f"log2 resize factor / 3, order {number}"]) == pytest.approx(
                    own["resize"]["factor"]
                )
                noise = own.get("noise", {"kind": "none", "grey": False})
                assert entry[f"noise is {noise['kind']}, order {number}"] == 1
                assert 30 * entry[f"noise level / 30, order {number}"] == pytest.approx(noise.get("level", 0), abs=1e-4)
                assert 3 * entry[f"noise scale / 3, order {number}"] == pytest.approx(noise.get("scale", 0), abs=1e-5)
                quality = 100 * (1 - entry[f"1 - JPEG quality / 100, order {number}"])
                assert quality == pytest.approx(own.get("jpeg_quality", 100), abs=1e-3)
            sinc = described["final"].get("sinc", {"size": 0, "cutoff": 0})
            assert entry["final cutoff / pi"] * math.pi == pytest.approx(sinc["cutoff"], abs=1e-5)


def test_a_turned_kernel_has_the_same_vector():
    """Half a turn is the same kernel, and so is a quarter turn with the axes exchanged."""
    values = _draws(REAL, 1)[NAME].repeat(3, 1)
    row = {name: number for number, name in enumerate(COLUMNS)}
    for place, (x, y, angle) in enumerate([(2.0, 0.7, 0.4), (2.0, 0.7, 0.4 - math.pi), (0.7, 2.0, 0.4 + math.pi / 2)]):
        values[place, row["kernel"]] = 2
        for name, value in (("sigma_x", x), ("sigma_y", y), ("rotation", angle)):
            values[place, row[name]] = value
    vectors = REAL.vector({NAME: values})
    torch.testing.assert_close(vectors[1:], vectors[:1].expand(2, -1))


def test_quantities_are_in_plain_units_and_in_range():
    assert list(REAL.quantities()) == [
        *("sigma", "resize", "noise_level", "jpeg_quality", "sigma2", "resize2", "noise_level2", "jpeg_quality2"),
        "sigma_final",
    ]
    assert list(PHOTO.quantities()) == ["sigma", "noise_level", "jpeg_quality"]
    assert PHOTO.quantities()["sigma"] == pytest.approx((0.2821, 2.4), abs=1e-4)
    assert PHOTO.quantities()["noise_level"] == pytest.approx((0, 11.29), abs=0.01)
    assert PHOTO.quantities()["jpeg_quality"] == (60, 100)
    params = _draws(PHOTO, 200)
    row, values = by_name(params[NAME]), PHOTO.measure(params)
    isotropic = (row["kernel"] == 1) & (row["sigma_x"] > 0.6) & (row["kernel_size"] > 13)
    torch.testing.assert_close(values[isotropic, 0].double(), row["sigma_x"][isotropic], rtol=0.04, atol=0)
    gaussian = row["noise"] == 1
    torch.testing.assert_close(values[gaussian, 1].double(), row["noise_level"][gaussian], rtol=1e-5, atol=0)
    shot = row["noise"] == 2
    torch.testing.assert_close(values[shot, 1].double(), row["noise_level"][shot] * (255 / 2) ** 0.5, rtol=1e-5, atol=0)
    assert (values[row["jpeg_quality"] == 0, 2] == 100).all()
    for degradation in (REAL, PHOTO, REAL.with_options({"second_prob": 0.5})):
        measured = degradation.measure(_draws(degradation, 300))
        ends = torch.tensor(list(degradation.quantities().values()))
        assert (measured >= ends[:, 0] - 1e-4).all()
        assert (measured <= ends[:, 1] + 1e-4).all()
        assert (measured.std(0) > 0).all()


# ---- options


def test_the_recipe_makes_it_again():
    for degradation in (REAL, PHOTO):
        assert SecondOrderDegradation(json.loads(json.dumps(degradation.recipe()))) == degradation
    assert REAL != PHOTO


def test_what_covers_both():
    covering = REAL.covering([PHOTO])
    assert 0 < covering.options["second_prob"] < 1
    assert covering.options["jpeg_range"] == [30, 95]
    assert covering.options["noise_range"] == [0.0, 30.0]
    assert covering.options["antialias"]
    assert covering.is_noisy
    assert REAL.covering([]) == REAL
    for member in (REAL, PHOTO):
        for name, (low, high) in member.quantities().items():
            assert covering.quantities()[name][0] <= low + 1e-6
            assert covering.quantities()[name][1] >= high - 1e-6
    batch = {NAME: torch.cat([_draws(REAL, 2)[NAME], _draws(PHOTO, 2)[NAME]])}
    together = covering.apply(_gt(count=4), batch, 4, torch.Generator().manual_seed(0))
    alone = PHOTO.apply(_gt(count=4)[2:], {NAME: batch[NAME][2:]}, 4, torch.Generator().manual_seed(0))
    assert together.shape[0] == 4
    assert alone.shape[0] == 2
    with pytest.raises(OptionError, match="of another kind"):
        REAL.covering([get_degradation("setting1_x4")])
    with pytest.raises(OptionError, match="of another kind"):
        get_degradation("setting1_x4").covering([REAL])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"blur_sgima": 1}, "degradation.blur_sgima: unknown parameter; did you mean blur_sigma"),
        ({"blur_sigma": [3, 1]}, r"degradation.blur_sigma: expected first <= second, got \[3, 1\]"),
        ({"kernel_range2": [8, 21]}, r"kernel_range2: expected odd sides, got \[8, 21\]"),
        ({"kernel_range": [7, 201]}, "kernel_range: expected a list of 2 values, each an integer from 3 to 101"),
        ({"resize_range": [1.2, 1.5]}, "resize_range: expected first <= 1 <= second"),
        ({"resize_prob": [0, 0, 0]}, "resize_prob: expected a weight above 0"),
        ({"kernel_prob": [1, 2]}, "kernel_prob: expected 6 values, one for each of kernel_list"),
        ({"kernel_list": ["iso", "round"]}, "kernel_list: expected a list of values, each iso, aniso"),
        ({"kernel_list2": []}, "kernel_list2: expected one or more"),
        ({"second_prob": 1.5}, "second_prob: expected a number from 0 to 1, got 1.5"),
        ({"jpeg_range": [30.5, 90]}, "jpeg_range: expected a list of 2 values, each an integer from 1 to 100"),
        ({"antialias": 1}, "antialias: expected true or false, got 1"),
        ([1], r"degradation: expected parameters of the preset, .*got \[1\]"),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(OptionError, match=message):
        get_degradation("realworld_x4", overrides)


def test_a_preset_of_another_scale():
    with pytest.raises(OptionError, match=r"photo_x4 is made for x4, but scale is 2: take photo_x2\."):
        get_degradation("photo_x4", scale=2)
    with pytest.raises(OptionError, match="scale is 3: take another"):
        get_degradation("realworld_x4", scale=3)
