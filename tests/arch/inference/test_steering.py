"""Restoring under another degradation than the one that is seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightbsr_arch.inference.preparing import tiled_network
from lightbsr_arch.inference.restoring import restore
from lightbsr_arch.inference.shifting import can_be_steered, encode_shifted
from lightbsr_arch.inference.source import ORIENTATIONS, UPRIGHT

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
    assert _psnr(whole, parts) > 90
    assert _psnr(whole, _restored(tiled, photograph, None, None, ways)) < 60
