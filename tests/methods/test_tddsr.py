"""The networks after TDDSR: what they compute, in any number of steps, whole and in tiles."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lightbsr_arch import Upscaler, infer_options
from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.preparing import tiled_network
from lightbsr_arch.inference.restoring import restore
from lightbsr_arch.inference.sampling_network import SamplingNetwork
from lightbsr_arch.inference.source import Source
from lightbsr_arch.layers.image import Place
from lightbsr_arch.layers.noise_field import normal_noise
from lightbsr_arch.methods.tddsr import DiffusionDownsampler, ResidualShiftUNet
from lightbsr_model.evaluation.comparison.cost import measure_cost
from lightbsr_model.evaluation.comparison.methods import NetworkRestoration
from lightbsr_model.evaluation.model_entries import ModelEntry

from support.helpers import run_command
from support.students import tiny

NAME = "ResidualShiftUNet"
CPU = torch.device("cpu")


def _tiny(scale=4, **arguments):
    return tiny(NAME, scale, **{"steps": 5, **arguments})


@pytest.fixture(scope="module")
def photograph():
    import skimage.data

    return (skimage.data.chelsea()[60:160, 60:200] / np.float32(255)).astype(np.float32)


def _restored(tiled, pixels, tile):
    canvas = np.empty((pixels.shape[0] * tiled.scale, pixels.shape[1] * tiled.scale, 3), np.float32)
    with torch.inference_mode():
        restore(tiled, pixels, canvas, tile)
    return canvas


def _psnr(a, b):
    return -10 * np.log10(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))


def test_sizes_of_the_recipes():
    assert sum(value.numel() for value in ResidualShiftUNet().parameters()) == 17_548_080
    small = ResidualShiftUNet(num_feat=24, mult=[1, 2], num_block=1)
    assert sum(value.numel() for value in small.parameters()) == 408_888


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_new_network_enlarges_in_any_number_of_steps(steps):
    net = ResidualShiftUNet(4, 8, [1, 2], 1, steps=5, sample_steps=steps).eval()
    lq = torch.rand(2, 3, 9, 6)
    expected = F.interpolate(lq, scale_factor=4, mode="bicubic", align_corners=False)
    with torch.no_grad():
        torch.testing.assert_close(net(lq), expected, rtol=0, atol=1e-6)


def test_all_steps_are_those_written_out():
    net = _tiny(kappa=0.8, power=0.5, min_noise=0.05)
    lq, noise = torch.rand(2, 3, 6, 8), torch.randn(2, 3, 24, 32)
    first = min(0.05 / 0.8, 0.05)
    etas = [(first * (0.99 / first) ** ((t / 4) ** 0.5)) ** 2 for t in range(5)]
    y = 2 * F.interpolate(lq, scale_factor=4, mode="bicubic", align_corners=False) - 1
    x = y + 0.8 * etas[4] ** 0.5 * noise
    with torch.no_grad():
        for t in (4, 3, 2, 1, 0):
            scaled = F.pixel_unshuffle(x / (1 + 3 * 0.8 * etas[t] ** 0.5), 4)
            rest = net.unet(torch.cat([scaled, 2 * lq - 1], dim=1), torch.full((2,), t))
            x0 = y + F.pixel_shuffle(rest, 4)
            if t == 4:
                torch.testing.assert_close(net(lq, noise), (x0 + 1) / 2, rtol=0, atol=1e-5)
            if t:
                root = (etas[t - 1] * etas[t]) ** 0.5
                m, j = (etas[t - 1] / etas[t]) ** 0.5, etas[t - 1] - root
                x = (1 - m - j) * x0 + m * x + j * y
        torch.testing.assert_close(net.sample(lq, noise), (x0 + 1) / 2, rtol=0, atol=1e-4)
        net.set_sampling(steps=5)
        torch.testing.assert_close(net(lq, noise), (x0 + 1) / 2, rtol=0, atol=1e-4)


def test_the_ancestral_sampler_adds_noise_of_its_own_at_each_step():
    net = _tiny()
    lq = torch.rand(1, 3, 5, 5)
    draws = torch.cat([net.noise_for(lq, draw=number) for number in range(6)])
    assert torch.corrcoef(draws.flatten(1)).fill_diagonal_(0).abs().max() < 0.12
    assert torch.equal(draws[2], normal_noise(torch.tensor([0]), range(6, 9), 20, 20)[0])
    noises = [draws[t + 1 : t + 2] for t in range(5)]
    y = net.enlarge(lq)
    with torch.no_grad():
        expected = net.process.sample(lambda x, t: net.predict(x, t, lq), y, draws[:1], noises=noises)
        torch.testing.assert_close(net.sample(lq, kind="ancestral"), (expected + 1) / 2)
    with pytest.raises(ValueError, match="kind: expected deterministic or ancestral, got 'ddim'"):
        net.sample(lq, kind="ddim")


@pytest.mark.parametrize("steps", [1, 4])
def test_it_runs_as_often_as_it_is_asked(steps):
    net = _tiny(sample_steps=steps)
    calls = []
    net.unet.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        net(torch.rand(1, 3, 4, 4))
    assert len(calls) == steps


def test_the_schedule_is_read_off_the_state_dict():
    arguments = {"steps": 7, "kappa": 2.0, "power": 1 / 3, "min_noise": 0.0123456789, "mult": [1, 3, 2], "num_block": 2}
    net = ResidualShiftUNet(3, 16, **arguments)
    found = infer_options(net.state_dict())
    assert found == {"type": NAME, **net.options}
    assert (found["power"], found["min_noise"]) == (0.333333, 0.0123457)
    again = ResidualShiftUNet(**{key: value for key, value in found.items() if key != "type"})
    assert again.process == net.process
    with pytest.raises(ValueError, match="the weights of a DiffusionDownsampler, which makes LR images"):
        infer_options(DiffusionDownsampler(num_feat=8).state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 5}, "scale: expected 2, 3 or 4, got 5"),
        ({"num_feat": 12}, "num_feat: expected a multiple of 8, got 12"),
        ({"mult": []}, "num_block and mult: expected numbers >= 1"),
        ({"steps": 1}, "steps: expected at least 2, got 1"),
        ({"kappa": 0}, "kappa: expected a number above 0, got 0"),
        ({"sample_steps": 16}, "steps: this network's process has 15: expected 1 to that, got 16"),
        ({"seed": -1}, r"seed: expected an integer >= 0 below 2\^63, got -1"),
    ],
)
def test_values_that_do_not_exist_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResidualShiftUNet(**{"num_feat": 8, **arguments})


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_new_downsampler_is_antialiased_bicubic(scale):
    net = DiffusionDownsampler(scale, 8, [1, 2], 1)
    gt = torch.rand(2, 3, 7 * scale, 10 * scale, requires_grad=True)
    expected = F.interpolate(gt, (7, 10), mode="bicubic", align_corners=False, antialias=True)
    small = net(gt, torch.randn(2, 3, 7, 10))
    torch.testing.assert_close(small, expected, rtol=0, atol=1e-6)
    ours, torchs = (torch.autograd.grad((each**2).sum(), gt)[0] for each in (small, expected))
    torch.testing.assert_close(ours, torchs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 3])
def test_tiles_are_the_whole_image_where_its_statistics_are_known(photograph, steps):
    pixels = photograph.copy()
    pixels[:, :70] = 0.5  # the statistics of tiles are others than those of the whole
    net = tiled_network(_tiny(sample_steps=steps))
    assert isinstance(net, SamplingNetwork)
    whole = _restored(net, pixels, None)
    tiles = _restored(net, pixels, 120)  # 100 x 140 pixels are fewer than 120 x 120
    assert np.abs(tiles - whole).max() < 2e-4
    # By themselves, with the noise of a corner and statistics of their own, they are other functions.
    net.share_of = lambda shared, place: None
    assert _psnr(_restored(net, pixels, 120), whole) < 45


def test_tiles_agree_where_they_overlap_whatever_the_statistics(photograph):
    pixels = np.concatenate([photograph, photograph[::-1]], axis=1)
    net = tiled_network(_tiny(sample_steps=3))
    source = Source(pixels, CPU)

    def difference(shared):
        """PSNR between 16 columns of two tiles, 40 LR pixels away from the edges of both."""
        parts = []
        for left, at in ((0, 56), (16, 40)):
            place = Place(0, left, *pixels.shape[:2])
            tile = net(source.piece(0, 100, left, left + 96), net.share_of(shared, place))
            parts.append(tile[..., 4 * at : 4 * at + 64].numpy())
        return _psnr(*parts)

    with torch.inference_mode():
        assert difference(net.look_at(source, 96)) > 80
        assert difference([]) < 55


def test_no_more_pixels_than_a_tiles_are_computed_at_a_time():
    pixels = np.random.default_rng(0).random((100, 200, 3), dtype=np.float32)
    net = tiled_network(_tiny(sample_steps=2))
    seen = []
    net.net.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 0].numel()))
    _restored(net, pixels, 96)
    assert max(seen) <= 128 * 128  # a patch of the sample, which is larger than the smallest tile
    assert len(seen) == 2 * (1 + 2 * 4)  # in each step: the sample, and 2 x 4 tiles


def test_steps_and_seed_of_an_upscaler(photograph):
    net, pixels = _tiny(), photograph[:20, :24]
    one = Upscaler(net, device="cpu").upscale(pixels)
    assert (net.sample_steps, net.seed) == (1, 0)
    again = Upscaler(net, device="cpu", steps=1, seed=0).upscale(pixels)
    np.testing.assert_array_equal(again, one)
    expected = copy.copy(net)
    expected.set_sampling(steps=4, seed=9)
    lq = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    with torch.no_grad():
        four = expected(lq)[0].permute(1, 2, 0).clamp(0, 1).numpy()
    np.testing.assert_allclose(Upscaler(net, device="cpu", steps=4, seed=9).upscale(pixels), four, atol=1e-5)
    assert np.abs(four - one).max() > 0.05
    assert (net.sample_steps, net.seed) == (1, 0)
    for options, message in (
        ({"steps": 6}, "steps: this network's process has 5: expected 1 to that, got 6"),
        ({"seed": -1}, "seed: expected an integer >= 0"),
    ):
        with pytest.raises(OptionError, match=message):
            Upscaler(net, device="cpu", **options)
    with pytest.raises(
        OptionError, match="steps and seed: DASR restores in one pass and without noise; leave out them"
    ):
        Upscaler(tiny("DASR"), device="cpu", steps=1, seed=2)


def test_samples_that_are_not_finite_are_done_again_in_fp32(photograph):
    net, pixels = _tiny(sample_steps=3), photograph[:10, :12]
    with torch.no_grad():
        net.unet.head.weight.mul_(1e6)
    expected = Upscaler(net, device="cpu").upscale(pixels)
    with pytest.warns(UserWarning, match="fp16 gave values that are not finite; the image is done again in fp32"):
        found = Upscaler(net, device="cpu", precision="fp16").upscale(pixels)
    np.testing.assert_array_equal(found, expected)


def test_the_command_takes_steps_and_seed(tmp_path, capfd):
    import cv2

    net = _tiny()
    torch.save({"params": net.state_dict()}, tmp_path / "net.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels[:, :, ::-1])
    command = ("infer", tmp_path / "a.png", "-m", tmp_path / "net.pth", "--device", "cpu", "--overwrite")
    results = []
    for number, more in enumerate((("--steps", "5", "--seed", "3"), ("--steps", "5", "--seed", "3"), ())):
        status, told = run_command(capfd, *command, "-o", tmp_path / f"{number}.png", *more)
        assert status == 0, told
        results.append(cv2.imread(str(tmp_path / f"{number}.png")))
    np.testing.assert_array_equal(results[0], results[1])
    expected = Upscaler(net, device="cpu", steps=5, seed=3).upscale(pixels)
    np.testing.assert_array_equal(results[0][:, :, ::-1], expected)
    assert (results[2] != results[0]).any()
    status, told = run_command(capfd, *command, "-o", tmp_path / "b.png", "--steps", "6")
    assert (status, "steps: this network's process has 5: expected 1 to that, got 6" in told) == (2, True)
    status, told = run_command(capfd, "info", tmp_path / "net.pth")
    assert "network: ResidualShiftUNet, x4, 8 features, 1 blocks each, 5 steps" in told


def test_comparisons_say_how_often_it_runs(tmp_path):
    torch.save({"params": _tiny().state_dict()}, tmp_path / "net.pth")
    costs = {}
    for steps in (1, 5):
        entry = ModelEntry("a", {"sample_steps": steps}, str(tmp_path / "net.pth"))
        costs[steps] = measure_cost(NetworkRestoration(entry, 4, CPU), (8, 12), 4, CPU)
    assert (costs[1].passes, costs[5].passes) == (1, 5)
    assert costs[5].gmacs == pytest.approx(5 * costs[1].gmacs)
    assert costs[1].parameters == costs[5].parameters == sum(value.numel() for value in _tiny().parameters())
