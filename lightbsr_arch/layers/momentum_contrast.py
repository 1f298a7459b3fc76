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
        queries: (V, N, D) unit vectors, one per view and sample; V >= 2.
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
        raise ValueError(f"contrast needs at least 2 views of each image, got {views}: set the data set's `views`.")
    # A query's similarity to the queue does not depend on j: computed once, used in V - 1 pairs.
    negatives = torch.logsumexp(queries @ queue / temperature, dim=-1)
    if same_views:
        positives = torch.einsum("ind,jnd->ijn", queries, keys) / temperature
        pairs = (torch.logaddexp(positives, negatives[:, None]) - positives).flatten(0, 1)
        # All but the diagonal, row by row. Indexing with a boolean mask would need a host sync.
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
        in_channels: Number of channels of the LR image and its prior.
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
    """The projections of one pass over the views."""

    feature_map: Tensor
    """(N, D, ceil(H / 4), ceil(W / 4)): the query encoder's IDR map of view 0."""
    queries: Tensor
    """(V, N, D) unit vectors."""
    keys: Tensor
    """(V, N, D) unit vectors, without gradient."""
    negatives: Tensor
    """(D, K): a copy of the queue before this pass, kept for the backward pass while new keys enter."""


def start_momentum_parts(state_dict: dict[str, Tensor], prefix: str, queue_size: int | None) -> None:
    """Add what is missing from a checkpoint: the key encoder is copied from the query encoder, the queue drawn at random.

    Args:
        state_dict: Changed in place. The key encoder is added only if none of its values is present.
        prefix: Prefix of the contrast's keys.
        queue_size: Number of keys in the queue; None for a contrast without one.
    """
    query = {key: value for key, value in state_dict.items() if key.startswith(f"{prefix}query.")}
    if query and not any(key.startswith(f"{prefix}key.") for key in state_dict):
        for key, value in query.items():
            state_dict[f"{prefix}key.{key.removeprefix(f'{prefix}query.')}"] = value.clone()
    head = query.get(f"{prefix}query.head.2.weight")
    if queue_size is not None and head is not None and f"{prefix}queue" not in state_dict:
        # With a fixed seed: the same in every process, and at every load.
        drawn = torch.randn(head.shape[0], queue_size, generator=torch.Generator().manual_seed(0))
        state_dict[f"{prefix}queue"] = F.normalize(drawn, dim=0)
        state_dict[f"{prefix}queue_pointer"] = torch.zeros((), dtype=torch.long)


def complete_momentum_parts(net: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Complete a state dict with a network's missing momentum parts, see :func:`start_momentum_parts`."""
    completed = dict(state_dict)
    for name, module in net.named_modules():
        if isinstance(module, StartsMomentumParts):
            start_momentum_parts(completed, f"{name}." if name else "", module.queue_size)
    return completed


class StartsMomentumParts(nn.Module):
    """A contrast that can load state dicts without its key encoder and queue, which some trainers leave out."""

    query: Any
    key: Any
    momentum: float

    @torch.no_grad()
    def follow(self) -> None:
        """Move the key encoder's parameters towards the query encoder's. Its BatchNorm statistics are its own."""
        torch._foreach_lerp_(list(self.key.parameters()), list(self.query.parameters()), 1 - self.momentum)

    @property
    def queue_size(self) -> int | None:
        """Number of keys in the queue; None without a queue."""
        queue = getattr(self, "queue", None)
        return None if queue is None else int(queue.shape[1])

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        start_momentum_parts(state_dict, prefix, self.queue_size)
        super()._load_from_state_dict(state_dict, prefix, *args)


class MomentumContrast(StartsMomentumParts):
    """A query encoder, a key encoder that is its moving average, and a queue of keys of past batches.

    Args:
        in_channels: Number of channels of the LR image and its prior.
        num_feat: Number of channels of the encoder's first layers; keys have four times as many values.
        queue_size: Number of keys in the queue.
        momentum: Momentum of the key encoder's moving average.
    """

    query: ContrastiveEncoder
    key: ContrastiveEncoder
    queue: Tensor
    queue_pointer: Tensor

    def __init__(self, in_channels: int, num_feat: int = 32, queue_size: int = 8192, momentum: float = 0.999) -> None:
        super().__init__()
        self.momentum = momentum
        self.query = ContrastiveEncoder(in_channels, num_feat)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        dim = self.query.encoder.out_channels
        queue = torch.randn(dim, queue_size)
        # On meta there is nothing to normalise, and torch would import its compiler for it, which takes seconds.
        self.register_buffer("queue", queue if queue.is_meta else F.normalize(queue, dim=0))
        self.register_buffer("queue_pointer", torch.zeros((), dtype=torch.long))

    def forward(self, views: Tensor, key_views: Tensor | None = None) -> Projections:
        """Update the key encoder, then project every view by both encoders, each view as a separate batch.

        Args:
            views: (V, N, C, H, W) LR views with their prior.
            key_views: Other views for the key encoder, (V, N, C, H, W).
        """
        self.follow()
        with torch.no_grad():
            keys = torch.stack([self.key(view)[1] for view in (views if key_views is None else key_views)])
        projected = [self.query(view) for view in views]
        queries = torch.stack([vector for _, vector in projected])
        return Projections(projected[0][0], queries, keys, self.queue.clone())

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys; with several processes by the keys of all ranks, in the order of the ranks.

        Args:
            keys: (N, D) unit vectors, with the same N on every rank and at most the queue's size in total.

        Raises:
            ValueError: More keys than the queue can hold.
        """
        keys = gather_from_processes(keys)
        size = self.queue.shape[1]
        if keys.shape[0] > size:
            raise ValueError(f"queue_size: expected at least the total batch size, {keys.shape[0]}, got {size}.")
        positions = (self.queue_pointer + torch.arange(keys.shape[0], device=keys.device)) % size
        self.queue.index_copy_(1, positions, keys.T.to(self.queue.dtype))
        self.queue_pointer.add_(keys.shape[0]).remainder_(size)


def gather_from_processes(keys: Tensor) -> Tensor:
    """Concatenate the (N, D) keys of all ranks, in the order of the ranks, without gradient."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return keys
    gathered = [torch.empty_like(keys) for _ in range(distributed.get_world_size())]
    distributed.all_gather(gathered, keys.contiguous())
    return torch.cat(gathered)
