"""Several sets of images in one training: the sections that ``mix`` stands for, and which image a sample is of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from lightbsr_arch.errors import OptionError
from lightbsr_model.data.image_sources import ImageReader
from lightbsr_model.runtime.declared_keys import shown
from lightbsr_model.runtime.random_streams import derive_seed

ENTRY_KEYS = frozenset(
    (
        *("weight", "dataroot_gt", "dataroot_lq", "filename_tmpl", "io_backend", "meta_info_file", "pictures"),
        *("preset", "degradation", "use_hflip", "use_rot"),
    )
)
"""Keys of an entry of ``mix``; all others are the section's, since the samples of a batch share them."""


def mix_sections(opt: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The sections of the sets that a section mixes: each entry with what it inherits; without ``mix`` the section itself.

    Raises:
        OptionError: ``mix`` is not what it should be, see :func:`mix_problems`.
    """
    if opt.get("mix") is None:
        return [opt]
    for key, message in mix_problems(opt):
        raise OptionError(f"{entry_name(key)}: {message}.")
    return [{**opt, **entry, "mix": None} for entry in opt["mix"]]


def entry_name(key: Sequence[str]) -> str:
    """A key of an entry as errors name it: ``mix[1].preset``."""
    return "".join(f"[{word}]" if word.isdigit() else f".{word}" for word in key).removeprefix(".")


def mix_problems(opt: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong with a section's ``mix`` as far as the options alone say, by key within the section."""
    entries = opt["mix"]
    if not isinstance(entries, list) or not entries:
        yield (
            ("mix",),
            f"expected a list of data sets, such as [{{dataroot_gt: A, weight: 3}}, ...], got {shown(entries)}",
        )
        return
    finished = {}
    for number, entry in enumerate(entries):
        place = ("mix", str(number))
        if not isinstance(entry, dict):
            yield place, f"expected keys and values, such as {{dataroot_gt: A, weight: 3}}, got {shown(entry)}"
            continue
        for name in entry:
            if name not in ENTRY_KEYS:
                known = ", ".join(sorted(ENTRY_KEYS))
                yield (
                    (*place, str(name)),
                    f"an entry takes {known}; what all samples of a batch share is given once, beside mix",
                )
        weight = entry.get("weight", 1)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
            yield (*place, "weight"), f"expected a number above 0, got {shown(weight)}"
        finished[number] = {**opt, **entry}.get("dataroot_lq") is not None
    first = next(iter(finished.values()), False)
    for number, is_finished in finished.items():
        if is_finished != first:
            kinds = {True: "finished LQ images (dataroot_lq)", False: "images to be degraded (preset)"}
            yield (
                ("mix", str(number)),
                f"{kinds[is_finished]} beside {kinds[first]} of the first entry: their samples do not fit in one batch; give "
                "all entries dataroot_lq, or all a preset",
            )
            return


class ImageMix:
    """The images of several sets, drawn by weight.

    A sample is of set i with probability weight_i / sum of the weights, and of each of its images with equal probability:
    both are drawn from the sample's seed. The index moves on from the image drawn, so that the next index is the next image
    of the same set (``skip_bad_images``). So an epoch of a mix is a number of samples, not a pass over all images.

    Args:
        readers: The sets.
        weights: One for each, above 0.
    """

    def __init__(self, readers: Sequence[ImageReader], weights: Sequence[float]) -> None:
        self.readers = readers
        self._limits = torch.tensor(weights, dtype=torch.float64).cumsum(0)

    def __len__(self) -> int:
        """The images of all sets together, which is the length of an epoch."""
        return sum(len(reader) for reader in self.readers)

    def choose(self, index: int, seed: int) -> tuple[int, int]:
        """The set of a sample, and the image's index in it."""
        generator = torch.Generator().manual_seed(derive_seed("mix", seed))
        place = torch.rand((), generator=generator, dtype=torch.float64) * self._limits[-1]
        number = min(int(torch.searchsorted(self._limits, place, right=True)), len(self.readers) - 1)
        count = len(self.readers[number])
        return number, (int(torch.randint(count, (), generator=generator)) + int(index)) % count

    def name(self, index: int) -> str:
        """The path or name of a sample's image.

        Args:
            index: One that carries its sample's ``seed``, as those of ``lightbsr``'s sampler do.
        """
        number, image = self.choose(index, getattr(index, "seed", 0))
        return self.readers[number].name(image)
