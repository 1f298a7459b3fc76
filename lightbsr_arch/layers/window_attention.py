"""Self-attention in windows (Swin, arXiv 2103.14030), and the padding that windows ask for."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

_FORBIDDEN = -100.0
"""Added to the logits of pixels that only the cyclic shift made neighbours, as in Swin."""


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) at the bottom and on the right to multiples of a number.

    By reflection; a side that is not longer than its padding by repetition of its last pixel.
    """
    for dim in (2, 3):
        side = x.shape[dim]
        padded = (side + multiple - 1) // multiple * multiple
        # A graph for any size must not ask whether there is something to pad.
        if isinstance(side, torch.SymInt) or padded != side:
            place = torch.arange(padded, device=x.device)
            reflected = torch.minimum(place, 2 * (side - 1) - place)
            x = x.index_select(dim, torch.where(reflected[-1:] >= 0, reflected, place.clamp(max=side - 1)))
    return x


def split_into_windows(x: Tensor, window_size: int) -> Tensor:
    """(N, H, W, C) to (N, H / window_size, W / window_size, window_size^2, C)."""
    tiles = x.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size))
    return tiles.transpose(2, 3).flatten(3, 4)


def join_windows(windows: Tensor, window_size: int) -> Tensor:
    """The inverse of :func:`split_into_windows`."""
    return windows.unflatten(3, (window_size, window_size)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


def shifted_window_mask(x: Tensor, window_size: int, shift: int) -> Tensor:
    """What is added to the logits of shifted windows of a feature map.

    Args:
        x: (N, C, H, W), H and W multiples of ``window_size``; its device and dtype are the mask's.
        window_size: Side of a window.
        shift: By which the map is rolled.

    Returns:
        (H / window_size, W / window_size, 1, window_size^2, window_size^2).
    """
    rows, columns = (
        (place >= side - window_size).int() + (place >= side - shift).int()
        for side in x.shape[2:]
        for place in (torch.arange(side, device=x.device),)
    )
    region = split_into_windows((3 * rows[:, None] + columns)[None, :, :, None], window_size)[0, ..., 0]
    apart = region[..., :, None] != region[..., None, :]
    return (apart.to(x.dtype) * _FORBIDDEN)[:, :, None]


@cache
def _relative_places(window_size: int) -> list[int]:
    """For each two pixels of a window, the number of their offset."""
    places = [(row, column) for row in range(window_size) for column in range(window_size)]
    reach, span = window_size - 1, 2 * window_size - 1
    return [(a[0] - b[0] + reach) * span + a[1] - b[1] + reach for a in places for b in places]


class WindowAttention(nn.Module):
    """Multi-head self-attention in windows, with a learnt bias for each offset between two pixels.

    Args:
        num_feat: Number of channels, a multiple of ``num_head``.
        num_head: Number of heads.
        window_size: Side of a window in pixels.
        shift: By which windows are shifted in both directions; 0 for windows that begin at the corner.

    Raises:
        ValueError: The channels cannot be shared by the heads.
    """

    places: Tensor

    def __init__(self, num_feat: int, num_head: int, window_size: int, shift: int = 0) -> None:
        super().__init__()
        if num_head < 1 or num_feat % num_head:
            raise ValueError(f"num_head: expected a divisor of num_feat = {num_feat}, got {num_head}.")
        self.num_head, self.window_size, self.shift = num_head, window_size, shift
        self.qkv = nn.Linear(num_feat, 3 * num_feat)
        self.bias = nn.Parameter(torch.empty((2 * window_size - 1) ** 2, num_head))
        self.proj = nn.Linear(num_feat, num_feat)
        nn.init.normal_(self.bias, std=0.02)
        self.register_buffer("places", torch.tensor(_relative_places(window_size)), persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attend within windows.

        Args:
            x: (N, H, W, num_feat), H and W multiples of ``window_size``.
            mask: :func:`shifted_window_mask`; used by shifted windows only.

        Returns:
            A tensor of the same shape.
        """
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
        qkv = self.qkv(split_into_windows(x, self.window_size)).unflatten(-1, (3, self.num_head, -1))
        query, key, value = qkv.permute(4, 0, 1, 2, 5, 3, 6).unbind(0)
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        pixels = self.window_size**2
        bias = self.bias.index_select(0, self.places).view(pixels, pixels, self.num_head).permute(2, 0, 1)
        logits = logits + bias
        if self.shift:
            logits = logits + mask
        attended = (logits.softmax(dim=-1) @ value).transpose(3, 4).flatten(4)
        x = join_windows(self.proj(attended), self.window_size)
        return x.roll((self.shift, self.shift), dims=(1, 2)) if self.shift else x
