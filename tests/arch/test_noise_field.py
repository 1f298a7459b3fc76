"""Noise as a function of the place: its definition, and that it is normal."""

from __future__ import annotations

import math

import pytest
import torch

from lightbsr_arch.layers.noise_field import normal_noise

STEP, BITS = 0x9E3779B9, 0xFFFFFFFF


def _mixed(x):
    x = (x ^ x >> 16) * 0x7FEB352D & BITS
    x = (x ^ x >> 15) * 0x846CA68B & BITS
    return x ^ x >> 16


def _by_hand(seed, channel, row, column):
    """The definition in Python's integers, which have no bounds."""
    key = _mixed((seed >> 32) ^ _mixed(seed & BITS))
    cell = _mixed((_mixed((key + row * STEP) & BITS) + column * STEP) & BITS)
    radius, angle = (_mixed((cell + (2 * channel + part) * STEP) & BITS) >> 8 for part in (1, 2))
    return math.sqrt(-2 * math.log((radius + 1) / 2**24)) * math.cos(math.tau * angle / 2**24)


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_values_are_those_written_out(seed):
    noise = normal_noise(torch.tensor([3, seed]), range(2, 4), 3, 2, top=40_000, left=70_000)
    for channel in range(2):
        for row in range(3):
            for column in range(2):
                expected = _by_hand(seed, 2 + channel, 40_000 + row, 70_000 + column)
                assert float(noise[1, channel, row, column]) == pytest.approx(expected, abs=2e-5)


def test_a_part_has_the_noise_of_its_place():
    whole = normal_noise(torch.tensor([5]), range(3), 64, 48)
    part = normal_noise(torch.tensor([5]), (1,), 20, 9, top=33, left=30)
    assert torch.equal(part[:, 0], whole[:, 1, 33:53, 30:39])


def test_it_is_normal_and_uncorrelated():
    noise = normal_noise(torch.tensor([0, 1]), range(3), 256, 256).flatten(0, 1)
    count = noise[0].numel()
    assert noise.mean().abs() < 4 / (6 * count) ** 0.5
    assert noise.var() == pytest.approx(1, abs=4 * (2 / (6 * count)) ** 0.5)
    assert (noise**4).mean() == pytest.approx(3, abs=4 * (96 / (6 * count)) ** 0.5)
    assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 5 / count**0.5
    for rows, columns in ((0, 1), (1, 0), (1, 1), (0, 16), (16, 0)):
        product = noise[:, rows:, columns:] * noise[:, : 256 - rows, : 256 - columns]
        assert product.mean().abs() < 5 / (6 * count) ** 0.5
    # A white spectrum: nothing repeats.
    power = torch.fft.fft2(noise).abs() ** 2 / count
    assert power.max() < math.log(6 * count) + 8
