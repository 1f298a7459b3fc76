"""What holds for every degradation: what it draws, applies and describes."""

from __future__ import annotations

import json

import pytest
import skimage.data
import torch
from torch import Tensor
from torch.utils.data import default_collate

from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation import degrade, get_degradation
from lightbsr_model.degradation.base import (
    Degradation,
    Params,
    as_batch,
    in_float32,
    params_of,
    shared_by_batch,
)
from lightbsr_model.degradation.gaussian import ANY_GAUSSIAN, GaussianDegradation

KINDS: dict[str, Degradation] = {
    "isotropic": get_degradation("setting1_x4"),
    "anisotropic, noisy": get_degradation("setting2_x4"),
    "isotropic, JPEG": get_degradation("setting1_x4", {"jpeg": [30, 95]}),
    "all": get_degradation("setting2_x4", {"jpeg": [1, 100]}),
    "anisotropic, disturbed": get_degradation("setting2_x4", {"kernel_disturb": 0.25, "noise_level": 0}),
    "isotropic, disturbed": get_degradation("setting1_x4", {"kernel_disturb": 0.5}),
}
REAL_WORLD: dict[str, Degradation] = {
    "real-world": get_degradation("realworld_x4"),
    "photograph": get_degradation("photo_x4"),
    "shuffled": get_degradation("realworld_x4", {"shuffle_prob": 1, "second_prob": 0.5}),
}
every_gaussian = pytest.mark.parametrize("degradation", KINDS.values(), ids=KINDS.keys())
every_kind = pytest.mark.parametrize(
    "degradation", [*KINDS.values(), *REAL_WORLD.values()], ids=[*KINDS.keys(), *REAL_WORLD.keys()]
)


def _gt(count: int, views: int = 2) -> Tensor:
    image = torch.from_numpy(skimage.data.astronaut().transpose(2, 0, 1).copy())
    places = [(8 * place, 20 * place) for place in range(count * views)]
    patches = torch.stack([image[:, top : top + 64, left : left + 64] for top, left in places])
    return patches.view(count, views, 3, 64, 64)


def _draws(degradation: Degradation, count: int, seed: int = 0) -> list[Params]:
    generator = torch.Generator().manual_seed(seed)
    return [in_float32(degradation.draw(generator)) for _ in range(count)]


@every_kind
def test_draws_are_the_generators_alone_and_collate(degradation):
    first, second = _draws(degradation, 3), _draws(degradation, 3)
    torch.rand(5)
    for one, other in zip(first, second, strict=True):
        assert tuple(one) == degradation.names
        assert all(torch.equal(one[name], other[name]) for name in one)
    name = degradation.names[0]
    assert not torch.equal(first[0][name], first[1][name])
    batch = default_collate([{**params, "gt_path": "x.png"} for params in first])
    params = params_of(degradation, batch)
    assert set(params) == set(degradation.names)
    assert all(value.shape == (3, *first[0][name].shape) for name, value in params.items())
    shared = shared_by_batch(params)
    assert all((shared[name] == first[0][name]).all() for name in params)


@every_kind
def test_a_batch_is_its_samples(degradation):
    gt, draws = _gt(3), _draws(degradation, 3)
    together = degradation.apply(gt, default_collate(draws), 4, torch.Generator().manual_seed(7))
    assert together.shape == (3, 2, 3, 16, 16)
    generator = torch.Generator().manual_seed(7)
    for sample, params in enumerate(draws):
        alone = degradation.apply(gt[sample : sample + 1], as_batch(params), 4, generator)[0]
        off = (together[sample] - alone).abs() * 255
        # Sums in another order; before the rounding of JPEG's coefficients they may fall on the other side of a half.
        assert (off > 0.5).float().mean() < 0.01
        assert off.mean() < 0.05
    torch.testing.assert_close(together * 255, (together * 255).round(), rtol=0, atol=1e-4)


def test_views_share_all_parameters_but_not_the_noise():
    degradation = get_degradation("setting2_x4", {"noise_level": [5, 25]})
    gt = _gt(2)
    gt[:, 1] = gt[:, 0]
    params = default_collate(_draws(degradation, 2))
    noisy = degradation.apply(gt, params, 4, torch.Generator().manual_seed(0))
    assert not torch.equal(noisy[:, 0], noisy[:, 1])
    for overrides in ({"noise_level": 0}, {"noise_level": 0, "jpeg": [30, 95]}):
        degradation = get_degradation("setting2_x4", overrides)
        quiet = degradation.apply(gt, default_collate(_draws(degradation, 2)), 4)
        assert torch.equal(quiet[:, 0], quiet[:, 1])
        assert not torch.equal(quiet[0], quiet[1])


