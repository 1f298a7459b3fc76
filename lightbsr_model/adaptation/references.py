"""Sharp images of something else: what a network learns from under the target's degradation, and what it is judged by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightbsr_arch.errors import ImageError, OptionError
from lightbsr_model.adaptation.large_images import content_of
from lightbsr_model.adaptation.targets import CROP, TargetImages
from lightbsr_model.data.crops import draw_crop
from lightbsr_model.data.image_sources import open_all
from lightbsr_model.runtime.random_streams import derive_seed

MARGIN = 8
"""LR pixels at each side of a crop that do not judge: what the network and the degradation see beyond them is not the image."""

_CROPS = 32
"""Number of crops that are held out: this many, or more where the images that are held out are more."""

_MOST_IMAGES = 64
_LARGEST = 1024
"""At most so many images are taken, and of each a window of at most this side: memory does not grow with a set."""


class References:
    """Sharp images, a fifth of which is held out.

    Args:
        images: A folder or LMDB of them, or ``bundled``: scikit-image's.
        scale: Of the network.
        seed: Of what is chosen, held out and cut.

    Raises:
        ImageError: Fewer than two that are large enough.
        MissingFileError: They are not there.
    """

    def __init__(self, images: str | Path, scale: int, seed: int = 0) -> None:
        self.name, self.scale = str(images), scale
        self.size = CROP * scale
        reader = open_all(self.name, "references")
        order = torch.randperm(len(reader), generator=torch.Generator().manual_seed(derive_seed(seed, "chosen")))
        kept: list[Tensor] = []
        self.names_by_content: dict[str, str] = {}
        """Names of the images, see :func:`~lightbsr_model.adaptation.large_images.content_of`."""
        self.too_small: list[str] = []
        for place in order.tolist():
            pixels = reader.read(place)
            self.names_by_content[content_of(pixels)] = reader.name(place)
            if min(pixels.shape[:2]) < self.size:
                self.too_small.append(reader.name(place))
                continue
            generator = torch.Generator().manual_seed(derive_seed(seed, "window", place))
            kept.append(_window(pixels, generator))
            if len(kept) == _MOST_IMAGES:
                break
        if len(kept) < 2:
            smaller = f" and {len(self.too_small)} smaller ones" if self.too_small else ""
            raise ImageError(
                f"references {images}: expected at least 2 images of {self.size}x{self.size} pixels or more, one to learn from "
                f"and one to judge by; got {len(kept)}{smaller}."
            )
        held = max(1, len(kept) // 5)
        self._learn, judges = kept[held:], kept[:held]
        generator = torch.Generator().manual_seed(derive_seed(seed, "held out"))
        count = max(_CROPS, held)
        self.held_out = torch.stack(
            [_cut(judges[i * held // count], self.size, generator, turn=False) for i in range(count)]
        )
        """(N, 3, scale * CROP, scale * CROP), uint8, image by image."""
        self.counts = (len(self._learn), held)
        """Number of images to learn from and to judge by."""

    def crops(self, count: int, generator: torch.Generator, device: torch.device | None = None) -> Tensor:
        """Draw crops to learn from, (count, 3, scale * CROP, scale * CROP) in [0, 1], of any image with equal probability."""
        chosen = torch.randint(len(self._learn), (count,), generator=generator).tolist()
        cut = torch.stack([_cut(self._learn[number], self.size, generator) for number in chosen])
        return cut.to(device).float() / 255

    def held_out_halves(self, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """The held-out crops by which weights are chosen, and those by which the chosen ones are judged.

        Each is (N, 3, scale * CROP, scale * CROP) in [0, 1]; less :data:`MARGIN` at each side crops are 128x128 at x4. The two
        halves are of different images, but for one image where their number is odd.
        """
        chosen, judged = (half.to(device).float() / 255 for half in self.held_out.tensor_split(2))
        return chosen, judged


def refuse_same(targets: TargetImages, references: References) -> None:
    """Refuse references that are the LR images themselves, in whatever file: nothing sharp could be learnt from them.

    Raises:
        OptionError: A reference has the very pixels of one of the images. Those that are bundled may.
    """
    if references.name == "bundled":
        return
    for name, content in zip(targets.names, targets.contents, strict=True):
        same = references.names_by_content.get(content)
        if same is not None:
            raise OptionError(
                f"references {references.name}: {Path(same).name} is one of the images to adapt to, {Path(name).name}. "
                "References are sharp images of anything else: name others, or leave them out to take those that come with "
                "scikit-image."
            )


def _window(pixels: NDArray[np.uint8], generator: torch.Generator) -> Tensor:
    top, left = (int(torch.randint(max(1, side - _LARGEST + 1), (), generator=generator)) for side in pixels.shape[:2])
    window = pixels[top : top + _LARGEST, left : left + _LARGEST]
    return torch.from_numpy(np.ascontiguousarray(window.transpose(2, 0, 1)))


def _cut(image: Tensor, size: int, generator: torch.Generator, turn: bool = True) -> Tensor:
    height, width = image.shape[1:]
    crop = draw_crop((height, width), size, turn, turn, generator)
    cut = image[:, crop.top : crop.top + size, crop.left : crop.left + size]
    return (cut.flip(2) if crop.flip else cut).rot90(crop.turns, (1, 2))
