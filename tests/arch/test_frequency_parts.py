"""Spectra, attention to frequencies and in windows, and the bicubic enlargement, against numpy, torch and BasicSR's Swin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from basicsr.archs import swinir_arch
from torch.nn import functional as F

from lightbsr_arch.layers import spectrum as module
from lightbsr_arch.layers.enlargement import bicubic_enlarge
from lightbsr_arch.layers.frequency_attention import (
    GRID,
    FrequencyFeatures,
    FrequencySpatialAttention,
    _averaging,
    _interpolation,
)
from lightbsr_arch.layers.spectrum import from_spectrum, spectrum
from lightbsr_arch.layers.window_attention import (
    WindowAttention,
    join_windows,
    pad_to_multiple,
    shifted_window_mask,
    split_into_windows,
)


@pytest.fixture(params=[False, True], ids=["transform", "matrices"])
def by(request, monkeypatch):
    """Both ways to transform: torch's, and the matrices of exported graphs."""
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: request.param)


def _as_numpy(values):
    return torch.view_as_complex(values.contiguous()).numpy()


@pytest.mark.parametrize("size", [(8, 8), (1, 2), (24, 40), (5, 16), (160, 96)])
def test_spectra_are_numpys(size, by):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    values = spectrum(x)
    np.testing.assert_allclose(_as_numpy(values), np.fft.rfft2(x.numpy(), norm="ortho"), atol=1e-12)
    torch.testing.assert_close(from_spectrum(values, size[1]), x, rtol=0, atol=1e-12)
    # Any values, also those that no real image has.
    other = torch.randn_like(values)
    expected = np.fft.irfft2(_as_numpy(other), s=size, norm="ortho")
    np.testing.assert_allclose(from_spectrum(other, size[1]).numpy(), expected, atol=1e-12)


def test_matrices_of_long_sides_are_exact(monkeypatch):
    x = torch.randn(1, 1, 1000, 1200)
    expected = spectrum(x)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(module.spectrum(x), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fourier_parts_stay_in_float32(dtype):
    """Under autocast, and in a network of 16 bits: the mean of a spectrum is too large for their precision."""
    torch.manual_seed(0)
    x = 0.5 + 0.01 * torch.randn(1, 8, 64, 64)
    assert spectrum(x.to(dtype)).dtype == torch.float32
    attention, seen = FrequencySpatialAttention(8), []
    attention.last.bias.data.fill_(0.3)
    torch.nn.init.dirac_(attention.conv.weight)
    torch.nn.init.zeros_(attention.conv.bias)
    with torch.no_grad():
        expected = attention(x)
        attention.first.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0].dtype, output.dtype]))
        with torch.autocast("cpu", dtype):
            mixed = attention(x)
        narrow = attention.to(dtype)(x.to(dtype))
    assert seen == [torch.float32] * 4
    assert narrow.dtype == dtype
    for result in (mixed, narrow):
        # The last convolution alone rounds, to 8 or 11 bits.
        torch.testing.assert_close(result.float(), expected, rtol=2.0**-7, atol=1e-3)
    features = FrequencyFeatures(8)
    with torch.no_grad(), torch.autocast("cpu", dtype):
        features.mix[0].register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
        features(torch.rand(1, 3, 16, 16))
    assert seen[-1] == torch.float32


@pytest.mark.parametrize("side", [1, 8, 17, 32, 45, 160])
@pytest.mark.parametrize("cells", [17, 32])
def test_pooling_and_interpolation_are_torchs(side, cells):
    values = torch.randn(1, 1, side, 1, dtype=torch.float64)
    places = torch.arange(side)
    pooled = _averaging(places, cells, torch.float64) @ values
    torch.testing.assert_close(pooled, F.adaptive_avg_pool2d(values, (cells, 1)))
    large = F.interpolate(pooled, size=(side, 1), mode="bilinear", align_corners=False)
    torch.testing.assert_close(_interpolation(places, cells, torch.float64) @ pooled, large)


@pytest.mark.parametrize("size", [(8, 8), (40, 24), (64, 160)])
def test_factors_of_frequencies_by_hand(size):
    torch.manual_seed(0)
    attention = FrequencySpatialAttention(6).double()
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    with torch.no_grad():
        identity = attention.factors(spectrum(x))
        assert torch.equal(identity, torch.ones_like(identity))
        torch.testing.assert_close(attention(x), attention.conv(x))
        for value in attention.parameters():
            value.normal_(std=0.3)
        transformed = torch.fft.rfft2(x, norm="ortho")
        amplitude = torch.fft.fftshift(torch.log(1 + transformed.abs()), dim=2)
        maps = torch.cat([amplitude.mean(1, keepdim=True), amplitude.max(1, keepdim=True).values], dim=1)
        hidden = F.gelu(attention.first(F.adaptive_avg_pool2d(maps, GRID)))
        factors = 2 * torch.sigmoid(attention.last(hidden))
        factors = F.interpolate(factors, size=maps.shape[2:], mode="bilinear", align_corners=False)
        factors = torch.fft.ifftshift(factors, dim=2)
        torch.testing.assert_close(attention.factors(spectrum(x)), factors)
        expected = attention.conv(torch.fft.irfft2(transformed * factors, s=size, norm="ortho"))
        torch.testing.assert_close(attention(x), expected)
        # Amplitudes do not see where things are: a moved image is filtered alike.
        torch.testing.assert_close(attention(x.roll((3, -2), (2, 3))), attention(x).roll((3, -2), (2, 3)))


