"""Contrast within a batch: FastMoCo over pieces of views, without a queue (arXiv 2408.05440)."""

from __future__ import annotations

import copy
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.degradation_encoder import DegradationEncoder
from lightbsr_arch.layers.momentum_contrast import StartsMomentumParts, gather_from_processes


def in_batch_contrastive_loss(queries: Tensor, keys: Tensor, temperature: float = 1.0, first: int = 0) -> Tensor:
    """InfoNCE of the queries of view i against the keys of view j, for every ordered pair i != j of views.

    The key of the same sample is the positive; the keys of the other samples in the same view are the negatives.

    Args:
        queries: (V, C, N, D) unit vectors: C combinations of parts in each view.
        keys: (V, M, D) unit vectors; M is N, or the total batch of all processes.
        temperature: Divides all similarities.
        first: Index of this process's first sample among the M.

    Returns:
        The mean over pairs, combinations and samples, in nats.

    Raises:
        ValueError: Fewer than two views.
    """
    views, num_combinations, samples = queries.shape[:3]
    if views < 2:
        raise ValueError(
            f"contrast needs at least 2 views of each degradation, got {views}: set the data set's `views`."
        )
    positives = torch.arange(first, first + samples, device=queries.device)
    losses = [
        F.cross_entropy(
            (queries[i] @ keys[j].T / temperature).flatten(0, 1), positives.repeat(num_combinations), reduction="mean"
        )
        for i in range(views)
        for j in range(views)
        if i != j
    ]
    return torch.stack(losses).mean()


class PieceProjections(NamedTuple):
    """The projections of one pass over the views."""

    queries: Tensor
    """(V, 6, N, D) unit vectors."""
    keys: Tensor
    """(V, M, D) unit vectors, without gradient, for the M samples of all processes."""
    first: int
    """Index of this process's first sample among the M."""


class _EncoderAndProjector(nn.Module):
    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.encoder = DegradationEncoder(3, num_feat)
        dim = self.encoder.out_channels
        self.projector = nn.Sequential(
            nn.Linear(dim, dim), nn.BatchNorm1d(dim), nn.GELU(), nn.Linear(dim, dim), nn.BatchNorm1d(dim)
        )


class FastMomentumContrast(StartsMomentumParts):
    """An encoder trained to predict, from two quarters of a view, the representation of another view by a slower copy.

    Args:
        num_feat: Number of channels of the encoder's first layers; a representation has four times as many values.
        momentum: Momentum of the key encoder's moving average.
    """

    query: _EncoderAndProjector
    key: _EncoderAndProjector

    def __init__(self, num_feat: int = 64, momentum: float = 0.99) -> None:
        super().__init__()
        self.momentum = momentum
        self.query = _EncoderAndProjector(num_feat)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        dim = self.query.encoder.out_channels
        self.predictor = nn.Sequential(
            nn.Linear(dim, dim // 4), nn.BatchNorm1d(dim // 4), nn.GELU(), nn.Linear(dim // 4, dim)
        )

    def forward(self, views: Tensor) -> PieceProjections:
        """Project the six pairs of quarters of every view, and every whole view by the key encoder.

        Args:
            views: (V, N, 3, H, W) LR views, H and W at least 2.

        Raises:
            ValueError: The views are too small to cut.
        """
        if min(views.shape[-2:]) < 2:
            raise ValueError(
                f"views: expected at least 2x2 pixels to cut into quarters, got {tuple(views.shape[-2:])}."
            )
        self.follow()
        queries = torch.stack([self._project_quarters(view) for view in views])
        with torch.no_grad():
            keys = [self.key.projector(self.key.encoder(view).mean(dim=(2, 3))) for view in views]
            gathered = torch.stack([gather_from_processes(F.normalize(key, dim=1)) for key in keys])
        rank = torch.distributed.get_rank() if gathered.shape[1] > views.shape[1] else 0
        return PieceProjections(queries, gathered, rank * views.shape[1])

    def _project_quarters(self, view: Tensor) -> Tensor:
        height, width = (side // 2 for side in view.shape[-2:])
        quarters = [view[..., top : top + height, left : left + width] for top in (0, height) for left in (0, width)]
        codes = self.query.encoder(torch.cat(quarters)).mean(dim=(2, 3)).chunk(4)
        pairs = torch.cat([(codes[i] + codes[j]) / 2 for i, j in combinations(range(4), 2)])
        predicted = F.normalize(self.predictor(self.query.projector(pairs)), dim=1)
        return predicted.view(6, view.shape[0], -1)