@every_gaussian
def test_descriptions_survive_json(degradation):
    params = degradation.draw(torch.Generator().manual_seed(5))
    described = json.loads(json.dumps(degradation.describe(params)))
    assert torch.equal(torch.tensor(described["kernel"], dtype=torch.float64), params["kernel"])
    assert described["noise_level"] == float(params["noise_level"])
    assert described.get("jpeg_quality", 0) == float(params["jpeg_quality"])
    assert described.get("kernel_disturb", 0) == degradation.kernel_disturb
    recipe = json.loads(json.dumps(degradation.recipe()))
    assert (
        GaussianDegradation(**{name: tuple(v) if isinstance(v, list) else v for name, v in recipe.items()})
        == degradation
    )


# ---- batches of several degradations


def test_what_covers_several_applies_each_of_them_as_it_would_itself():
    members = [*KINDS.values(), get_degradation("bicubic")]
    draws = [degradation.draw(torch.Generator().manual_seed(place)) for place, degradation in enumerate(members)]
    batch = default_collate([in_float32(params) for params in draws])
    quiet = {**batch, "noise_level": torch.zeros(len(members))}
    covering = members[0].covering(members[1:])
    gt = _gt(len(members))
    for whole in (covering, ANY_GAUSSIAN):
        together = whole.apply(gt, quiet, 4, torch.Generator().manual_seed(0))
        for place, degradation in enumerate(members):
            params = {name: value[place : place + 1] for name, value in quiet.items()}
            alone = degradation.apply(gt[place : place + 1], params, 4)[0]
            assert ((together[place] - alone).abs() * 255 > 0.5).float().mean() < 0.01
        noisy = whole.apply(gt, batch, 4, torch.Generator().manual_seed(0))
        is_noisy = [bool((noisy[place] != together[place]).any()) for place in range(len(members))]
        assert is_noisy == [degradation.is_noisy for degradation in members]


@pytest.mark.parametrize("preset", ["setting1_x4", "setting2_x4"])
def test_a_disturbed_kernel_is_the_same_draw_times_factors(preset):
    ratios = []
    for seed in range(8):
        plain, disturbed = (
            get_degradation(preset, {"kernel_disturb": c}).draw(torch.Generator().manual_seed(seed)) for c in (0, 0.25)
        )
        assert all(torch.equal(plain[name], disturbed[name]) for name in ("noise_level", "jpeg_quality", "axes"))
        assert float(disturbed["kernel"].sum()) == pytest.approx(1)
        ratio = (disturbed["kernel"] / plain["kernel"])[plain["kernel"] > 1e-12]
        # But for the normalisation: (1 + u) / (1 + v), both within [1, 1.25].
        assert 1 < ratio.max() / ratio.min() <= 1.25
        ratios.append(ratio / ratio.min())
    spread = torch.cat([ratio for ratio in ratios if len(ratio) > 300])
    assert spread.max() > 1.24
    torch.testing.assert_close(spread.mean(), torch.tensor(1.125, dtype=torch.float64), rtol=0.01, atol=0)


def test_the_narrowest_ranges_that_hold_all():
    first = get_degradation("setting1_x4", {"sigma": [1, 2]})
    assert first.covering([]) == first
    wider = first.covering([get_degradation("setting1_x2", {"noise_level": 5, "jpeg": [30, 95]})])
    assert (wider.kernel, wider.sigma, wider.noise_level, wider.jpeg) == ("isotropic", (0.2, 2), (0, 5), (0, 95))
    assert first.covering([get_degradation("setting1_x4", {"kernel_disturb": 0.3})]).kernel_disturb == 0.3
    mixed = first.covering([get_degradation("aniso_k3_n10")])
    assert mixed.kernel == "anisotropic"
    assert (mixed.lambda_1, mixed.lambda_2, mixed.theta) == ((1, 3.5), (1, 2), (0, 30))
    assert mixed.noise_level == (0, 10)


def test_no_step_is_taken_that_no_draw_needs():
    """Reading the parameters would make the host wait for the device, so the ranges decide."""
    gt = _gt(1)[:, 0]
    params = {**as_batch(_draws(KINDS["all"], 1)[0]), "noise_level": torch.tensor([20.0])}
    expected = degrade(gt, params["kernel"], None, 4)
    assert torch.equal(get_degradation("aniso_k3_n0").apply(gt, params, 4), expected)


@pytest.mark.parametrize(("other", "message"), [("border", "border: expected one"), ("kind", "of another kind")])
def test_what_cannot_share_a_batch(other, message):
    first = get_degradation("setting1_x4")
    others = {"border": GaussianDegradation(border="symmetric"), "kind": object()}
    with pytest.raises(OptionError, match=message):
        first.covering([first, others[other]])
