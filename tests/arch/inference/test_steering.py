"""Restoring under another degradation than the one that is seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from lightbsr_arch import Upscaler
from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.any_network import AnyNetwork
from lightbsr_arch.inference.averages import SharedAverages
from lightbsr_arch.inference.lightbsr.network import InferenceLightBSR
from lightbsr_arch.inference.lightbsr.whole_image import look_at
from lightbsr_arch.inference.preparing import tiled_network
from lightbsr_arch.inference.resizing import shrink, shrink_by_bands
from lightbsr_arch.inference.restoring import restore
from lightbsr_arch.inference.shifting import can_be_steered, encode_shifted
from lightbsr_arch.inference.source import ORIENTATIONS, UPRIGHT, Source
from lightbsr_arch.inference.steering import values_of
from lightbsr_arch.weights.degradation_probe import DegradationProbe, Reading
from lightbsr_arch.weights.model_card import ModelCard
from lightbsr_arch.weights.probe_inverse import ProbeInverse

from support.students import REPRESENTING, STUDENTS, tiny

STEERED = [name for name in REPRESENTING if name != "DSSR"]
"""DSSR has no code: what it represents is for analysis alone."""


@pytest.fixture(scope="module")
def photograph():
    import skimage.data

    return (skimage.data.chelsea()[60:148, 60:172] / np.float32(255)).astype(np.float32)


def _as_batch(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]


def _restored(tiled, pixels, tile, shift=None, ways=UPRIGHT):
    canvas = np.empty((pixels.shape[0] * tiled.scale, pixels.shape[1] * tiled.scale, 3), np.float32)
    with torch.inference_mode():
        restore(tiled, pixels, canvas, tile, ways, shift=shift)
    return canvas


def _shift(net, size=2.0):
    channels = net.represent(torch.zeros(1, 3, 8, 8)).shape[1]
    return size * torch.randn(1, channels, generator=torch.Generator().manual_seed(0))


def _psnr(a, b):
    return -10 * np.log10(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2) + 1e-20)


def test_which_networks_can_be_steered():
    assert {name for name in STUDENTS if can_be_steered(tiny(name))} == set(STEERED)
    assert {name for name in STUDENTS if tiled_network(tiny(name)).can_be_steered} == set(STEERED)


@pytest.mark.parametrize("name", STEERED)
def test_a_shift_is_added_to_the_representation(name, photograph):
    net, lq = tiny(name), _as_batch(photograph[:21, :30])
    shift = _shift(net)
    with torch.no_grad():
        if hasattr(net, "converters"):  # a map: the shift is added to each of its pixels
            codes = net.converters(net.encoder(lq) + shift[:, :, None, None], (21, 30))
        else:
            codes = net.encode(lq) + shift
        expected = net.restore(lq, codes)
        of_network = net.restore(lq, encode_shifted(net, lq, shift))
        plain = net(lq)
    torch.testing.assert_close(of_network, expected)
    expected = expected[0].permute(1, 2, 0).clamp(0, 1).numpy()
    tiled = tiled_network(net)
    np.testing.assert_allclose(_restored(tiled, photograph[:21, :30], None, shift), expected, atol=2e-5)
    assert np.abs(expected - plain[0].permute(1, 2, 0).clamp(0, 1).numpy()).max() > 5e-3
    # No shift is a shift by nothing.
    unshifted = _restored(tiled, photograph[:21, :30], None)
    np.testing.assert_allclose(_restored(tiled, photograph[:21, :30], None, 0 * shift), unshifted, atol=1e-6)


@pytest.mark.parametrize("name", STEERED)
def test_tiles_are_shifted_as_the_whole_is(name, photograph):
    """In another orientation, whose representation is another; all averages are exact in tiles with the image's pixels."""
    net = tiny(name)
    tiled, shift, ways = tiled_network(net), _shift(net), ORIENTATIONS[1:2]
    whole, parts = (_restored(tiled, photograph, tile, shift, ways) for tile in (None, 100))
    assert np.abs(whole - parts).max() < 5e-6
    assert _psnr(whole, _restored(tiled, photograph, None, None, ways)) < 60


@pytest.mark.parametrize("name", STEERED)
def test_the_averages_that_tiles_share_are_those_under_the_shift(name, photograph):
    net, lq = tiny(name, num_block=2), _as_batch(photograph)  # a second block averages what the codes did in the first
    shift, source = _shift(net, 20.0), Source(photograph, torch.device("cpu"))
    with torch.inference_mode():
        if name == "LightBSR":
            folded = InferenceLightBSR(net)
            expected = folded.feature_means(lq, folded.encode(lq, shift))
            found = look_at(folded, source, 200, shift).feature_means
            unshifted = look_at(folded, source, 200).feature_means
        else:
            with SharedAverages() as averages:
                net.restore(lq, encode_shifted(net, lq, shift))
            expected = averages.values
            found, unshifted = (AnyNetwork(net).look_at(source, 200, one) for one in (shift, None))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    if len(found) > 1 and name != "KDSR":  # whose averages are all in its encoder
        assert not torch.allclose(found[-1], unshifted[-1], rtol=1e-4, atol=1e-5)


