"""Weights as one number, which tells whether two networks are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def weights_sha256(state_dict: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names, shapes and values of a state dict, in the order of the names."""
    digest = hashlib.sha256()
    for key in sorted(state_dict):
        digest.update(f"{key}{tuple(state_dict[key].shape)}".encode())
        digest.update(state_dict[key].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
