"""LightBSR without information about the degradation: what remains when its codes are left out."""

from __future__ import annotations

from torch import Tensor

from lightbsr_arch import LightBSR
from lightbsr_arch.layers.codes import Codes


class CodelessLightBSR(LightBSR):
    """The same network under codes of zeros. Arguments as in :class:`LightBSR`."""

    def encode(self, lq: Tensor) -> Codes:
        """Codes of the right shapes, all zero."""
        codes = super().encode(lq)
        return Codes(codes.channel * 0, codes.spatial * 0)
