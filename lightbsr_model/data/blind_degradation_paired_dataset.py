"""Training data: GT patches and the degradations that turn them into LR patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from lightbsr_arch.errors import OptionError
from lightbsr_model.data.image_sources import ImageReader
from lightbsr_model.data.lq_images import degradation_of_batches
from lightbsr_model.data.mixing import ImageMix, mix_sections
from lightbsr_model.data.patches import PatchSource
from lightbsr_model.data.set_options import PairedSet


@DATASET_REGISTRY.register()
class BlindDegradationPairedDataset(Dataset[dict[str, Any]]):
    """Random GT crops with a random degradation per sample, or random crops of LQ and GT images that exist already.

    Args:
        opt: Options of the data set. It contains the following keys:
            dataroot_gt (str): Folder or LMDB of GT images.
            io_backend (dict): ``type``: disk (default), lmdb, or bundled (scikit-image's images).
            meta_info_file (str): Optional, disk only: list of the images to take.
            dataroot_lq (str): Optional: folder or LMDB of finished LQ images, instead of ``preset``.
            filename_tmpl (str): Name of an LQ image without extension; {} is its GT image's. Default: '{}'.
            pictures (list[str]): For bundled: the images by name.
            scale (int): The factor; BasicSR copies the file's ``scale`` here.
            gt_size (int): Side of a GT patch, a multiple of the scale.
            views (int): Patches of one image under one degradation, each cropped and flipped on its own. Default: 1.
            use_hflip (bool): Flip horizontally at random. Default: True.
            use_rot (bool): Rotate by multiples of 90 degrees at random. Default: True.
            preset (str): Name of the degradation, see :mod:`lightbsr_model.degradation.presets`.
            degradation (dict): Optional: parameters of the preset to override.
            border (str): What the downsampling sees outside a patch: clamp (default) or symmetric.
            degrade_in (str): ``device`` (default) leaves the degrading to the model, in whole batches; ``loader`` gives
                finished pairs that any model trains on, whatever it makes of a batch.
            degradation_per (str): sample (default), or batch: all samples of a batch take the first one's degradation
                (arXiv 2211.16928); or sizes, for real-world presets: only its sizes, modes and order of operations, as in
                BasicSR's Real-ESRGAN. The model does that, so only with ``degrade_in: device``.
            pool (int): Samples in a pool that mixes the degradations of many batches, a multiple of the batch; the model has
                it, so only with ``degrade_in: device``. Default: 0, none.
            mix (list[dict]): Optional: several sets of images. An entry has a ``weight`` (a number above 0, default 1) and
                overrides keys from ``dataroot_gt`` to ``pictures``, ``use_hflip``, ``use_rot``, ``preset`` and
                ``degradation`` above; it inherits what it does not give. A sample is of an entry with a probability of its
                weight by the sum of all, and there of any image with equal probability. An epoch has as many samples as the
                entries have images together (times ``dataset_enlarge_ratio``). Either all entries have a ``preset``, or all
                have ``dataroot_lq``.

    Example of a mix::

        type: BlindDegradationPairedDataset
        preset: setting1_x4
        mix:
          - {dataroot_gt: datasets/DF2K, weight: 3}
          - {dataroot_gt: datasets/faces, preset: setting2_x4, degradation: {jpeg: [30, 95]}}

    A sample has ``gt_path``, and
    with ``degrade_in: device``: ``gt_views`` (views, 3, gt_size, gt_size), uint8;
    with ``degrade_in: loader`` or ``dataroot_lq``: ``lq`` (3, gt_size / scale, gt_size / scale) and ``gt``
    (3, gt_size, gt_size), float32 in [0, 1], RGB, and ``lq_path``; with more than one view they are those of the first
    view, and ``views`` and ``gt_views`` have those of all. With a ``preset`` it has the degradation's parameters too, float32:
    ``kernel`` (21, 21), ``noise_level`` (scalar, 0..255) and ``jpeg_quality`` (scalar, 1 to 100, 0 for none), or of a
    real-world one ``degradation``, a vector of numbers.

    Images are decoded only as far as the crops need, see :mod:`lightbsr_model.data.row_decoding`.

    Raises:
        OptionError: Options that do not fit, by key.
    """

    declared_options: ClassVar[Mapping[str, type]] = {"": PairedSet}

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.scale = int(opt["scale"])
        self.gt_size = int(opt["gt_size"])
        self.views = int(opt.get("views", 1))
        self.degrade_in = opt.get("degrade_in", "device")
        self.border = opt.get("border", "clamp")
        if self.gt_size < self.scale or self.gt_size % self.scale or self.gt_size <= 10:
            raise OptionError(
                "gt_size",
                f"expected a multiple of the scale {self.scale}, above 10 (a 21x21 kernel reflects at the border), "
                f"got {self.gt_size}.",
            )
        if self.views < 1:
            raise OptionError("views", f"expected 1 or more, got {self.views}.")
        if self.degrade_in not in ("device", "loader"):
            raise OptionError("degrade_in", f"expected device or loader, got {self.degrade_in!r}.")
        per = opt.get("degradation_per", "sample")
        if per not in ("sample", "batch", "sizes"):
            raise OptionError("degradation_per", f"expected sample, batch or sizes, got {per!r}.")
        if per != "sample" and self.degrade_in == "loader":
            raise OptionError(
                "degradation_per", f"a loader degrades each sample alone; {per} needs degrade_in: device."
            )
        if opt.get("pool") and self.degrade_in == "loader":
            raise OptionError("pool", "the model mixes batches that it degrades: it needs degrade_in: device.")
        self.sources = [self._open(section, number) for number, section in enumerate(mix_sections(opt))]
        self.degradation = degradation_of_batches(opt)
        """What applies a batch of samples; None if they are finished pairs."""
        if per == "sizes" and not hasattr(self.degradation, "sharing_sizes"):
            raise OptionError(
                "degradation_per", "sizes is for real-world presets (realworld_x4, photo_x4): take sample."
            )
        self.images: ImageReader | ImageMix = self.sources[0].images
        if opt.get("mix") is not None:
            weights = [entry.get("weight", 1) for entry in opt["mix"]]
            self.images = ImageMix([source.images for source in self.sources], weights)

    def _open(self, section: Mapping[str, Any], number: int) -> PatchSource:
        try:
            return PatchSource(section)
        except OptionError as error:
            if self.opt.get("mix") is None:
                raise
            raise error.within(f"mix[{number}]") from error

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        # A generator of the sample's own, from torch's global one: of manual_seed, of the worker and the epoch in a plain
        # loader; of the sample's place in the run under lightbsr's launcher.
        seed = int(torch.randint(2**62, ()))
        number, image = 0, int(index)
        if isinstance(self.images, ImageMix):
            number, image = self.images.choose(index, getattr(index, "seed", seed))
        return self.sources[number].sample(image, torch.Generator().manual_seed(seed))
