"""Any network through ``Upscaler``, whole and in tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightbsr_arch import LightBSR, LightBSRTeacher, Upscaler, convert_published_state_dict, infer_options
from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.any_network import AnyNetwork, reflected
from lightbsr_arch.inference.averages import SharedAverages
from lightbsr_arch.inference.preparing import tiled_network
from lightbsr_arch.inference.restoring import restore
from lightbsr_arch.inference.source import UPRIGHT, Orientation, Source
from lightbsr_arch.inference.traits import find_traits
from lightbsr_arch.methods.kdsr import KDSRTeacher
from lightbsr_arch.methods.registry import network

from support.helpers import TINY
from support.method_cases import CASES
from support.published import published_state_dict
from support.students import REPRESENTING, STUDENTS, tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photograph():
    import skimage.data

    return (skimage.data.chelsea()[60:200, 60:260] / np.float32(255)).astype(np.float32)


def _as_batch(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]


def _restored(tiled, pixels, tile, ways=UPRIGHT):
    canvas = np.empty((pixels.shape[0] * tiled.scale, pixels.shape[1] * tiled.scale, 3), np.float32)
    with torch.inference_mode():
        restore(tiled, pixels, canvas, tile, ways)
    return canvas


def _psnr(a, b):
    return -10 * np.log10(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))


@pytest.mark.parametrize(
    ("name", "gain", "key"),
    [
        ("student", 1.0, "student_x4_15x22"),
        ("dasr", 0.7, "dasr_x4"),
        ("kdsr_student", 0.7, "kdsr_student_x4"),
        ("cdcl", 1.0, "cdcl_x4"),
        ("dssr", 0.7, "x4_17x31"),
    ],
)
def test_golden_outputs_through_the_upscaler(golden, name, gain, key):
    """As floats; values outside [0, 1], which an image cannot have, are clipped."""
    state_dict = convert_published_state_dict(published_state_dict(name, gain))
    options = infer_options(state_dict)
    net = network(options.pop("type"))(**options)
    net.load_state_dict(state_dict)
    data = golden(name.partition("_")[0])
    lq, sr = data[f"{key}_lq"], data[f"{key}_sr"]
    result = Upscaler(net, device="cpu").upscale(lq)
    assert (result - sr.clamp(0, 1)).abs().max() <= 2e-4 * sr.std()


@pytest.mark.parametrize("name", STUDENTS)
def test_a_whole_image_is_what_the_network_gives(name, photograph):
    net = tiny(name)
    pixels = photograph[:23, :31]
    with torch.no_grad():
        expected = net(_as_batch(pixels))[0].permute(1, 2, 0).clamp(0, 1).numpy()
    before = {key: value.clone() for key, value in net.train().state_dict().items()}
    result = Upscaler(net, device="cpu").upscale(pixels)
    np.testing.assert_allclose(result, expected, atol=2e-5)
    # The network itself is neither changed nor put into another mode.
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", [name for name in STUDENTS if CASES[name].code and not CASES[name].sees_by_tiles])
def test_tiles_share_the_averages_of_the_whole_image(name, photograph):
    """Where an image is no larger than a tile has pixels, all averages are exact; then only the far field differs."""
    net = AnyNetwork(tiny(name))
    # Half of it flat: the averages of tiles are others than those of the whole.
    pixels = photograph.copy()
    pixels[:, :100] = 0.5
    whole = _restored(net, pixels, None)
    shared = [_restored(net, pixels, tile) for tile in (168, 96)]
    net.look_at = lambda *_: []
    own = [_restored(net, pixels, tile) for tile in (168, 96)]
    assert np.abs(shared[0] - whole).max() < 2e-6
    assert np.abs(own[0] - whole).max() > 2e-5
    # A sample of patches stands for averages that depend on others; still closer than each tile's own.
    assert _psnr(shared[1], whole) > max(80, _psnr(own[1], whole) + 2)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", [name for name in STUDENTS if not CASES[name].code and not CASES[name].sees_by_tiles])
def test_tiles_of_a_network_without_a_code_know_their_place(name, scale, photograph):
    """In every orientation; by themselves, tiles would be other functions than the whole image."""
    net = tiled_network(tiny(name, scale))
    for way in (Orientation(0, False), Orientation(1, False), Orientation(3, True)):
        whole, tiles = (_restored(net, photograph, tile, (way,)) for tile in (None, 96))
        assert np.abs(tiles - whole).max() < 5e-6
    lost = AnyNetwork(tiny(name, scale))
    assert np.abs(_restored(lost, photograph, 96) - _restored(lost, photograph, None)).max() > 1e-4


@pytest.mark.parametrize("name", ["DASR", "KDSR"])
def test_a_code_that_is_an_average_is_exact_in_images_of_any_size(name, photograph):
    net = AnyNetwork(tiny(name))
    whole = _restored(net, photograph, None)
    assert np.abs(_restored(net, photograph, 96) - whole).max() < 5e-6


@pytest.mark.parametrize("name", REPRESENTING)
@pytest.mark.parametrize("size", [(1, 1), (33, 140), (129, 61)])
def test_the_representation_is_that_of_the_whole_image(name, size):
    net = tiny(name)
    pixels = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    with torch.inference_mode():
        parts = tiled_network(net).represent(Source(pixels, CPU), 96)
        torch.testing.assert_close(parts, net.represent(_as_batch(pixels)), rtol=1e-4, atol=1e-4)


class Gated(nn.Module):
    """A stranger's network with the two usual ways to average, and an input that must be a multiple of 3."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv2d(27, 27, 3, 1, 1)
        nn.init.dirac_(self.conv.weight)

    def forward(self, lq):
        x = self.conv(F.pixel_unshuffle(lq, 3))
        x = x * self.pool(x) + x.mean((2, 3), keepdim=True)
        return F.interpolate(F.pixel_shuffle(x, 3), scale_factor=2)


