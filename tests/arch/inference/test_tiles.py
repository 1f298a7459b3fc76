from __future__ import annotations

import numpy as np
import pytest
import torch

from lightbsr_arch.inference.lightbsr.network import InferenceLightBSR
from lightbsr_arch.inference.lightbsr.tiling import TiledLightBSR
from lightbsr_arch.inference.lightbsr.whole_image import look_at, represent
from lightbsr_arch.inference.restoring import NotFiniteError, restore
from lightbsr_arch.inference.source import ORIENTATIONS, Source
from lightbsr_arch.inference.tiles import ALIGNMENT, OVERLAP, SMALLEST_TILE, UNTRUSTED, join_tiles, spans

from support.helpers import tiny_student

CPU = torch.device("cpu")


def _psnr(a, b):
    return -10 * np.log10(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))


@pytest.mark.parametrize("length", [1, 95, 96, 97, 100, 160, 161, 383, 1000, 1003])
@pytest.mark.parametrize("tile", [96, 97, 128, 200])
@pytest.mark.parametrize("scale", [1, 3, 4])
def test_tiles_cover_an_axis_and_their_weights_sum_to_one(length, tile, scale):
    places = spans(length, tile)
    total = np.zeros(length * scale)
    for number, place in enumerate(places):
        weights = place.weights(scale)
        total[place.start * scale : place.stop * scale] += weights
        assert place.start % ALIGNMENT == 0
        assert place.stop - place.start < tile + ALIGNMENT
        # What padding reaches is not used, but at the image's own edges.
        if number > 0:
            assert not weights[: UNTRUSTED * scale].any()
        if number < len(places) - 1:
            assert not weights[-UNTRUSTED * scale :].any()
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert len(places) == 1 if length <= tile else len(places) >= 2
    assert places[0].start == 0
    assert places[-1].stop == length


def test_as_few_tiles_as_cover():
    assert len(spans(2 * 128 - OVERLAP, 128)) == 2
    assert len(spans(2 * 128 - OVERLAP + 1, 128)) == 3
    with pytest.raises(ValueError, match="expected 96 or more, got 95"):
        spans(1000, SMALLEST_TILE - 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(40, 50), (96, 250), (301, 97), (283, 290)])
def test_joined_tiles_of_a_picture_are_the_picture(dtype, shape):
    rng = np.random.default_rng(0)
    picture = rng.random((shape[0] * 2, shape[1] * 2, 3)).astype(np.float32)
    largest = 1 if dtype == np.float32 else np.iinfo(dtype).max
    if dtype != np.float32:
        picture = np.rint(picture * largest) / np.float32(largest)
    canvas = np.zeros(picture.shape, dtype)
    seen = []

    def compute(row, column):
        seen.append((row.start, column.start))
        return picture[row.start * 2 : row.stop * 2, column.start * 2 : column.stop * 2].copy()

    rows, columns = spans(shape[0], 96), spans(shape[1], 96)
    join_tiles(canvas, rows, columns, 2, compute)
    assert seen == [(row.start, column.start) for row in rows for column in columns]
    np.testing.assert_allclose(canvas.astype(np.float64), picture * np.float64(largest), atol=1e-6)


def test_values_are_rounded_and_clipped():
    canvas = np.zeros((1, 4, 1), np.uint8)
    values = np.array([-0.5, 1.5, 100.5001 / 255, 100.4999 / 255], np.float32).reshape(1, 4, 1)
    join_tiles(canvas, spans(1, 96), spans(4, 96), 1, lambda *_: values.copy())
    assert canvas.ravel().tolist() == [0, 255, 101, 100]


@pytest.mark.parametrize("size", [(1, 1), (33, 200), (150, 61), (128, 129)])
def test_the_representation_is_that_of_the_whole_image(size):
    net = tiny_student()
    pixels = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    lq = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    with torch.inference_mode():
        parts = represent(InferenceLightBSR(net), Source(pixels, CPU), 96)
        torch.testing.assert_close(parts, net.represent(lq), rtol=1e-4, atol=1e-5)