class Scaling(nn.Module):
    """Represents an image by its mean colour, and multiplies the image by it: what steering does can be said in numbers."""

    scale = 2

    def encode(self, lq):
        return lq.mean(dim=(2, 3))

    represent = encode

    def restore(self, lq, code):
        return F.interpolate(lq * code[:, :, None, None], scale_factor=2)

    def forward(self, lq):
        return self.restore(lq, self.encode(lq))


def _flat(value, side=12):
    return np.full((side, side, 3), value, np.float32)


def _upscaled(value, **options):
    result = Upscaler(Scaling(), device="cpu", **options).upscale(_flat(value))
    assert result.shape == (24, 24, 3)
    np.testing.assert_allclose(result, result[0, 0, 0], atol=1e-6)
    return float(result[0, 0, 0])


def test_strength_goes_from_the_clean_image_to_what_is_seen():
    # The image 0.8 is restored to 0.8 * 0.8, whose representation is 0.64: that of the clean image.
    assert _upscaled(0.8) == pytest.approx(0.64)
    assert _upscaled(0.8, strength=0) == pytest.approx(0.8 * 0.64)
    assert _upscaled(0.8, strength=np.float32(0.25)) == pytest.approx(0.8 * (0.64 + 0.25 * (0.8 - 0.64)))
    assert _upscaled(0.8, strength=0.5, self_ensemble=True) == pytest.approx(0.8 * 0.72)


def test_as_if_takes_the_representation_of_a_reference():
    assert _upscaled(0.8, as_if=_flat(0.5, 7)) == pytest.approx(0.4)
    assert _upscaled(0.8, as_if=Image.fromarray(np.full((4, 5, 3), 51, np.uint8))) == pytest.approx(0.8 * 0.2)
    # The clean image is then the one restored so, 0.4.
    assert _upscaled(0.8, as_if=_flat(0.5), strength=0.5) == pytest.approx(0.8 * 0.45)


def _probe():
    """Reads the first channel as ``sigma`` and the second as ``noise_level``, in tenths and hundredths."""
    readings = {
        "sigma": Reading((10.0, 0.0, 0.0), 0.0, 0.0, 10.0, 0.1, 0.9),
        "noise_level": Reading((0.0, 100.0, 0.0), 0.0, 0.0, 100.0, 1.0, 0.9),
    }
    values = np.random.default_rng(0).uniform(0, 1, (50, 2)) * [10, 100]
    representations = np.stack([values[:, 0] / 10, values[:, 1] / 100, values[:, 0] * values[:, 1] / 1000], axis=1)
    return DegradationProbe(
        readings, ProbeInverse.fit({"sigma": (0, 10), "noise_level": (0, 100)}, values, representations)
    )


def test_as_if_takes_words_and_leaves_what_they_do_not_name():
    def colour(as_if, probe=None):
        upscaler = Upscaler(Scaling(), device="cpu", probe=probe or _probe(), as_if=as_if)
        return upscaler.upscale(_flat(0.8))[0, 0] / 0.8

    np.testing.assert_allclose(colour("blur 2.5, noise 40"), [0.25, 0.4, 0.1], atol=1e-5)
    np.testing.assert_allclose(colour({"sigma": 2.5, "noise_level": 40}), [0.25, 0.4, 0.1], atol=1e-5)
    np.testing.assert_allclose(colour({"sigma": np.float32(2.5), "noise_level": 40}), [0.25, 0.4, 0.1], atol=1e-5)
    # Noise 80 is what the probe reads off the image.
    np.testing.assert_allclose(colour("Blur 2.5"), [0.25, 0.8, 0.2], atol=1e-5)


@pytest.mark.parametrize(
    ("as_if", "message"),
    [
        ("blur", r"expected an image, or a word and a number of what this model knows: blur \(0 to 10\)"),
        ("blur two", r"expected an image, or a word and a number of what this model knows: blur \(0 to 10\)"),
        ("blur 1, ", r"expected an image, or a word and a number of what this model knows: blur \(0 to 10\)"),
        ("blur nan", r"expected an image, or a word and a number of what this model knows: blur \(0 to 10\)"),
        ("rain 3", r"does not know rain; it knows blur \(0 to 10\), noise \(0 to 100\)"),
        ("jpeg 50", "does not know jpeg"),
        ("blur 11", "blur: this model knows values from 0 to 10, got 11"),
        ({"noise_level": -1}, "noise_level: this model knows values from 0 to 100, got -1"),
        ("blur 1, Blur 2", "blur is given twice"),
        ({"blur": "x"}, "blur: expected a number, got 'x'"),
    ],
)
def test_words_that_say_nothing_to_a_model_are_refused(as_if, message):
    with pytest.raises(OptionError, match=f"as_if: .*{message}"):
        Upscaler(Scaling(), device="cpu", probe=_probe(), as_if=as_if)