def test_traits_are_found_out():
    traits = find_traits(Gated())
    assert (traits.scale, traits.size_multiple, traits.averages) == (2, 3, 2)
    # 3 values a pixel: unshuffled, convolved, gated, shifted (the last two at once with the sum), shuffled, enlarged.
    assert 3 * 4 <= traits.values_per_pixel <= 3 * 9
    assert AnyNetwork(Gated()).bytes_per_pixel(2) < AnyNetwork(Gated()).bytes_per_pixel(4)
    small, large = (find_traits(nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, 3, 1))) for width in (8, 80))
    # At any time two of: the image, the features, the result.
    assert (small.values_per_pixel, large.values_per_pixel) == (3 + 8 + 3, 3 + 80 + 3)


def test_sides_are_padded_by_reflection_and_cropped(photograph):
    pixels = photograph[:10, :14]
    result = Upscaler(Gated(), device="cpu").upscale(pixels)
    padded = np.pad(pixels, ((0, 2), (0, 1), (0, 0)), mode="reflect")
    with torch.no_grad():
        expected = Gated()(_as_batch(padded))[0].permute(1, 2, 0).clamp(0, 1).numpy()[:20, :28]
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_an_image_smaller_than_what_is_missing_is_reflected_back_and_forth(side):
    row = torch.arange(float(side)).expand(1, 3, 7, side)
    expected = np.pad(np.arange(float(side)), (0, 16 - side), mode="reflect")
    assert reflected(row, 16).shape == (1, 3, 16, 16)
    np.testing.assert_array_equal(reflected(row, 16)[0, 0, 0], expected)


def test_averages_are_taken_over_all_pixels_of_all_patches():
    x = torch.rand(3, 2, 4, 5)
    together = x.mean(dim=(0, 2, 3))
    with SharedAverages() as averages:
        for mean in (x.mean(dim=(2, 3)), x.mean([-1, -2]), torch.mean(x, dim=(3, 2))):
            torch.testing.assert_close(mean, together.expand(3, 2))
        torch.testing.assert_close(F.adaptive_avg_pool2d(x, 1), together.view(1, 2, 1, 1).expand(3, 2, 1, 1))
        # Averages over other dimensions, and pools that keep some of the image, are as always.
        others = x.mean(), x.mean(1), x.mean((1, 2)), F.adaptive_avg_pool2d(x, 2)
    for seen, plain in zip(others, (x.mean(), x.mean(1), x.mean((1, 2)), F.adaptive_avg_pool2d(x, 2)), strict=True):
        assert torch.equal(seen, plain)
    assert averages.cells == [60] * 4
    with SharedAverages(averages.values[:1]) as again:
        torch.testing.assert_close((x + 7).mean(dim=(2, 3)), together.expand(3, 2))
    assert again.cells == [0]


