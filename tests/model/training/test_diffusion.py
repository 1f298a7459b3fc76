"""``train.diffusion_opt``: what a discriminator sees, diffused, after DifAugGAN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from basicsr.models import build_model
from basicsr.utils.registry import MODEL_REGISTRY

from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge import launcher
from lightbsr_model.training.adversarial import AdversarialModel
from lightbsr_model.training.diffusion_augmentation import (
    SLOTS,
    DiffusedDiscriminator,
    DiffusionAugmentation,
    DiffusionOptions,
    diffused_discriminators,
    diffusion_options,
    sign_of_real,
)

from support.adapting import GAN, adapting_batch, adapting_files, adapting_options
from support.method_cases import CASES
from support.model_options import basicsr_options, with_discriminator
from support.option_problems import problems_of
from support.published import GOLDEN
from support.small_models import build, options_of
from support.training_files import assert_resumes_exactly, plain_training

DATA = np.load(GOLDEN / "difaug.npz")
KINDS = {
    "projected": {"t_min": 5, "t_max": 500, "beta_end": 0.01, "noise_std": 0.5},
    "stylegan2": {"t_min": 10, "t_max": 1000, "beta_end": 0.02, "noise_std": 0.05, "noisy_slots": 32},
}


def _augmentation(kind="projected", **options):
    return DiffusionAugmentation(diffusion_options({**KINDS[kind], **options}), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("p", ["0.0", "0.3", "1.0"])
def test_levels_are_the_published_ones(kind, p):
    ours = _augmentation(kind, p=float(p))
    recorded = {name: DATA[f"{kind}_p{p}_{name}"] for name in ("T", "sqrt_abar", "sqrt_1m", "slots", "numpy_seed")}
    assert ours.levels == recorded["T"]
    np.testing.assert_allclose(ours.signal, recorded["sqrt_abar"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ours.noise, recorded["sqrt_1m"], rtol=1e-5, atol=2e-6)  # recorded in fp32
    count = int((recorded["slots"] > 0).sum())
    assert int((ours.slots > 0).sum()) == count
    if count:
        # Their draws, from our probabilities.
        drawn = np.random.RandomState(recorded["numpy_seed"]).choice(
            np.arange(1, ours.levels + 1), count, p=ours.level_weights().numpy()
        )
        np.testing.assert_array_equal(drawn, recorded["slots"][:count])


def test_our_slots_have_those_probabilities():
    ours = _augmentation(p=1.0, t_max=12)
    counts = torch.zeros(13)
    for seed in range(400):
        ours.spread_levels(torch.Generator().manual_seed(seed))
        counts += torch.bincount(ours.slots, minlength=13)
    assert counts[0] == 400 * 16
    assert counts[1] == 0
    expected = ours.level_weights() * 400 * 48
    assert ((counts[1:] - expected).abs() < 4 * expected.sqrt() + 1e-9).all()


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_diffused_as_published(kind):
    ours = _augmentation(kind, p=float(DATA[f"{kind}_xt_p"]))
    x, t, noise, expected = (torch.from_numpy(DATA[f"{kind}_{name}"]) for name in ("x", "t", "noise", "xt"))
    levels = t.reshape(len(x), -1).squeeze(1)
    torch.testing.assert_close(ours.diffuse_signed(x, levels, noise), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.diffuse((x + 1) / 2, levels, noise), (expected + 1) / 2, rtol=1e-5, atol=1e-6)


def test_the_strength_follows_the_signs():
    ours = _augmentation()
    batch = int(DATA["ctl_batch"])
    reached = []
    for sign in DATA["ctl_signs"]:
        ours.adjust(float(sign), batch, torch.Generator())
        reached.append(ours.p)
    np.testing.assert_allclose(reached, DATA["ctl_p"], atol=1e-7)
    fixed = _augmentation(p=0.5)
    fixed.adjust(1.0, batch, torch.Generator())
    assert fixed.p == 0.5


def test_the_defaults_leave_most_of_the_signal():
    ours = DiffusionAugmentation(diffusion_options({"p": 1.0}), torch.Generator())
    assert ours.levels == 100
    assert ours.signal[-1] > 0.77
    assert ours.noise[-1] * ours.options.noise_std * 127.5 < 16.5


@pytest.mark.parametrize(
    ("kind", "expected"), [("vanilla", 0.5), ("hinge", 0.5), ("wgan_softplus", 0.5), ("lsgan", -0.5)]
)
def test_signs_of_maps_count_pixels(kind, expected):
    judgement = torch.tensor([[0.2, 0.4, 0.7], [-0.1, float("nan"), 0.3], [0.1, 0.1, 0.2]])[[0, 2]].reshape(2, 1, 1, 3)
    judgement = torch.cat([judgement, torch.tensor([-1.0, 0.1]).reshape(2, 1, 1, 1)], dim=3)
    assert float(sign_of_real(kind, judgement)) == pytest.approx(0.75 if expected > 0 else -0.75)
    assert torch.isfinite(sign_of_real(kind, judgement * float("nan")))


# ---- in a training


def _options(images, model_type="SRGANModel", **diffusion):
    opt = with_discriminator(plain_training(images, total_iter=6), diffusion_opt={"p": 1.0, **diffusion})
    return {**opt, "model_type": model_type}


class _Watched(DiffusedDiscriminator):
    """Keeps what the discriminator is given, before and after."""

    seen: list = []  # noqa: RUF012 - of one test

    def _before(self, net, inputs):
        after = super()._before(net, inputs)
        if after is not None:
            self.seen.append((self._iteration, self._is_real, inputs[0].detach(), after[0].detach()))
        return after


@pytest.mark.parametrize(("model_type", "calls", "real"), [("SRGANModel", 3, 1), ("ESRGANModel", 5, 1)])
def test_real_and_restored_images_share_a_level_and_no_noise(run, image_folder, monkeypatch, model_type, calls, real):
    monkeypatch.setattr("lightbsr_model.training.diffusion_augmentation.DiffusedDiscriminator", _Watched)
    for std in (0.0, 0.2):
        monkeypatch.setattr(_Watched, "seen", [])
        opt = _options(image_folder, model_type, noise_std=std, interval=2, beta_end=0.5)
        run(launcher.train, {**opt, "name": f"seen{std}"})
        levels = set()
        for iteration in range(1, 7):
            images = [each for each in _Watched.seen if each[0] == iteration]
            assert len(images) == calls
            assert sum(is_real for _, is_real, _, _ in images) == real
            if std == 0:
                factors = [
                    ((after * 2 - 1) / (before * 2 - 1)).flatten(1).median(1).values for _, _, before, after in images
                ]
                for factor in factors[1:]:
                    torch.testing.assert_close(factor, factors[0], rtol=1e-3, atol=1e-4)
                levels |= set(factors[0].tolist())
            else:
                noise = [after - before for _, _, before, after in images]
                assert all(not torch.equal(noise[0], each) for each in noise[1:])
        if std == 0:
            assert len(levels) > 3


def test_a_validation_is_not_diffused(run, image_folder, monkeypatch):
    monkeypatch.setattr("lightbsr_model.training.diffusion_augmentation.DiffusedDiscriminator", _Watched)
    monkeypatch.setattr(_Watched, "seen", [])
    net = torch.nn.Conv2d(3, 1, 1)
    model = type("Model", (), {"net_d": net, "device": torch.device("cpu")})()
    model.opt = {"manual_seed": 0, "rank": 0, "world_size": 1, "train": {"gan_opt": {"gan_type": "vanilla"}}}
    watched = _Watched(model, {"p": 1.0, "beta_end": 0.5})
    images = torch.rand(2, 3, 8, 8)
    plain = net(images)
    assert _Watched.seen == []
    watched.begin(1, 0)
    assert not torch.equal(net(images), plain)
    watched.end(1, 2)
    assert torch.equal(net(images), plain)


def test_a_resumed_run_is_the_undisturbed_one(run, tmp_path, image_folder):
    opt = _options(image_folder, p="adaptive", kimg=0.02, interval=2, target=0.0)
    assert_resumes_exactly(run, tmp_path, opt)
    state = torch.load(tmp_path / "experiments/whole/training_states/6.state")
    assert 0 < state["diffusion"]["p"] <= 1
    assert len(state["diffusion"]["slots"]) == SLOTS
    text = "".join(path.read_text() for path in (tmp_path / "experiments/whole").glob("*.log"))
    assert "diffusion_p: " in text


def _adversarial(model_type, folder):
    """A model that trains discriminators, and a batch for it."""
    diffusion = {"p": 1.0, "beta_end": 0.5, "interval": 1}
    if model_type == "AdversarialReferenceAdaptationModel":
        opt = adapting_options(adapting_files(folder), model_type, diffusion_opt=diffusion, **GAN)
        return build_model(opt), adapting_batch(folder)
    generator = torch.Generator().manual_seed(0)
    batch = {"lq": torch.rand(3, 3, 8, 8, generator=generator), "gt": torch.rand(3, 3, 32, 32, generator=generator)}
    if model_type == "CoLearningModel":
        return build(CASES["ResidualShiftUNet"], folder, 0, diffusion_opt=diffusion), batch
    opt = basicsr_options(model_type)
    opt["train"]["diffusion_opt"] = diffusion
    return build_model(opt), batch


def _adversarial_models():
    ours = (name for name, cls in MODEL_REGISTRY if cls.__module__.startswith("lightbsr_model."))  # tests add others
    return sorted(name for name in ours if issubclass(MODEL_REGISTRY.get(name), AdversarialModel))


def test_the_adversarial_models_are_these():
    assert _adversarial_models() == ["AdversarialReferenceAdaptationModel", "BlindGANModel", "CoLearningModel"]


@pytest.mark.parametrize("model_type", _adversarial_models())
def test_every_discriminator_of_ours_sees_diffused_images(model_type, tmp_path):
    model, batch = _adversarial(model_type, tmp_path)
    given, seen, figures = {}, {}, {}
    for name in model.discriminators:
        net = getattr(model, f"net_{name}")
        net.register_forward_pre_hook(lambda _net, inputs, name=name: given.setdefault(name, []).append(inputs[0]))
    diffusions = diffused_discriminators(model)
    for diffusion in diffusions:
        net = getattr(model, f"net_{diffusion.name}")
        net.register_forward_pre_hook(
            lambda _net, inputs, diffusion=diffusion: seen.setdefault(diffusion.name, []).append(
                (inputs[0], diffusion._is_real)
            )
        )
        diffusion.begin(1, 0)
    model.update_learning_rate(1)
    model.feed_data(batch)
    model.optimize_parameters(1)
    for diffusion in diffusions:
        figures.update(diffusion.end(1, len(batch["lq"])))
    assert set(seen) == set(given) == set(model.discriminators)
    for name, images in seen.items():
        assert len(images) == 3
        assert [is_real for _, is_real in images] == [False, True, False]  # the network's step, real, restored
        assert all(not torch.equal(before, after) for before, (after, _) in zip(given[name], images, strict=True))
        assert {f"diffusion{name[1:]}_p", f"diffusion{name[1:]}_t"} <= set(figures)
    noise = {name: given[name][1] - images[1][0] for name, images in seen.items()}
    assert len({value.flatten()[0].item() for value in noise.values()}) == len(noise)


def test_processes_diffuse_what_one_would():
    def seen(rank, ranks, images):
        net = torch.nn.Identity()
        model = type("Model", (), {"net_d": net, "device": torch.device("cpu"), "gt": images})()
        model.opt = {"manual_seed": 0, "rank": rank, "world_size": ranks, "train": {"gan_opt": {"gan_type": "vanilla"}}}
        diffused = DiffusedDiscriminator(model, {"p": 1.0})
        diffused.begin(3, 0)
        return net(images)

    images = torch.rand(6, 3, 8, 8)
    whole = seen(0, 1, images)
    for rank in (0, 1):
        torch.testing.assert_close(seen(rank, 2, images[rank::2]), whole[rank::2], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"p": 2}, "train:diffusion_opt:p: expected adaptive or a number from 0 to 1, got 2"),
        ({"t_max": 3}, "train:diffusion_opt:t_max: expected at least t_min = 5, got 3"),
        ({"t_maxx": 30}, "train:diffusion_opt:t_maxx: "),
        ({"interval": 0}, "train:diffusion_opt:interval: expected an integer >= 1, got 0"),
    ],
)
def test_what_does_not_fit_is_reported(image_folder, changes, problem):
    opt = _options(image_folder)
    assert problems_of(opt) == []
    opt["train"]["diffusion_opt"].update(changes)
    assert any(problem in line for line in problems_of(opt)), problems_of(opt)


def test_a_model_whose_discriminators_are_left_out(tmp_path):
    opt = options_of(CASES["ResidualShiftUNet"], tmp_path, 0)
    opt["train"].update(gan_opt=None, gan_lr_opt=None)
    assert any("train:diffusion_opt: no loss asks a discriminator" in line for line in problems_of(opt))
    opt["train"]["gan_lr_opt"] = {"type": "GANLoss", "gan_type": "wgan", "real_label_val": 1.0, "fake_label_val": 0.0}
    assert any("train:diffusion_opt:p: wgan's judgements" in line for line in problems_of(opt))


def test_wgan_needs_a_fixed_strength(image_folder):
    opt = _options(image_folder, p="adaptive")
    opt["train"]["gan_opt"]["gan_type"] = "wgan"
    assert any("train:diffusion_opt:p: wgan's judgements have no sign" in line for line in problems_of(opt))
    opt["train"]["diffusion_opt"]["p"] = 0.3
    assert problems_of(opt) == []


def test_a_model_without_a_discriminator(run, image_folder):
    opt = plain_training(image_folder, diffusion_opt={})
    assert any("train:diffusion_opt: SRModel has no discriminator" in line for line in problems_of(opt))
    model = type("SRModel", (), {})()
    model.opt = {"train": {}}
    with pytest.raises(OptionError, match="no discriminator"):
        DiffusedDiscriminator(model, {})


def test_the_declared_defaults_are_the_written_ones():
    assert diffusion_options({}) == DiffusionOptions(
        p="adaptive",
        target=0.6,
        interval=4,
        kimg=100.0,
        t_min=5,
        t_max=100,
        beta_end=0.01,
        noise_std=0.2,
        noisy_slots=None,
    )
    assert yaml.safe_load("p: adaptive") == {"p": diffusion_options({}).p}
