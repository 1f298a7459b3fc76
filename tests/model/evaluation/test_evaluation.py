from __future__ import annotations

import numpy as np
import pytest
import torch
from basicsr.utils.matlab_functions import imresize

from lightbsr_arch.inference.side_by_side import Box, Panel, side_by_side
from lightbsr_arch.methods.bicubic import BicubicUpsampler


def test_side_by_side_shows_the_middle_of_each_panel_enlarged():
    image = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    picture = side_by_side([Panel(image, "a"), Panel(255 - image, "b", "28.43 dB")], crop=10, zoom=10)
    assert picture.shape == (100 + 2 * 26, 2 * 100 + 8, 3)
    shown = picture[26:126]
    assert (shown[::10, :100:10] == image[5:15, 10:20]).all()
    assert (shown[9::10, 117::10] == 255 - image[5:15, 10:20]).all()
    assert picture[126:, 108:].min() < 128  # the caption
    assert (picture[126:, :100] == 255).all()  # none
    with pytest.raises(ValueError, match="one size"):
        side_by_side([Panel(image, "a"), Panel(image[:10], "b")])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_upsampling_is_matlabs_away_from_the_border(scale):
    image = torch.rand(3, 12, 14, generator=torch.Generator().manual_seed(0))
    inside = slice(3 * scale, -3 * scale)
    expected = imresize(image, scale)[:, inside, inside]
    actual = BicubicUpsampler(scale)(image[None])[0]
    assert actual.shape == (3, 12 * scale, 14 * scale)
    torch.testing.assert_close(actual[:, inside, inside], expected, rtol=0, atol=1e-5)


def test_panels_in_rows():
    images = [np.full((6, 8, 3), 20 * number, np.uint8) for number in range(5)]
    picture = side_by_side([Panel(image, str(number)) for number, image in enumerate(images)], zoom=1, columns=3)
    assert picture.shape == (2 * (6 + 52), 3 * 8 + 2 * 8, 3)
    for number, image in enumerate(images):
        y, x = number // 3 * 58 + 26, number % 3 * 16
        assert (picture[y : y + 6, x : x + 8] == image).all()
    part = side_by_side([Panel(np.arange(144, dtype=np.uint8).reshape(6, 8, 3), "")], zoom=1, box=Box(2, 1, 3, 4))
    assert (part[26:30] == np.arange(144).reshape(6, 8, 3)[1:5, 2:5]).all()