def test_a_round_blur_is_one_of_two_equal_widths():
    names = ("sigma_1", "sigma_2", "stretch_x", "stretch_y")
    ranges = dict.fromkeys(names, (-4.0, 4.0))
    probe = DegradationProbe(
        {name: Reading((1.0,), 0.0, -4.0, 4.0, 0.1, 0.9) for name in names}, ProbeInverse(ranges, ((0.0,),) * 15)
    )
    assert values_of("blur 1.5", probe) == {"sigma_1": 1.5, "sigma_2": 1.5, "stretch_x": 0.0, "stretch_y": 0.0}
    assert values_of("sigma_1 3, sigma_2 1", probe) == {"sigma_1": 3.0, "sigma_2": 1.0}


def test_what_cannot_be_steered_is_refused():
    with pytest.raises(OptionError, match=r"strength: expected a number from 0 to 1, got 1\.5"):
        Upscaler(Scaling(), device="cpu", strength=1.5)
    with pytest.raises(OptionError, match="this model's file does not say which code belongs to a degradation"):
        Upscaler(Scaling(), device="cpu", as_if="blur 2")
    (without,) = set(REPRESENTING) - set(STEERED)
    for options in ({"strength": 0.5}, {"as_if": "blur 2"}):
        with pytest.raises(OptionError, match=f"{next(iter(options))}: {without} restores without a code"):
            Upscaler(tiny(without), device="cpu", **options)
    upscaler = Upscaler(tiny(without), device="cpu")
    assert not upscaler.can_be_steered
    with pytest.raises(OptionError, match="there is one result"):
        upscaler.at_strengths(_flat(0.5), [0.5])


@pytest.mark.parametrize("name", ["LightBSR", "DASR"])
def test_the_middle_at_a_strength_is_that_of_the_whole(name, photograph):
    net, strengths = tiny(name), (0.0, 0.5, 1.0)
    if hasattr(net, "converters"):  # as small as this, its codes would hardly matter
        with torch.no_grad():
            net.converters.channel.weight.mul_(30)
    as_if = np.random.default_rng(0).random((9, 9, 3), dtype=np.float32)
    wholes = [Upscaler(net, device="cpu", strength=one, as_if=as_if).upscale(photograph) for one in strengths]
    assert max(_psnr(wholes[0], wholes[1]), _psnr(wholes[1], wholes[2])) < 57
    upscaler = Upscaler(net, device="cpu", as_if=as_if)
    for given in (None, wholes[-1]):
        parts = upscaler.at_strengths(photograph, strengths, 20, given)
        for part, whole in zip(parts, wholes, strict=True):
            middle = whole[4 * 34 : 4 * 54, 4 * 46 : 4 * 66]
            assert part.shape == middle.shape == (80, 80, 3)
            # Averages in later layers are those of a sample of patches.
            assert _psnr(part, middle) > 65
    (small,) = upscaler.at_strengths((photograph[:9, :30] * 255).astype(np.uint8), [0.3], 20)
    assert (small.shape, small.dtype) == ((36, 80, 3), np.uint8)


def test_progress_goes_through_both_restorations():
    shares: list[float] = []
    Upscaler(Scaling(), device="cpu", strength=0.5).upscale(_flat(0.5), shares.append)
    assert shares == [0.5, 1.0]


@pytest.mark.parametrize("height", [3, 256, 600])
def test_shrinking_by_bands_is_shrinking(height):
    pixels = np.random.default_rng(0).integers(0, 255, (4 * height, 12, 3), dtype=np.uint8)
    np.testing.assert_array_equal(shrink_by_bands(pixels, 4), shrink(pixels, 4))


def test_an_inverse_is_fitted_stored_and_read():
    probe = _probe()
    representation = probe.inverse.representation({"sigma": 3.0, "noise_level": 50.0})
    np.testing.assert_allclose(representation, [0.3, 0.5, 0.15], atol=1e-5)
    card = ModelCard(probe=probe)
    metadata = card.metadata({"type": "x", "scale": 2})
    assert ModelCard.of(metadata).probe == probe
    # Older files have a probe alone.
    del metadata["probe_inverse"]
    assert ModelCard.of(metadata).probe == DegradationProbe(probe.readings)
    assert probe.fits(3)
    assert not probe.fits(4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ranges": {"sigma": [0, 1]}}, "expected 3 rows"),
        ({"ranges": {"rain": [0, 1], "noise_level": [0, 1]}}, "quantities that the probe reads"),
        ({"ranges": {"sigma": [1, 1], "noise_level": [0, 1]}}, "the smallest value"),
        ({"ranges": {"{x}": [0, 1]}}, "words as the names"),
        ({"ranges": {}}, "words as the names"),
        ({"weights": [[1]] * 5 + [[1, 2]]}, "rows of one length"),
        ({"weights": [[float("nan")]] * 6}, "finite numbers"),
        ({"weights": [["1"]] * 6}, "finite numbers"),
        ({"weights": 3}, "not the inverse of a probe"),
        ({"ranges": [1]}, "not the inverse of a probe"),
    ],
)
def test_a_damaged_inverse_is_refused(changed, message):
    good = json.loads(_probe().inverse.to_json())
    with pytest.raises(ValueError, match=message):
        DegradationProbe.of(json.loads(_probe().to_json()), {**good, **changed})