def test_frequency_features_by_hand():
    torch.manual_seed(0)
    features = FrequencyFeatures(4).double()
    image = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    with torch.no_grad():
        plain = features.conv(image)
        z = np.fft.rfft2(plain.numpy(), norm="ortho")
        mixed = features.mix(torch.from_numpy(np.concatenate([z.real, z.imag], axis=1))).numpy()
        change = np.fft.irfft2(mixed[:, :4] + 1j * mixed[:, 4:], s=(16, 24), norm="ortho")
        np.testing.assert_allclose(features(image).numpy(), plain.numpy() + change, atol=1e-12)


def test_gradients_are_finite_where_a_spectrum_is_zero():
    attention = FrequencySpatialAttention(4)
    torch.nn.init.normal_(attention.last.weight)
    x = torch.zeros(1, 4, 8, 8, requires_grad=True)
    attention(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("shift", [0, 4])
@pytest.mark.parametrize("size", [(8, 8), (16, 24), (32, 8)])
def test_attention_in_windows_is_swins(size, shift):
    torch.manual_seed(0)
    ours = WindowAttention(12, 3, 8, shift).eval()
    theirs = swinir_arch.WindowAttention(12, (8, 8), 3).eval()
    with torch.no_grad():
        ours.bias.normal_()
        theirs.relative_position_bias_table.copy_(ours.bias)
        for name in ("qkv", "proj"):
            getattr(theirs, name).load_state_dict(getattr(ours, name).state_dict())
        x = torch.randn(2, *size, 12)
        mask = shifted_window_mask(x.permute(0, 3, 1, 2), 8, 4)
        result = ours(x, mask)
        # A block of SwinIR, without norm, MLP and skip.
        block = swinir_arch.SwinTransformerBlock(12, (64, 64), 3, window_size=8, shift_size=4)
        their_mask = block.calculate_mask(size)
        torch.testing.assert_close(mask.flatten(0, 2), their_mask)
        moved = x.roll((-shift, -shift), (1, 2)) if shift else x
        windows = swinir_arch.window_partition(moved, 8).view(-1, 64, 12)
        attended = theirs(windows, mask=their_mask if shift else None).view(-1, 8, 8, 12)
        expected = swinir_arch.window_reverse(attended, 8, *size)
        expected = expected.roll((shift, shift), (1, 2)) if shift else expected
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_windows_are_joined_as_they_were_split():
    x = torch.randn(2, 12, 18, 5)
    windows = split_into_windows(x, 6)
    assert windows.shape == (2, 2, 3, 36, 5)
    assert torch.equal(windows[1, 1, 2, 7], x[1, 7, 13])
    assert torch.equal(join_windows(windows, 6), x)


@pytest.mark.parametrize("height", [1, 4, 5, 8, 9, 15])
def test_padding_is_by_reflection_where_a_side_is_long_enough(height):
    x = torch.rand(2, 3, height, 16)
    missing = -height % 8
    mode = "reflect" if missing < height else "replicate"
    assert torch.equal(pad_to_multiple(x, 8), F.pad(x, (0, 0, 0, missing), mode=mode))
    turned = pad_to_multiple(x.transpose(2, 3), 8)
    assert torch.equal(turned, F.pad(x.transpose(2, 3), (0, missing, 0, 0), mode=mode))


def test_heads_that_cannot_share_the_channels_are_refused():
    with pytest.raises(ValueError, match="num_head: expected a divisor of num_feat = 10, got 4"):
        WindowAttention(10, 4, 8)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (16, 9)])
def test_bicubic_enlargement_is_torchs(scale, size):
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    expected = F.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False)
    result = bicubic_enlarge(x, scale)
    torch.testing.assert_close(result, expected)
    weights = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad((result * weights).sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad((expected * weights).sum(), x)[0])
    narrow = torch.full((1, 1, 4, 4), 0.7, dtype=torch.bfloat16)
    assert torch.equal(bicubic_enlarge(narrow, scale), narrow.new_full((1, 1, 4 * scale, 4 * scale), 0.7))
    with torch.autocast("cpu", torch.bfloat16):
        assert bicubic_enlarge(x.float(), scale).dtype == torch.float32
