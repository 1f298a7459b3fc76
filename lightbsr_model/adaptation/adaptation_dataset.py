"""Training data of an adaptation in BasicSR's loop: crops of LR images, and crops of sharp images of something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from lightbsr_arch.errors import OptionError
from lightbsr_model.adaptation.references import References, refuse_same
from lightbsr_model.adaptation.targets import TargetImages
from lightbsr_model.data.image_sources import FolderImages
from lightbsr_model.runtime.declared_keys import key


@dataclass(frozen=True)
class AdaptationSet:
    """Keys of a training set of type AdaptationDataset."""

    dataroot_lq: str = key("Folder of the LR images that are adapted to.")
    references: str = key("Folder or LMDB of sharp images of anything else, or bundled: scikit-image's.", "bundled")
    seed: int = key("Of the parts that are taken of large images, and of the references.", 0, low=0, high=2**62)


@DATASET_REGISTRY.register()
class AdaptationDataset(Dataset[dict[str, Any]]):
    """Crops of LR images without HR images, each beside a crop of a reference that has nothing to do with it.

    Args:
        opt: Options of the data set. It contains the following keys:
            dataroot_lq (str): Folder of the LR images.
            references (str): Folder or LMDB of sharp images, or ``bundled`` (default).
            seed (int): Of the parts that are taken of large images, and of the references. Default: 0.
            scale (int): The factor; BasicSR copies the file's ``scale`` here.

    A sample has ``lq`` (3, 48, 48) and ``gt`` (3, scale * 48, scale * 48), float32 in [0, 1], which are **not** a pair;
    ``detail`` (1, 48, 48), where the LR image has detail; ``image``, its number; ``lq_path`` and ``gt_path``. As many
    samples as there are parts of LR images are an epoch: see ``dataset_enlarge_ratio``.

    Raises:
        OptionError: Images that cannot be used, by key.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"": AdaptationSet}

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.scale = int(opt["scale"])
        self.targets = read_targets(opt)
        self.references = References(opt.get("references") or "bundled", self.scale, int(opt.get("seed") or 0))
        refuse_same(self.targets, self.references)

    def __len__(self) -> int:
        return len(self.targets.parts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        # Of the sample's own seed under lightbsr's launcher, whatever the index: a part counts by its size.
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        crops = self.targets.crops(1, generator)
        image = int(crops.images[0])
        return {
            "lq": crops.lq[0],
            "gt": self.references.crops(1, generator)[0],
            "detail": crops.detail[0],
            "image": image,
            "lq_path": self.targets.names[image],
            "gt_path": self.references.name,
        }


def read_targets(opt: Mapping[str, Any]) -> TargetImages:
    """Read the LR images of a data set's options.

    Raises:
        OptionError: There are none, or they cannot be used; by key.
    """
    if opt.get("dataroot_lq") is None:
        raise OptionError("dataroot_lq", "missing; give the folder of the LR images to adapt to.")
    folder = FolderImages(Path(opt["dataroot_lq"]).expanduser(), key="dataroot_lq")
    paths = [Path(name) for name in folder.names]
    try:
        return TargetImages.read(paths, int(opt.get("seed") or 0))
    except OptionError as error:
        raise error.within("dataroot_lq") from error
