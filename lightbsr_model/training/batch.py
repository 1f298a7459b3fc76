"""A batch, whose parts have names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_model.degradation.base import Params


@dataclass(frozen=True)
class Batch:
    """What a model is given to learn from or to restore, on its device; images are RGB in [0, 1]."""

    lq: Tensor
    """LR images, (N, 3, h, w); of several views the first."""
    gt: Tensor | None = None
    """Their HR images, (N, 3, H, W)."""
    views: Tensor | None = None
    """LR views under one degradation a sample, (N, V, 3, h, w); the first is ``lq``."""
    frames: Tensor | None = None
    """LR frames of a burst, (N, T, C, h, w); the first is ``lq``."""
    flow: Tensor | None = None
    """Where the first frame's pixels are found in the others, (N, T - 1, 2, h, w), where it is known."""
    kernel: Tensor | None = None
    """Blur kernels, (N, k, k)."""
    noise_level: Tensor | None = None
    """Standard deviations of the noise, (N,), in 0..255 units."""
    prior: Tensor | None = None
    """A teacher's degradation prior, (N, prior_channels), where the data set makes it."""
    parameters: Tensor | None = None
    """All parameters of the degradation as a normalised vector, (N, L), see :meth:`Degradation.vector`."""
    params: Params | None = None
    """All parameters of the degradation, where it was applied on the device."""

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Batch:
        """From the tensors of a data set's samples, by these names; others are left out.

        Raises:
            OptionError: No images, or views that are not called so.
        """
        known: dict[str, Any] = {name: tensors[name] for name in cls.__dataclass_fields__ if name in tensors}
        several = next((known[name] for name in ("views", "frames") if name in known), None)
        if "lq" not in known and several is not None:
            known["lq"] = several[:, 0]
        if "lq" not in known:
            raise OptionError(
                f"a batch has {', '.join(tensors)}: expected `lq`, or `gt_views` and `kernel` "
                "(BlindDegradationPairedDataset)."
            )
        for name in ("lq", "gt"):
            if name in known and known[name].dim() != 4:
                raise OptionError(
                    f"a batch's `{name}` has the shape {tuple(known[name].shape)}: expected (N, 3, H, W); "
                    "several views of a sample are called `views` and `gt_views`."
                )
        return cls(**known)
