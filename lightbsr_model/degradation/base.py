"""What every degradation does: draw parameters, apply them to a batch, describe them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Params = dict[str, Tensor]
"""Parameters of a degradation by name: of one sample, as drawn, or of a batch, with the batch as first dimension."""

ON_HOST = frozenset({"degradation"})
"""Parameters that stay on the host, because they decide sizes: reading them from a device would make the host wait for it."""


class Degradation(Protocol):
    """A distribution over degradations, and the way to apply them.

    Drawing and applying are apart because they run in different processes: :meth:`draw` in a worker of the data loader, for
    one sample, on the CPU; :meth:`apply` on the device, for a whole batch.

    - Parameters are tensors of the same names, shapes and dtypes at every draw, so that a DataLoader collates them. A choice
      (one order of steps out of several, JPEG or none) is a number among them, and :meth:`apply` treats each sample, or each
      group of equal ones, by its own.
    - The views of a sample share all its parameters. What differs between the frames of a burst is one parameter with the
      frames as its first dimension.
    - What has the size of an image (noise) is no parameter: :meth:`apply` draws it on the device, for each view on its own.
    - :meth:`draw` takes all randomness from the generator it is given, and :meth:`apply` too: seeded equally, a resumed run
      sees the same batches.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, under which a sample of a data set carries them."""

    @property
    def is_noisy(self) -> bool:
        """Whether any draw can have noise."""

    def draw(self, generator: torch.Generator | None = None) -> Params:
        """Draw the parameters of one sample, floating-point ones in float64.

        Args:
            generator: On the CPU; None is torch's global one.
        """

    def apply(
        self, gt: Tensor, params: Mapping[str, Tensor], scale: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Degrade a batch.

        Args:
            gt: (N, C, H, W) or (N, V, C, H, W) in 0..255, uint8 or float.
            params: Each with N as first dimension, on ``gt``'s device; those of :data:`ON_HOST` on the host.
            scale: The factor.
            generator: Of the noise, on ``gt``'s device; None is torch's global one.

        Returns:
            LR images in [0, 1], multiples of 1/255: (N, C, H / scale, W / scale), or with V. A kind that makes several frames
            of one GT image has them before C.
        """

    def apply_exactly(self, gt: Tensor, params: Mapping[str, Tensor], scale: int, seed: int) -> Tensor:
        """Degrade one image for a test, with the same bits on every machine, thread count and device.

        Args:
            gt: (C, H, W) in 0..255.
            params: Of this sample, in float64.
            scale: The factor.
            seed: Of the noise.

        Returns:
            (C, H / scale, W / scale), float32 in [0, 1], multiples of 1/255.
        """

    def describe(self, params: Mapping[str, Tensor]) -> dict[str, Any]:
        """One sample's parameters as plain values for JSON."""

    def quantities(self) -> dict[str, tuple[float, float]]:
        """What varies from draw to draw in plain units, by name, with its range: what can be read off an image."""

    def measure(self, params: Mapping[str, Tensor]) -> Tensor:
        """The values of :meth:`quantities`.

        Args:
            params: Of a batch.

        Returns:
            (N, number of quantities) in float32, on the parameters' device.
        """

    def vector_names(self) -> tuple[str, ...]:
        """The entries of :meth:`vector`, in their order. They are the same for every degradation of a kind."""

    def vector(self, params: Mapping[str, Tensor]) -> Tensor:
        """All parameters in numbers of about -1 to 1, divided by what does not depend on the ranges (``prior: parameters``).

        Args:
            params: Of a batch.

        Returns:
            (N, number of entries) in float32, on the parameters' device.
        """

    def recipe(self) -> dict[str, Any]:
        """The distribution as plain values for JSON."""

    def covering(self, others: Sequence[Degradation]) -> Degradation:
        """The narrowest degradation of this kind that can draw all that this one and others can.

        It applies batches that mix draws of all of them: no step is left out that one of them needs.

        Raises:
            OptionError: One is of another kind.
        """


def params_of(degradation: Degradation, batch: Mapping[str, Any]) -> Params:
    """The parameters that a sample or a batch carries."""
    return {name: batch[name] for name in degradation.names if name in batch}


def in_float32(params: Mapping[str, Tensor]) -> Params:
    """Parameters as a sample carries them: floating-point ones in float32."""
    return {name: value.float() if value.is_floating_point() else value for name, value in params.items()}


def as_batch(params: Mapping[str, Tensor]) -> Params:
    """One sample's parameters as those of a batch of one."""
    return {name: value[None] for name, value in params.items()}


def shared_by_batch(params: Mapping[str, Tensor]) -> Params:
    """A batch's parameters, all samples with those of the first (``degradation_per: batch``)."""
    return {name: value[:1].expand_as(value) for name, value in params.items()}


class SharesSizes(Protocol):
    """A degradation whose samples have sizes and an order of operations of their own."""

    def sharing_sizes(self, params: Mapping[str, Tensor]) -> Params:
        """A batch's parameters, with the sizes and the order of the first sample (``degradation_per: sizes``)."""
