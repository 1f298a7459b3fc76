"""Real-world degradations: blur, resize, noise and JPEG, once or twice, and a final sinc filter.

After Real-ESRGAN (arXiv 2107.10833, section 3), whose options keep their names, and BSRGAN's random order of operations
(arXiv 2103.14006, section 3). What differs from BasicSR's ``RealESRNetModel``: each sample has its own sizes, modes and kinds
of noise (there a batch shares them); qualities are integers, and what is compressed has 8 bits before and after; the GT patch
is degraded as it is, not a larger one that is cropped afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation.base import Degradation, Params
from lightbsr_model.degradation.drawn_kernels import FINAL, drawn_kernels, kernels_of
from lightbsr_model.degradation.operators import DeviceOperators, ExactOperators, Operators, to_8_bits
from lightbsr_model.degradation.resize import Mode
from lightbsr_model.degradation.second_order_options import checked, hull
from lightbsr_model.degradation.second_order_params import (
    COLUMNS,
    MODES,
    OF_AN_ORDER,
    OPERATIONS,
    SUFFIXES,
    by_name,
    draw_values,
    order_of_operations,
)
from lightbsr_model.degradation.second_order_quantities import measured, ranges_of
from lightbsr_model.degradation.second_order_vector import as_vector, vector_names
from lightbsr_model.degradation.second_order_words import describe_values, summary_of

NAME = "degradation"
"""The name under which a sample carries its parameters. They stay on the host, see :data:`base.ON_HOST`."""

_DECIDE_SIZES = (
    *(f"{name}{suffix}" for suffix in SUFFIXES for name in ("resize", "resize_mode")),
    *("orders", "antialias", "final_mode", "jpeg_first"),
    *(f"at_{operation}" for operation in OPERATIONS),
)
"""Columns that must be equal for samples to be degraded together: sizes, modes, and the order of the operations."""

_SIZE_COLUMNS = [COLUMNS.index(name) for name in _DECIDE_SIZES]


@dataclass(frozen=True, eq=False)
class SecondOrderDegradation(Degradation):
    """A distribution over sequences of blur, resize, noise and JPEG.

    A sample carries one parameter, ``degradation``: all drawn numbers, see
    :data:`~lightbsr_model.degradation.second_order_params.COLUMNS`.

    Args:
        options: Those that differ from Real-ESRGAN's, by name; see :mod:`lightbsr_model.degradation.second_order_options`.

    Raises:
        OptionError: An option that is unknown or out of range, by key.

    Example:
        >>> degradation = SecondOrderDegradation({"second_prob": 0, "jpeg_range": [60, 95]})
        >>> params = degradation.draw(torch.Generator().manual_seed(0))
        >>> batch = {name: value[None] for name, value in params.items()}
        >>> tuple(degradation.apply(torch.zeros(1, 3, 64, 64), batch, scale=4).shape)
        (1, 3, 16, 16)
    """

    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", checked(self.options))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecondOrderDegradation) and self.options == other.options

    def __hash__(self) -> int:
        return hash(str(self.options))

    @property
    def names(self) -> tuple[str, ...]:
        """``degradation``."""
        return (NAME,)

    @property
    def is_noisy(self) -> bool:
        """Whether any draw can have noise."""
        suffixes = SUFFIXES if self.options["second_prob"] > 0 else SUFFIXES[:1]
        return any(self.options[f"noise_prob{suffix}"] > 0 for suffix in suffixes)

    def with_options(self, given: Mapping[str, Any]) -> SecondOrderDegradation:
        """The same with some options changed.

        Raises:
            OptionError: One is unknown or out of range, by key.
        """
        return SecondOrderDegradation(checked(given, self.options))

    def draw(self, generator: torch.Generator | None = None) -> Params:
        """Draw all parameters of one sample, in float64.

        Args:
            generator: On the CPU. Every draw takes as many values from it, whatever the options are.
        """
        return {NAME: draw_values(self.options, generator)}

    def apply(
        self, gt: Tensor, params: Mapping[str, Tensor], scale: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Degrade a batch, see :meth:`Degradation.apply`. Samples whose sizes and order of operations are equal go together.

        Raises:
            ValueError: A size that is no multiple of the scale.
        """
        return apply_values(gt, params[NAME], scale, DeviceOperators(generator)) / 255

    def apply_exactly(self, gt: Tensor, params: Mapping[str, Tensor], scale: int, seed: int) -> Tensor:
        """Degrade one image with the same bits everywhere, see :mod:`lightbsr_model.degradation.operators`."""
        return (apply_values(gt[None], params[NAME][None], scale, ExactOperators(seed))[0] / 255).float()

    def describe(self, params: Mapping[str, Tensor]) -> dict[str, Any]:
        """One sample's parameters as plain values, nested by order and operation."""
        return describe_values(params[NAME])

    def summary(self, params: Mapping[str, Tensor]) -> str:
        """One sample's parameters in one line."""
        return summary_of(describe_values(params[NAME]))

    def kernels(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One sample's blur kernels, (k, k) float64 each, by what they are: blur, blur2, final sinc."""
        return kernels_of(params[NAME])

    def quantities(self) -> dict[str, tuple[float, float]]:
        """What varies in plain units, see :mod:`lightbsr_model.degradation.second_order_quantities`."""
        return ranges_of(self.options)

    def measure(self, params: Mapping[str, Tensor]) -> Tensor:
        """The :meth:`quantities` of a batch's parameters, (N, number of quantities) float32, on the host."""
        values = measured(params[NAME].cpu())
        columns = [values[name].clamp(low, high) for name, (low, high) in self.quantities().items()]
        return torch.stack(columns, dim=1).float()

    def vector_names(self) -> tuple[str, ...]:
        """The entries of :meth:`vector`."""
        return vector_names()

    def vector(self, params: Mapping[str, Tensor]) -> Tensor:
        """All parameters of a batch, normalised, see :func:`~lightbsr_model.degradation.second_order_vector.as_vector`."""
        return as_vector(params[NAME])

    def recipe(self) -> dict[str, Any]:
        """All options."""
        return dict(self.options)

    def covering(self, others: Sequence[Degradation]) -> SecondOrderDegradation:
        """The narrowest degradation of this kind whose ranges hold those of this one and of others.

        Raises:
            OptionError: One is of another kind.
        """
        if any(not isinstance(other, SecondOrderDegradation) for other in others):
            raise OptionError("preset", "a real-world degradation and one of another kind cannot share a batch.")
        return SecondOrderDegradation(hull([self.options, *(cast(Any, other).options for other in others)]))

    def sharing_sizes(self, params: Mapping[str, Tensor]) -> Params:
        """A batch's parameters, with the sizes and the order of operations of the first sample (``degradation_per: sizes``)."""
        values = params[NAME].clone()
        values[:, _SIZE_COLUMNS] = values[:1, _SIZE_COLUMNS]
        # One that has a single order has no numbers of a second.
        for suffix in SUFFIXES[int(values[0, COLUMNS.index("orders")]) :]:
            values[:, [COLUMNS.index(f"{name}{suffix}") for name in OF_AN_ORDER]] = 0
        return {NAME: values}


def apply_values(gt: Tensor, values: Tensor, scale: int, operators: Operators) -> Tensor:
    """Degrade a batch by the numbers of its samples.

    Args:
        gt: (N, C, H, W) or (N, V, C, H, W) in 0..255.
        values: (N, len(COLUMNS)).
        scale: The factor.
        operators: What computes.

    Returns:
        (N, C, H / scale, W / scale), or with V; integers in 0..255, of the operators' dtype.

    Raises:
        ValueError: A size that is no multiple of the scale.
    """
    height, width = gt.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(
            f"an image of {width}x{height} cannot be shrunk by {scale}: crop it to a multiple of it first."
        )
    views = gt.shape[1] if gt.dim() == 5 else 1
    images = gt if gt.dim() == 5 else gt[:, None]
    values = values.double().cpu()
    degraded: list[Tensor] = [gt] * len(gt)
    for members in _groups(values):
        together = operators.start(images[members]).flatten(0, 1)
        numbers = values[members].repeat_interleave(views, dim=0)
        low = _Sequence(together, numbers, scale, operators).run().unflatten(0, (len(members), views))
        for member, image in zip(members, low, strict=True):
            degraded[member] = image
    whole = torch.stack(degraded)
    return whole if gt.dim() == 5 else whole[:, 0]


def _groups(values: Tensor) -> Iterator[list[int]]:
    """The samples that are degraded together, in the order of their first ones."""
    groups: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for number, row in enumerate(values[:, _SIZE_COLUMNS].tolist()):
        groups[tuple(row)].append(number)
    yield from groups.values()


class _Sequence:
    """The operations on images of equal sizes, in their order."""

    def __init__(self, images: Tensor, values: Tensor, scale: int, operators: Operators) -> None:
        self.images, self.operators = images, operators
        self.columns = by_name(values)
        self.row = {name: float(value[0]) for name, value in self.columns.items()}
        height, width = images.shape[-2:]
        self.gt_size, self.lq_size = (height, width), (height // scale, width // scale)

    def run(self) -> Tensor:
        for name in order_of_operations(self.row):
            suffix = "2" if name.endswith("2") else ""
            getattr(self, f"_{name.removesuffix('2')}")(suffix)
        last = SUFFIXES[int(self.row["orders"]) - 1]
        if self.row["jpeg_first"]:
            self._jpeg(last)
            self._finish()
        else:
            self._finish()
            self._jpeg(last)
        return to_8_bits(self.images)

    def _blur(self, suffix: str) -> None:
        chosen, kernels = drawn_kernels(self.columns, suffix)
        if chosen.any():
            self._change(chosen, lambda some: self.operators.blur(some, kernels.to(some.device)))

    def _resize(self, suffix: str) -> None:
        is_last = self.row["orders"] == (2 if suffix else 1)
        base = self.lq_size if is_last else self.gt_size
        factor = self.row[f"resize{suffix}"]
        size = (max(1, int(base[0] * factor)), max(1, int(base[1] * factor)))
        self._resize_to(size, self.row[f"resize_mode{suffix}"])

    def _resize_to(self, size: tuple[int, int], mode: float) -> None:
        name = cast(Mode, MODES[int(mode)])
        self.images = self.operators.resize(self.images, size, name, bool(self.row["antialias"]))

    def _noise(self, suffix: str) -> None:
        kind, level = self.columns[f"noise{suffix}"], self.columns[f"noise_level{suffix}"]
        grey = self.columns[f"grey{suffix}"] > 0
        for number, add in ((1, self.operators.gaussian_noise), (2, self.operators.poisson_noise)):
            chosen = kind == number
            if chosen.any():
                own_level, own_grey = level[chosen], grey[chosen]
                self._change(chosen, lambda some, add=add, lv=own_level, gr=own_grey: add(some, lv, gr))

    def _jpeg(self, suffix: str) -> None:
        quality = self.columns[f"jpeg_quality{suffix}"]
        chosen = quality > 0
        if chosen.any():
            own = quality[chosen]
            self._change(chosen, lambda some: self.operators.jpeg(some, own))

    def _finish(self) -> None:
        """To the LR size, and the final sinc filter."""
        self._resize_to(self.lq_size, self.row["final_mode"])
        self._blur(FINAL)

    def _change(self, chosen: Tensor, operation: Any) -> None:
        """Replace some of the images by what an operation makes of them."""
        if chosen.all():
            self.images = operation(self.images)
            return
        where = chosen.nonzero()[:, 0].to(self.images.device)
        self.images = self.images.index_copy(0, where, operation(self.images[where]))
