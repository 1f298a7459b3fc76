"""Momentum contrast over degradations (MoCo, arXiv 1911.05722; LightBSR, section 5)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightbsr_arch.layers.degradation_encoder import DegradationEncoder


def contrastive_loss(
    queries: Tensor,
    keys: Tensor,
    queue: Tensor,
    temperature: float = 0.07,
    reduction: str = "mean",
    same_views: bool = True,
) -> Tensor:
    """InfoNCE of query i against key j and the queue, for every ordered pair i != j of views.

    Args:
        queries: (V, N, D) unit vectors, one a view and sample; V is 2 or more.
        keys: (V, N, D) unit vectors; key j of a sample is the positive of its query i.
        queue: (D, K) unit vectors, the negatives.
        temperature: Divides all similarities.
        reduction: ``mean`` or ``sum`` over pairs and samples, or ``none`` for (V * (V - 1), N) in the order
            (0, 1), (0, 2), ..., (1, 0), (1, 2), ...
        same_views: Whether query i and key i are of one view, as said above. If not, they are of two views of one image
            (arXiv 2104.00416): query i has key i as its only positive, V may be 1, and ``none`` gives (V, N).

    Returns:
        The loss, in nats.

    Raises:
        ValueError: Fewer than two views, or an unknown reduction.
    """
    views = queries.shape[0]
    if same_views and views < 2:
        raise ValueError(f"contrast needs 2 views or more of each image, got {views}: set the dataset's `views`.")
    # A query's similarity to the queue does not depend on j: summed up once, used in V - 1 pairs.
    negatives = torch.logsumexp(queries @ queue / temperature, dim=-1)
    if same_views:
        positives = torch.einsum("ind,jnd->ijn", queries, keys) / temperature
        pairs = (torch.logaddexp(positives, negatives[:, None]) - positives).flatten(0, 1)
        # All but the diagonal, row by row. Indexing by a boolean mask would make the host wait for the device.
        losses = pairs[1:].unflatten(0, (views - 1, views + 1))[:, :-1].flatten(0, 1)
    else:
        positives = (queries * keys).sum(dim=-1) / temperature
        losses = torch.logaddexp(positives, negatives) - positives
    if reduction == "mean":
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    raise ValueError(f"reduction: expected mean, sum or none, got {reduction!r}.")


class ContrastiveEncoder(nn.Module):
    """Degradation encoder and contrastive head: global average, Linear, LeakyReLU(0.1), Linear.

    Args:
        in_channels: Channels of the LR image and its prior.
        num_feat: See :class:`DegradationEncoder`.
    """

    def __init__(self, in_channels: int, num_feat: int = 32) -> None:
        super().__init__()
        self.encoder = DegradationEncoder(in_channels, num_feat)
        dim = self.encoder.out_channels
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.LeakyReLU(0.1), nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the IDR map (N, 4 * num_feat, ceil(H / 4), ceil(W / 4)) and a unit vector (N, 4 * num_feat)."""
        feature_map = self.encoder(x)
        return feature_map, F.normalize(self.head(feature_map.mean(dim=(2, 3))), dim=1)


class Projections(NamedTuple):
    """What one pass over the views gives."""

    feature_map: Tensor
    """(N, D, ceil(H / 4), ceil(W / 4)): the query encoder's IDR map of view 0."""
    queries: Tensor
    """(V, N, D) unit vectors."""
    keys: Tensor
    """(V, N, D) unit vectors, without gradient."""
    negatives: Tensor
    """(D, K): the queue as this pass found it, kept for the backward pass while new keys enter."""


def start_momentum_parts(state_dict: dict[str, Tensor], prefix: str, queue_size: int | None) -> None:
    """Add what a trainer left out of a checkpoint: the key encoder starts as the query encoder, the queue anew.

    Args:
        state_dict: Changed in place. Nothing is added where some of the key encoder's values are there.
        prefix: Of the contrast's names.
        queue_size: Keys in the queue; None for a contrast without one.
    """
    query = {key: value for key, value in state_dict.items() if key.startswith(f"{prefix}query.")}
    if query and not any(key.startswith(f"{prefix}key.") for key in state_dict):
        for key, value in query.items():
            state_dict[f"{prefix}key.{key.removeprefix(f'{prefix}query.')}"] = value.clone()
    head = query.get(f"{prefix}query.head.2.weight")
    if queue_size is not None and head is not None and f"{prefix}queue" not in state_dict:
        # Of a fixed seed: the same on every process, and at every load.
        drawn = torch.randn(head.shape[0], queue_size, generator=torch.Generator().manual_seed(0))
        state_dict[f"{prefix}queue"] = F.normalize(drawn, dim=0)
        state_dict[f"{prefix}queue_pointer"] = torch.zeros((), dtype=torch.long)