def test_averages_of_patches_in_half_precision_are_summed_in_single():
    x = torch.full((1, 1, 300, 300), 3.0, dtype=torch.bfloat16)
    with SharedAverages() as averages:
        assert x.mean(dim=(2, 3)).dtype == torch.bfloat16
    assert averages.values[0].dtype == torch.float32


class Wrong(nn.Module):
    """Networks that are none of super-resolution."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, lq):
        if self.kind == "grey":
            return lq.mean(1, keepdim=True)
        if self.kind == "smaller":
            return lq[..., :-2, :-2]
        if self.kind == "pair":
            return lq, lq
        raise RuntimeError("expected input to have 1 channel")


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda: Wrong("grey"), {}, r"Wrong: expected a network from one RGB image.* it says: output \(1, 1, 5, 5\)"),
        (lambda: Wrong("smaller"), {}, r"output \(1, 3, 3, 3\) for input \(1, 3, 5, 5\)"),
        (lambda: Wrong("pair"), {"scale": 1}, "it says: output of type tuple"),
        (lambda: Wrong("raises"), {}, "it says: expected input to have 1 channel"),
        (Gated, {"scale": 4}, "scale: 4 is stated, but this network enlarges by 2; correct it"),
        (Gated, {"scale": 2.0}, "scale: expected an integer >= 1, got 2.0"),
        (Gated, {"size_multiple": 0}, "size_multiple: expected an integer >= 1, got 0"),
        (Gated, {"size_multiple": 4}, "given squares of 20 pixels, it says"),
        (lambda: tiny("LightBSR"), {"scale": 2}, "scale: 2 is stated, but this network enlarges by 4"),
        (
            lambda: LightBSRTeacher(scale=4, queue_size=8, **TINY),
            {},
            "LightBSRTeacher needs the true degradation besides the LR image, which a photo lacks",
        ),
        (lambda: KDSRTeacher(4, 8, 1, 1), {}, "KDSRTeacher needs the GT image besides the LR image"),
    ],
)
def test_what_cannot_run_is_refused(make, options, message):
    with pytest.raises(OptionError, match=message):
        Upscaler(make(), device="cpu", **options)


def test_a_network_derived_from_one_of_ours_runs_as_it_is(photograph):
    """Folding would leave out what the derived class does."""

    class Inverted(LightBSR):
        def forward(self, lq):
            return 1 - super().forward(lq)

    torch.manual_seed(0)
    net = Inverted(scale=2, **TINY).eval()
    pixels = photograph[:12, :16]
    with torch.no_grad():
        expected = net(_as_batch(pixels))[0].permute(1, 2, 0).clamp(0, 1).numpy()
    np.testing.assert_allclose(Upscaler(net, device="cpu").upscale(pixels), expected, atol=1e-5)


def test_bicubic_interpolation_has_no_weights_and_runs(photograph):
    net = network("BicubicUpsampler")(3)
    with torch.no_grad():
        expected = net(_as_batch(photograph))[0].permute(1, 2, 0).clamp(0, 1).numpy()
    for tile in (96, "off"):
        np.testing.assert_allclose(Upscaler(net, device="cpu", tile=tile).upscale(photograph), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["DASR", "KDSR", "CdCL"])
def test_lower_precision_is_close_and_another(name, photograph):
    full, low = (
        Upscaler(tiny(name), device="cpu", precision=precision).upscale(photograph[:20, :24])
        for precision in ("fp32", "bf16")
    )
    assert 1e-6 < np.abs(full - low).max() < 0.1
