"""``Upscaler``: a trained network as a function from images to images."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference.adapting import adapt
from lightbsr_arch.inference.images import like, take_apart, to_array
from lightbsr_arch.inference.memory import fitting_tile, is_out_of_memory
from lightbsr_arch.inference.preparing import tiled_network
from lightbsr_arch.inference.resizing import enlarge, shrink
from lightbsr_arch.inference.restoring import NotFiniteError, Progress, restore
from lightbsr_arch.inference.source import ORIENTATIONS, UPRIGHT, Source
from lightbsr_arch.inference.tiled_network import TiledNetwork
from lightbsr_arch.inference.tiles import SMALLEST_TILE, Canvas
from lightbsr_arch.methods.base import Adaptation
from lightbsr_arch.weights.degradation_probe import DegradationProbe
from lightbsr_arch.weights.model_files import load_model

if TYPE_CHECKING:
    from PIL.Image import Image

    Picture = TypeVar("Picture", NDArray[Any], Tensor, Image)
else:
    Picture = TypeVar("Picture")

PRECISIONS: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What a network computes in, by name."""

_READ_AT_A_TIME = 512
"""Side of the parts that the representation alone is computed of, in LR pixels."""


class Upscaler:
    """Enlarges and restores images with a trained network.

    Several threads may use one upscaler at once. It prints nothing; what a caller should know comes as a warning
    (``UserWarning``).

    Args:
        net: Any network from one LR image (N, 3, H, W) in [0, 1] to one SR image; its weights are copied.
        device: ``auto`` (CUDA or Apple's GPU where there is one, else the CPU), or a device by name.
        precision: ``fp32``, ``bf16`` or ``fp16``. An image that comes out with values that are not finite is restored again
            in fp32, with a warning.
        tile: ``auto`` takes an image whole where the memory suffices, else in tiles as large as fit; ``off`` always takes
            it whole; a number is a tile's side in pixels of the input. When memory runs out, the tile is halved.
        self_ensemble: Average the outputs of the image turned and mirrored in eight ways: a little better, eight times
            as slow.
        downscale_first: Shrink the image by this factor before restoring it, for large images that are blurred all
            over. The output is then ``scale / downscale_first`` times as large as the image.
        probe: Reads the degradation off the network's representation, see :meth:`read_degradation`.
        scale: The factor between the network's input and its output; None reads it off the network.
        size_multiple: What the sides of the network's input must be multiples of, as windows demand it: images are padded
            by reflection, and the result is cropped. None finds it out.
        adaptation: Adapts the network to each image before restoring it; the network itself stays as it is.

    Raises:
        OptionError: An argument that is none of these, a device that is not there, a network that needs more than an LR
            image, or whose scale cannot be found out.

    Example:
        >>> net = LightBSR(scale=2, num_feat=16, num_group=1, num_block=1, num_spatial_feat=4, num_encoder_feat=8)
        >>> Upscaler(net, device="cpu").upscale(np.zeros((5, 7, 3), dtype=np.uint8)).shape
        (10, 14, 3)
    """

    def __init__(
        self,
        net: nn.Module,
        device: str | torch.device = "auto",
        precision: Literal["fp32", "bf16", "fp16"] = "fp32",
        tile: int | Literal["auto", "off"] = "auto",
        self_ensemble: bool = False,
        downscale_first: float = 1.0,
        probe: DegradationProbe | None = None,
        scale: int | None = None,
        size_multiple: int | None = None,
        adaptation: Adaptation | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise OptionError(f"precision: expected {', '.join(PRECISIONS)}, got {precision!r}.")
        is_number = isinstance(tile, int) and not isinstance(tile, bool) and tile >= SMALLEST_TILE
        if tile not in ("auto", "off") and not is_number:
            raise OptionError(f"tile: expected auto, off or an integer >= {SMALLEST_TILE}, got {tile!r}.")
        if not 1 <= downscale_first <= 64:
            raise OptionError(f"downscale_first: expected a factor from 1 to 64, got {downscale_first!r}.")
        self.device = choose_device(device)
        self.precision, self.tile, self.probe = precision, tile, probe
        self.orientations = ORIENTATIONS if self_ensemble else UPRIGHT
        self.downscale_first = downscale_first
        # What is made of the network is made on the CPU, before the device sees it.
        self._nets = {torch.float32: tiled_network(net, scale, size_multiple).to(self.device)}
        self.adaptation = adaptation
        self._network: Any = None if adaptation is None else net
        self.scale, self.size_multiple = self._nets[torch.float32].scale, self._nets[torch.float32].size_multiple
        self._largest: int | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: str | torch.device = "auto", **options: Any) -> Upscaler:
        """Make an upscaler of a model file; no code in it is run.

        Args:
            path: A ``.safetensors`` of ``lightbsr export``, a checkpoint of a training (the averaged copy is preferred),
                or one of a published code, of any method that is here; or the name of a model that comes with the package,
                such as ``lightbsr_small_x4``.
            device: See the class.
            options: The class's other arguments, such as ``precision`` and ``tile``.

        Raises:
            FileNotFoundError: No such file, and no such name.
            OptionError: No model, that of a method that is not here, or a teacher; the message names the file.
        """
        model = load_model(path)
        return cls(model.net, device, probe=model.card.probe, **options)

    def upscale(self, image: Picture, progress: Progress | None = None) -> Picture:
        """Restore an image.

        Args:
            image: A numpy array, (H, W) or (H, W, channels) with grey, grey and alpha, RGB, or RGB and alpha, as uint8,
                uint16 or floats in [0, 1]; a PIL image of any mode, which is turned upright by its EXIF orientation; or
                a tensor (channels, H, W) or (N, channels, H, W), uint8 or floats in [0, 1]. It is not changed.
            progress: Called with the share that is done, from 0 to 1.

        Returns:
            The same kind of thing, ``scale`` times as large in both directions, in the same range and of the same type.
            Alpha is enlarged by bicubic interpolation, apart from the colours.

        Raises:
            ImageError: No image, values that are not finite or out of range.
            OptionError: The network gives values that are not finite in fp32 too.
            MemoryError, RuntimeError: Memory does not suffice for the smallest tile either.
        """
        if isinstance(image, Tensor) and image.dim() == 4 and len(image) > 0:
            return torch.stack([self.upscale(one, progress) for one in image])
        return like(image, self.upscale_array(to_array(image), progress))

    def upscale_array(
        self, image: NDArray[Any], progress: Progress | None = None, make_canvas: Any = np.empty
    ) -> NDArray[Any]:
        """As :meth:`upscale`, of an array.

        Args:
            image: As there.
            progress: As there.
            make_canvas: Makes the array that the colours go to, of a shape and ``dtype``: for results that are larger
                than the memory.
        """
        planes = take_apart(image)
        colour, alpha = planes.colour, planes.alpha
        if self.downscale_first != 1:
            colour = shrink(colour, self.downscale_first)
            alpha = None if alpha is None else shrink(alpha, self.downscale_first)
        shape = (colour.shape[0] * self.scale, colour.shape[1] * self.scale, 3)
        canvas: Canvas = make_canvas(shape, dtype=colour.dtype)
        upscaler = self if self.adaptation is None else self._adapted(self.adaptation, colour)
        upscaler._restore(colour, canvas, progress)
        return planes.join(canvas, None if alpha is None else enlarge(alpha, self.scale))

    def read_degradation(self, image: Picture) -> dict[str, float]:
        """What the stored probe reads off the network's representation of an image.

        Args:
            image: As for :meth:`upscale`.

        Returns:
            Quantities such as ``sigma`` by name; nothing where the model holds no probe.
        """
        if self.probe is None:
            return {}
        colour = take_apart(to_array(image)).colour
        if self.downscale_first != 1:
            colour = shrink(colour, self.downscale_first)
        with torch.inference_mode():
            representation = self._net(torch.float32).represent(Source(colour, self.device), _READ_AT_A_TIME)
        return self.probe.read(representation[0].cpu().numpy())

    def _adapted(self, adaptation: Adaptation, colour: Canvas) -> Upscaler:
        """An upscaler with the same settings whose network is adapted to an image."""
        lq = Source(colour, self.device).piece(0, colour.shape[0], 0, colour.shape[1])
        net = adapt(adaptation, deepcopy(self._network).to(self.device).eval(), lq)
        return Upscaler(
            net.cpu(),
            self.device,
            self.precision,
            self.tile,
            self_ensemble=self.orientations is ORIENTATIONS,
            scale=self.scale,
            size_multiple=self.size_multiple,
        )

    def _net(self, dtype: torch.dtype) -> TiledNetwork:
        with self._lock:
            if dtype not in self._nets:
                self._nets[dtype] = deepcopy(self._nets[torch.float32]).to(dtype)
            return self._nets[dtype]

    def _restore(self, colour: Canvas, canvas: Canvas, progress: Progress | None) -> None:
        dtype = PRECISIONS[self.precision]
        tile = self._first_tile(colour, dtype)
        while True:
            try:
                with torch.inference_mode():
                    restore(self._net(dtype), colour, canvas, tile, self.orientations, progress)
                return
            except NotFiniteError as error:
                if dtype == torch.float32:
                    raise OptionError(
                        "the network gives NaN or infinity for this image, in fp32 too: its weights are damaged."
                    ) from error
                warnings.warn(
                    f"{self.precision} gave values that are not finite; the image is done again in fp32.",
                    stacklevel=4,
                )
                dtype = torch.float32
            except (MemoryError, RuntimeError) as error:
                smaller = max(SMALLEST_TILE, (max(colour.shape[:2]) if tile is None else tile) // 2)
                if not is_out_of_memory(error) or tile == SMALLEST_TILE:
                    raise
                tile = smaller
            # Outside of the handlers, where the error no longer holds what the tile took.
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self._largest = tile

    def _first_tile(self, colour: Canvas, dtype: torch.dtype) -> int | None:
        """The side of a tile; None for the whole image."""
        if self.tile == "off":
            return self._largest
        if self.tile == "auto":
            needed = self._nets[torch.float32].bytes_per_pixel(dtype.itemsize)
            tile = fitting_tile(needed, self.scale, colour.shape[1], self.device)
        else:
            tile = int(self.tile)
        tile = tile if self._largest is None else min(tile, self._largest)
        fits_whole = self.tile == "auto" and colour.shape[0] * colour.shape[1] <= tile**2
        return None if fits_whole else tile


def choose_device(device: str | torch.device) -> torch.device:
    """The device that a name stands for; ``auto`` is CUDA or Apple's GPU where there is one, else the CPU.

    Raises:
        OptionError: No such device, or it is not there.
    """
    has_mps = torch.backends.mps.is_available()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise OptionError(f"device: expected auto, cpu, cuda, cuda:N or mps, got {device!r}.") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": has_mps}.get(chosen.type)
    if there is None:
        raise OptionError(f"device: expected auto, cpu, cuda, cuda:N or mps, got {device!r}.")
    if not there or (chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()):
        raise OptionError(f"device: there is no {device} here; `auto` or `cpu` work.")
    return chosen
