"""Pairs that do not lie over each other, made of clean images: what two shots of one scene look like."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightbsr_model.degradation.base import Degradation, Params
from lightbsr_model.degradation.noise import quantise


@dataclass(frozen=True)
class Misalignment:
    """How far LR images are moved and recoloured; every draw is uniform and independent, around no change."""

    shift: float = 0.0
    """Largest shift along each axis, in LR pixels."""
    rotation: float = 0.0
    """Largest rotation about the patch's centre, in degrees."""
    zoom: float = 0.0
    """Largest change of the magnification: 0.01 is 0.99 to 1.01."""
    gain: float = 0.0
    """Largest change of each channel's gain: 0.1 is 0.9 to 1.1."""
    offset: float = 0.0
    """Largest offset of each channel, of 1."""

    def margin(self, side: int) -> int:
        """LR pixels that a patch needs around it, so that what is moved into it is there.

        Args:
            side: Of the patch, in LR pixels.
        """
        return math.ceil(self.shift + 1 + (self.zoom + math.radians(self.rotation)) * side / 2)


_OF_SOME_KINDS = ("kernels", "summary", "sharing_sizes")


@dataclass(frozen=True)
class MisalignedDegradation(Degradation):
    """Moves the HR images, degrades them by another degradation, and recolours the LR images.

    Its parameters, besides the other's, are ``motion`` (4,): shift along x and y in LR pixels, rotation in radians and
    magnification; and ``colours`` (2, 3): gain and offset of each channel. The LR image shows at x, counted from its centre,
    what lies at ``magnification * R(rotation) x + shift`` in the HR image.
    """

    degradation: Degradation
    """What degrades the moved images."""
    misalignment: Misalignment
    """How far they are moved."""
    side: int
    """Of the LR images, in pixels."""

    @property
    def names(self) -> tuple[str, ...]:
        """The other's, ``motion`` and ``colours``."""
        return (*self.degradation.names, "motion", "colours")

    @property
    def margin(self) -> int:
        """LR pixels around the LR images that :meth:`apply` must be given too, and cuts off."""
        return self.misalignment.margin(self.side)

    @property
    def is_noisy(self) -> bool:
        """Whether any draw can have noise."""
        return self.degradation.is_noisy

    def draw(self, generator: torch.Generator | None = None) -> Params:
        """Draw a sample's parameters, those of the other degradation first: the same as without misalignment."""
        params = self.degradation.draw(generator)
        u = 2 * torch.rand(10, generator=generator, dtype=torch.float64) - 1
        largest = self.misalignment
        turn = math.radians(largest.rotation) * u[2:3]
        colours = torch.stack([1 + largest.gain * u[4:7], largest.offset * u[7:10]])
        return {
            **params,
            "motion": torch.cat([largest.shift * u[:2], turn, 1 + largest.zoom * u[3:4]]),
            "colours": colours,
        }

    def apply(
        self, gt: Tensor, params: Mapping[str, Tensor], scale: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Move, degrade, cut the margin off and recolour; see :meth:`Degradation.apply`.

        Args:
            gt: With ``scale * margin`` pixels more at each side than the LR image shall show.
            params: Of the batch.
            scale: The factor.
            generator: Of the noise.
        """
        views = gt if gt.dim() == 5 else gt[:, None]
        motion = params["motion"].repeat_interleave(views.shape[1], dim=0)
        moved = move(views.flatten(0, 1), motion, scale).view(views.shape)
        lq = self.degradation.apply(moved, params, scale, generator)
        cut = self.margin
        lq = lq[..., cut : lq.shape[-2] - cut, cut : lq.shape[-1] - cut]
        # (N, 1, 3, 1, 1), or with a dimension more where there are several frames.
        gain, offset = (
            values.view(len(values), *(1,) * (lq.dim() - 4), -1, 1, 1) for values in params["colours"].to(lq).unbind(1)
        )
        lq = quantise(255 * (lq * gain + offset))
        return lq if gt.dim() == 5 else lq[:, 0]

    def apply_exactly(self, gt: Tensor, params: Mapping[str, Tensor], scale: int, seed: int) -> Tensor:
        """Not for tests: an LR image that lies elsewhere than the GT image cannot be judged by it."""
        raise NotImplementedError("misaligned pairs are for training")

    def describe(self, params: Mapping[str, Tensor]) -> dict[str, Any]:
        """The other's description, and ``misalignment``.

        Returns:
            In ``misalignment``: ``shift`` in LR pixels, ``rotation`` in degrees, ``magnification``, ``gain`` and ``offset``
            by channel.
        """
        x, y, turn, magnification = params["motion"].tolist()
        gain, offset = params["colours"].tolist()
        found = {"shift": [x, y], "rotation": math.degrees(turn), "magnification": magnification}
        return {**self.degradation.describe(params), "misalignment": {**found, "gain": gain, "offset": offset}}

    def quantities(self) -> dict[str, tuple[float, float]]:
        """The other's: where an image lies cannot be read off it."""
        return self.degradation.quantities()

    def measure(self, params: Mapping[str, Tensor]) -> Tensor:
        """The other's."""
        return self.degradation.measure(params)

    def vector_names(self) -> tuple[str, ...]:
        """The other's: a teacher is told of the degradation, not of where an image lies."""
        return self.degradation.vector_names()

    def vector(self, params: Mapping[str, Tensor]) -> Tensor:
        """The other's."""
        return self.degradation.vector(params)

    def __getattr__(self, name: str) -> Any:
        """What only some kinds of degradation do is the other's."""
        if name in _OF_SOME_KINDS:
            return getattr(self.degradation, name)
        raise AttributeError(name)

    def recipe(self) -> dict[str, Any]:
        """The other's recipe, and ``misalign``."""
        return {**self.degradation.recipe(), "misalign": vars(self.misalignment)}

    def covering(self, others: Sequence[Degradation]) -> MisalignedDegradation:
        """The same misalignment of what covers the other degradations."""
        within = [other.degradation if isinstance(other, MisalignedDegradation) else other for other in others]
        return replace(self, degradation=self.degradation.covering(within))


def move(images: Tensor, motion: Tensor, scale: int) -> Tensor:
    """Move images about their centre, by bicubic interpolation.

    Args:
        images: (N, C, H, W), uint8 or float.
        motion: (N, 4), see :class:`MisalignedDegradation`.
        scale: HR pixels in an LR pixel, for the shift.

    Returns:
        (N, C, H, W), float; the edge pixel is continued.
    """
    height, width = images.shape[2:]
    shift_x, shift_y, turn, magnification = motion.float().unbind(dim=1)
    cosine, sine = magnification * turn.cos(), magnification * turn.sin()
    # In halves of a side, as affine_grid counts.
    matrix = torch.stack(
        [
            torch.stack([cosine, -sine * height / width, shift_x * 2 * scale / width], dim=1),
            torch.stack([sine * width / height, cosine, shift_y * 2 * scale / height], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, mode="bicubic", padding_mode="border", align_corners=False)
