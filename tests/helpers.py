"""What several test modules share."""

from __future__ import annotations

from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]

TINY = {
    "num_feat": 8,
    "num_group": 1,
    "num_block": 2,
    "num_spatial_feat": 2,
    "num_channel_code": 6,
    "num_encoder_feat": 4,
}
"""Sizes of a network that trains in milliseconds."""


def assert_close_to_reference(actual: torch.Tensor, reference: torch.Tensor) -> None:
    """The golden tolerance for network outputs."""
    assert actual.shape == reference.shape
    assert (actual - reference).abs().max() <= 2e-4 * reference.std()
