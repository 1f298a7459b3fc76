"""Adapting a network, and the guard that decides whether it goes out."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods import registry
from lightbsr_arch.methods.lway import LRReconstructor
from lightbsr_model.adaptation import guard
from lightbsr_model.adaptation.adapting import Adapting, Bench, GuardedAdaptation, check_network
from lightbsr_model.adaptation.guard import Figures, judge
from lightbsr_model.adaptation.kernel_fitting import fit_kernel
from lightbsr_model.adaptation.references import References
from lightbsr_model.adaptation.targets import TargetImages
from lightbsr_model.evaluation.comparison.methods import NetworkRestoration
from lightbsr_model.evaluation.model_entries import ModelEntry
from lightbsr_model.losses.wavelet import HighFrequencyWeightedL1Loss
from lightbsr_model.methods import lway, rdsr
from lightbsr_model.training.adaptation import build_adaptation

from support.adapting import TrueDegrader, enlarging_student, low, photo, reconstructor_file, sharp_images
from support.method_cases import ALL

SIGMA = 3.0
METHODS = {"references": rdsr.REFERENCES, "fitted": rdsr.FITTED, "lway": lway.LWAY}


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    return References(sharp_images(tmp_path_factory.mktemp("references")), 4)


@pytest.fixture
def truth(monkeypatch):
    """Every degradation that is learnt is the true one."""
    monkeypatch.setattr(registry, "degrader", lambda name: lambda *_, **__: TrueDegrader(SIGMA))


def _targets():
    return TargetImages([("astronaut", low(photo(), SIGMA))])


def _adapting(recipe, references, steps=4, interval=2, lr=1e-3, seed=0):
    return Adapting(recipe, enlarging_student(), _targets(), references, steps, lr, seed, interval)


@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_adaptation_goes_on_as_if_it_had_not_been(truth, references, name, tmp_path):
    whole = _adapting(METHODS[name], references)
    states = []
    expected = whole.run(save=lambda state: states.append(torch.save(state, tmp_path / f"{len(states)}.pt")))
    assert len(states) == 2
    resumed = _adapting(METHODS[name], references)
    resumed.load(torch.load(tmp_path / "0.pt", weights_only=True))
    assert resumed.state.iteration == 2
    outcome = resumed.run()
    for key, value in whole.net.state_dict().items():
        assert torch.equal(resumed.net.state_dict()[key], value), key
    assert outcome.record == expected.record
    assert outcome.verdict == expected.verdict
    assert [entry["iteration"] for entry in outcome.record] == [2, 4]


@pytest.mark.parametrize("name", ["references", "lway"])
def test_what_restores_learns_and_the_seed_decides(truth, references, name):
    first, again, other = (_adapting(METHODS[name], references, steps=2, seed=seed) for seed in (0, 0, 1))
    for one in (first, again, other):
        one.run()
    changed = {
        key for key, value in first.net.state_dict().items() if not torch.equal(value, first.start.state_dict()[key])
    }
    assert changed
    assert all(key.startswith("sr.") for key in changed)
    assert all(torch.equal(value, again.net.state_dict()[key]) for key, value in first.net.state_dict().items())
    assert any(not torch.equal(value, other.net.state_dict()[key]) for key, value in first.net.state_dict().items())


def test_references_teach_and_the_guard_says_so(truth, references, monkeypatch):
    dark = enlarging_student()
    with torch.no_grad():
        dark.sr.last.bias -= 0.02
    monkeypatch.setattr(guard, "MOST_NIQE", 2)  # a small network's images are no photographs
    adapting = Adapting(rdsr.REFERENCES, dark, _targets(), references, 12, 1e-3, 0, 4)
    outcome = adapting.run()
    assert outcome.verdict.better, outcome.verdict.reason
    assert outcome.after.psnr["fitted"] > outcome.before.psnr["fitted"] + 0.05
    assert outcome.iteration == max(outcome.record, key=lambda entry: entry["gains"]["fitted"])["iteration"]
    # The truth, which the adaptation has not seen.
    gt = torch.from_numpy(photo().transpose(2, 0, 1).copy())[None].float() / 255
    lq = _targets().parts[0].lq()
    with torch.no_grad():
        before, after = ((net(lq) - gt).square().mean() for net in (adapting.start, outcome.net))
    assert after < before


@pytest.mark.parametrize(("name", "own", "other"), [
    ("references", "reconstructor", "fitted"), ("fitted", "fitted", "reconstructor"), ("lway", "reconstructor", "fitted"),
])  # fmt: skip
def test_what_taught_does_not_judge(monkeypatch, references, name, own, other):
    monkeypatch.setattr(registry, "degrader", lambda name: lambda *_, **__: TrueDegrader(3.0 if name == own else 0.5))
    adapting = _adapting(METHODS[name], references, steps=4, interval=1)
    outcome = adapting.run()
    gains = [entry["gains"] for entry in outcome.record]
    best = max(range(4), key=lambda step: gains[step][other])
    assert outcome.iteration == best + 1
    assert adapting.state.best_gain == gains[best][other] != gains[best][own]
    # Nor do the crops that chose the weights.
    judged = outcome.verdict.gains[other]
    assert judged == outcome.after.psnr[other] - outcome.before.psnr[other]
    assert judged != pytest.approx(gains[best][other], abs=1e-4)
    assert f"gains {judged:+.2f} dB" in outcome.verdict.reason


def test_borders_neither_teach_nor_judge(truth, references):
    adapting = _adapting(rdsr.REFERENCES, references, lr=0.0)
    adapting.run()

    class Spoiling(nn.Module):
        """The network, with nonsense at the borders."""

        scale, encode = 4, adapting.net.encode

        def restore(self, lq, code):
            restored, inner = (
                torch.rand(*lq.shape[:2], *(4 * side for side in lq.shape[2:])),
                adapting.net.restore(lq, code),
            )
            restored[:, :, 16:-16, 16:-16] = inner[:, :, 16:-16, 16:-16]
            return restored

        def forward(self, lq):
            return self.restore(lq, self.encode(lq))

    judge = adapting.judge
    assert judge.choosing_psnr(Spoiling()) == judge.choosing_psnr(adapting.net)
    spoilt, good = (judge.figures(net, judge.restore(adapting.net)) for net in (Spoiling(), adapting.net))
    assert spoilt.psnr == good.psnr
    losses = []
    for net in (Spoiling(), adapting.net):
        generator = torch.Generator().manual_seed(0)
        bench = Bench(
            net, adapting.start, adapting.targets, references, TrueDegrader(SIGMA), generator, adapting.device
        )
        losses.append(rdsr.reference_losses(bench)["l_pix"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_what_is_worse_stays_inside(truth, references):
    outcome = _adapting(rdsr.REFERENCES, references, steps=2, interval=1, lr=1.0).run()
    assert not outcome.verdict.better
    assert outcome.verdict.reason.startswith("not better, nothing written: on held-out images it gains -")
    start = enlarging_student().state_dict()
    assert all(torch.equal(value, start[key]) for key, value in outcome.net.state_dict().items())


def test_the_cycle_compares_the_lr_images_with_themselves(truth, references):
    adapting = _adapting(lway.LWAY, references)
    crops = adapting.targets.crops(2, torch.Generator().manual_seed(0))

    class Bench:
        net, device, generator = adapting.net, torch.device("cpu"), None
        degrader = TrueDegrader(SIGMA)
        targets = type("Targets", (), {"crops": staticmethod(lambda *_: crops)})

    (loss,) = lway.cycle_losses(Bench()).values()
    with torch.no_grad():
        again = TrueDegrader(SIGMA).shrink(adapting.net(crops.lq), crops.images)
    assert loss.item() == pytest.approx(HighFrequencyWeightedL1Loss()(again, crops.lq, crops.detail).item(), rel=1e-5)
    loss.backward()
    assert adapting.net.sr.head.weight.grad.abs().sum() > 0


BEFORE = Figures({"own": 25.0, "other": 26.0}, residual=1.0, niqe=5.0)
BETTER = Figures({"own": 26.0, "other": 26.2}, residual=1.1, niqe=5.4, change=3.0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, r"^better: on held-out images it gains \+0\.20 dB\.$"),
        ({"psnr": {"own": 27.0, "other": 26.04}}, r"gains \+0\.04 dB, less than 0\.05 dB"),
        ({"psnr": {"own": 24.0, "other": 26.2}}, r"^better"),
        ({"change": 8.1}, r"change by 8\.1 grey levels on average, more than 8"),
        ({"niqe": 5.6}, r"NIQE rises from 5\.00 to 5\.60, by more than 10 %"),
        ({"niqe": None}, r"^better"),
        ({"residual": 9.0}, r"^better"),
        ({"residual": 9.1}, r"differ from the given ones by 9\.1 grey levels, more than 9\.0"),
    ],
)
def test_the_guard_judges_by_what_did_not_teach(changes, reason):
    verdict = judge(BEFORE, replace(BETTER, **changes), ["other"], noise=2.0)
    assert verdict.reason.startswith("better") == verdict.better
    assert re.search(reason, verdict.reason)


INNER = (slice(None), slice(None), slice(6, -6), slice(6, -6))


def test_a_residual_that_was_there_before_is_not_held_against_it():
    before, after = replace(BEFORE, residual=12.0), replace(BETTER, residual=11.0)
    assert judge(before, after, ["other"], noise=2.0).better
    assert not judge(before, replace(after, residual=12.1), ["other"], noise=2.0).better


@pytest.mark.parametrize("sigma", [1.2, 3.0])
def test_a_kernel_is_fitted(sigma):
    sharp = torch.from_numpy(photo(size=400, at=0).transpose(2, 0, 1).copy())[None].float() / 255
    lq = TrueDegrader(sigma).shrink(sharp, torch.zeros(1))
    kernel = fit_kernel([sharp], [lq], 4, 35, torch.Generator().manual_seed(0))
    fitted = rdsr.FittedDegrader(kernel, 4)
    again = fitted.shrink(sharp, torch.zeros(1))
    assert again.shape == lq.shape
    assert 255 * (again - lq)[INNER].abs().mean() < 0.5
    assert kernel.sum().item() == pytest.approx(1, abs=1e-5)
    axis = torch.arange(35.0)
    assert (kernel.sum(dim=0) * axis).sum().item() == pytest.approx(17.5, abs=0.1)


def test_what_a_kernel_is_fitted_to_shares_no_noise():
    """Else noise that a network keeps looks like a sharp kernel."""

    class Repeating(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, lq):
            return lq.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)

    grey = 128 + 10 * np.random.default_rng(0).standard_normal((96, 96, 3))
    for is_noisy in (True, False):
        targets = TargetImages([("x", grey.round().clip(0, 255).astype(np.uint8))])
        targets.noise = [10.0 if is_noisy else 0.0]
        (restored,), (seen,) = rdsr._restored(Repeating(), targets, torch.Generator().manual_seed(0))
        together = torch.stack([restored[:, :, ::4, ::4].flatten(), seen.flatten()])
        correlation = torch.corrcoef(together)[0, 1].item()
        assert abs(correlation) < 0.05 if is_noisy else correlation > 0.99


def test_the_published_downsampler_learns():
    sharp = torch.from_numpy(photo(size=240).transpose(2, 0, 1).copy())[None].float() / 255
    lq = TrueDegrader(1.0, 2).shrink(sharp, torch.zeros(1))
    before, after = (
        rdsr.FittedDegrader(rdsr.fit_downsampler([sharp], [lq], 2, 0, steps).kernel(), 2).shrink(sharp, torch.zeros(1))
        for steps in (0, 25)
    )
    assert (after - lq)[INNER].abs().mean() < 0.9 * (before - lq)[INNER].abs().mean()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_fitted_kernel_lies_where_the_image_is(scale):
    size = rdsr._SIZE_OF[scale]
    kernel = torch.zeros(size, size)
    first = (size - scale + 1) // 2
    kernel[first : first + scale, first : first + scale] = 1 / scale**2
    hr = torch.rand(1, 3, 60 * scale, 64 * scale)
    shrunk = rdsr.FittedDegrader(kernel, scale).shrink(hr, torch.zeros(1))
    mean = torch.nn.functional.avg_pool2d(hr, scale)
    assert shrunk.shape == mean.shape
    shifts = [torch.roll(mean, (0, dx), (2, 3)) for dx in (-1, 0, 1)]
    errors = [(shrunk - one)[:, :, 8:-8, 8:-8].abs().mean() for one in shifts]
    assert errors[1] == min(errors)


def test_a_reconstructor_degrades_under_the_code_of_the_image(tmp_path):
    net = LRReconstructor(4, 8, 1, 4).eval()
    for value in net.parameters():
        nn.init.normal_(value, std=0.4)
    targets = TargetImages([("one", low(photo(), 1.0)), ("other", low(photo("coffee"), 4.0))], count=2)
    degrader = lway.ReconstructorDegrader(net, targets, torch.device("cpu"))
    hr = torch.rand(2, 3, 40, 48)
    with torch.no_grad():
        codes = torch.cat([net.encode(part.lq()) for part in targets.parts])
        expected = net.reconstruct(hr, codes[[1, 0]])
    shrunk = degrader.shrink(hr, torch.tensor([1, 0]))
    torch.testing.assert_close(shrunk, expected)
    assert (shrunk - degrader.shrink(hr, torch.tensor([0, 1]))).abs().max() > 0.01


@pytest.mark.parametrize("case", [case for case in ALL if case.is_student], ids=str)
def test_any_network_with_an_encoder_can_be_adapted(case):
    net = case.build()
    if case.code and case.represents:
        check_network(net)
        learns = {id(value) for value in net.sr.parameters()}
        lq = torch.rand(1, 3, 12, 12)
        net.eval().requires_grad_(False)
        net.sr.requires_grad_(True)
        net.restore(lq, net.encode(lq)).sum().backward()
        assert learns == {id(value) for value in net.parameters() if value.requires_grad}
    else:
        with pytest.raises(OptionError, match=f"{case.network} has no encoder"):
            check_network(net)


def test_noise_beyond_what_is_known_is_refused(references, tmp_path):
    noisy = TargetImages([("night", low(photo(), 1.0, noise=40))])
    adaptation = GuardedAdaptation(rdsr.REFERENCES, reconstructor=reconstructor_file(tmp_path))
    adaptation._opened[4] = references
    with pytest.raises(OptionError, match=r"night: has noise of about \d\d grey levels; .* of at most 25"):
        adaptation.begin(enlarging_student(), noisy)


def test_a_comparison_adapts_to_each_image(truth, tmp_path, monkeypatch):
    monkeypatch.setattr("lightbsr_model.adaptation.adapting.judge", lambda *_: guard.Verdict(True, "better"))
    path = tmp_path / "net.pth"
    torch.save({"params": enlarging_student().state_dict()}, path)
    adapt = {"type": "references", "references": sharp_images(tmp_path), "iterations": 1, "lr": 1e-2}
    restored = {}
    for name, given in (("plain", None), ("adapted", adapt)):
        method = NetworkRestoration(ModelEntry(name, path=str(path), adapt=given), 4, torch.device("cpu"))
        restored[name] = method.restore({"lq": _targets().parts[0].lq()[0]}, {}), method.fingerprint
    net = build_adaptation(adapt)(enlarging_student(), _targets().parts[0].lq())
    with torch.no_grad():
        expected = net(_targets().parts[0].lq())[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    assert np.abs(restored["adapted"][0].astype(int) - expected).max() <= 1
    assert np.abs(restored["plain"][0].astype(int) - expected).max() > 1
    assert restored["plain"][1] != restored["adapted"][1]


def test_option_files_and_comparisons_make_it_by_name(truth, tmp_path):
    opt = {"type": "lway", "references": sharp_images(tmp_path), "iterations": 1}
    net = enlarging_student()
    adapted = build_adaptation(opt)(net, _targets().parts[0].lq())
    assert adapted is not net
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in adapted.state_dict().items())
    with pytest.raises(OptionError, match=r"lway does not take these arguments: .*itrations"):
        build_adaptation({"type": "lway", "itrations": 1})