def _restored(net, pixels, tile, orientations=ORIENTATIONS[:1]):
    canvas = np.empty((pixels.shape[0] * net.scale, pixels.shape[1] * net.scale, 3), np.float32)
    with torch.inference_mode():
        restore(TiledLightBSR(net), pixels, canvas, tile, orientations)
    return canvas


@pytest.fixture(scope="module")
def photograph():
    import skimage.data

    return (skimage.data.chelsea()[40:240:1, 60:310] / np.float32(255)).astype(np.float32)


@pytest.mark.parametrize("scale", [2, 4])
def test_tiles_give_what_the_whole_image_gives(photograph, scale):
    net = tiny_student(scale)
    whole = _restored(net, photograph, None)
    # A tile sees the whole image's averages where it has as many pixels, else those of a sample.
    assert _psnr(_restored(net, photograph, 228), whole) > 60
    assert _psnr(_restored(net, photograph, 100), whole) > 45


def test_tiles_share_one_representation(photograph):
    """A tile of its own restores a flat corner otherwise than with the whole image's representation."""
    net = tiny_student()
    pixels = photograph.copy()
    pixels[:, :125] = 0.5
    whole = _restored(net, pixels, None)[100:300, 100:300]
    apart = _restored(net, np.ascontiguousarray(pixels[:96, :96]), None)[100:300, 100:300]
    tiled = _restored(net, pixels, 96)[100:300, 100:300]
    assert _psnr(tiled, whole) > _psnr(apart, whole) + 6


def test_a_sample_stands_for_an_image_that_is_larger_than_a_tile(photograph):
    fast = InferenceLightBSR(tiny_student())
    source = Source(np.tile(photograph, (3, 3, 1)), CPU)
    with torch.inference_mode():
        sampled, whole = look_at(fast, source, 300), look_at(fast, source, 800)
    torch.testing.assert_close(sampled.representation, whole.representation, rtol=1e-3, atol=1e-4)
    for few, all_ in zip(sampled.feature_means, whole.feature_means, strict=True):
        assert few.shape == all_.shape
        assert (few - all_).abs().max() < 0.25 * all_.abs().max()


@pytest.mark.parametrize("tile", [None, 96])
def test_self_ensemble_is_the_mean_over_eight_orientations(photograph, tile):
    net = tiny_student()
    pixels = photograph[:110, :130]
    together = _restored(net, pixels, tile, ORIENTATIONS)
    assert len({(way.apply(pixels).tobytes(), way.apply(pixels).shape) for way in ORIENTATIONS}) == 8
    if tile is None:
        canvases = []
        for way in ORIENTATIONS:
            np.testing.assert_array_equal(way.undo(way.apply(pixels)), pixels)
            lq = torch.from_numpy(way.apply(pixels).copy()).permute(2, 0, 1)[None]
            with torch.no_grad():
                canvases.append(way.undo(net(lq)[0].permute(1, 2, 0).numpy()))
        np.testing.assert_allclose(together, np.clip(np.mean(canvases, axis=0), 0, 1), atol=1e-4)
    # The mean turns with the image.
    turned = _restored(net, np.ascontiguousarray(np.rot90(pixels)), tile, ORIENTATIONS)
    assert _psnr(np.rot90(together), turned) > 60


def test_nan_is_told():
    net = tiny_student()
    with torch.no_grad():
        net.sr.last.bias[0] = float("nan")
    with pytest.raises(NotFiniteError):
        _restored(net, np.zeros((8, 8, 3), np.float32), None)


def test_progress_goes_to_one(photograph):
    seen = []
    canvas = np.empty((800, 1000, 3), np.float32)
    with torch.inference_mode():
        restore(TiledLightBSR(tiny_student()), photograph, canvas, 128, ORIENTATIONS[:1], seen.append)
    assert seen == sorted(seen)
    assert len(seen) == 6
    assert seen[-1] == 1