def complete_momentum_parts(net: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the momentum parts that a network has and the state dict lacks, see :func:`start_momentum_parts`."""
    completed = dict(state_dict)
    for name, module in net.named_modules():
        if isinstance(module, StartsMomentumParts):
            start_momentum_parts(completed, f"{name}." if name else "", module.queue_size)
    return completed


class StartsMomentumParts(nn.Module):
    """A contrast that loads state dicts without its key encoder and queue too: some trainers leave them out."""

    @property
    def queue_size(self) -> int | None:
        """Keys in the queue; None where there is none."""
        queue = getattr(self, "queue", None)
        return None if queue is None else int(queue.shape[1])

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        start_momentum_parts(state_dict, prefix, self.queue_size)
        super()._load_from_state_dict(state_dict, prefix, *args)


class MomentumContrast(StartsMomentumParts):
    """A query encoder that learns, a key encoder that follows it, and a queue of the keys of past batches.

    Args:
        in_channels: Channels of the LR image and its prior.
        num_feat: Width of the encoder's first layers; keys have four times as many values.
        queue_size: Keys in the queue.
        momentum: How much of itself the key encoder keeps at each pass.
    """

    queue: Tensor
    queue_pointer: Tensor

    def __init__(self, in_channels: int, num_feat: int = 32, queue_size: int = 8192, momentum: float = 0.999) -> None:
        super().__init__()
        self.momentum = momentum
        self.query = ContrastiveEncoder(in_channels, num_feat)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        dim = self.query.encoder.out_channels
        queue = torch.randn(dim, queue_size)
        # On meta there is nothing to normalise, and torch would load its compiler for it, which takes seconds.
        self.register_buffer("queue", queue if queue.is_meta else F.normalize(queue, dim=0))
        self.register_buffer("queue_pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def follow(self) -> None:
        """Move the key encoder's parameters towards the query encoder's. Its BatchNorm statistics are its own."""
        torch._foreach_lerp_(list(self.key.parameters()), list(self.query.parameters()), 1 - self.momentum)

    def forward(self, views: Tensor, key_views: Tensor | None = None) -> Projections:
        """Project every view by both encoders, each view as a batch of its own, after the key encoder has followed.

        Args:
            views: (V, N, C, H, W) LR views with their prior.
            key_views: What the key encoder sees instead, (V, N, C, H, W).
        """
        self.follow()
        with torch.no_grad():
            keys = torch.stack([self.key(view)[1] for view in (views if key_views is None else key_views)])
        projected = [self.query(view) for view in views]
        queries = torch.stack([vector for _, vector in projected])
        return Projections(projected[0][0], queries, keys, self.queue.clone())

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put keys in the place of the oldest ones; with several processes those of all ranks, in the ranks' order.

        Args:
            keys: (N, D) unit vectors, the same N on every rank, at most the queue's size in all.

        Raises:
            ValueError: More keys than the queue holds.
        """
        keys = gather_from_processes(keys)
        size = self.queue.shape[1]
        if keys.shape[0] > size:
            raise ValueError(f"queue_size: expected at least the joined batch, {keys.shape[0]}, got {size}.")
        places = (self.queue_pointer + torch.arange(keys.shape[0], device=keys.device)) % size
        self.queue.index_copy_(1, places, keys.T.to(self.queue.dtype))
        self.queue_pointer.add_(keys.shape[0]).remainder_(size)


def gather_from_processes(keys: Tensor) -> Tensor:
    """Join the (N, D) keys of all ranks, in the ranks' order, without gradient; alone, the keys as they are."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return keys
    gathered = [torch.empty_like(keys) for _ in range(distributed.get_world_size())]
    distributed.all_gather(gathered, keys.contiguous())
    return torch.cat(gathered)
