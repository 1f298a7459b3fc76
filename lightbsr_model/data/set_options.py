"""The keys of our data sets: ``datasets: {train: ..., val: ...}``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lightbsr_model.runtime.declared_keys import key

SMALLEST_CROP = 11
"""A blur kernel of 21x21 reflects 10 pixels at each border."""


@dataclass(frozen=True)
class IoBackend:
    """How the images of a data set are stored."""

    type: Literal["disk", "lmdb", "bundled", "memcached"] = key(
        "A folder of images, an LMDB, scikit-image's bundled images (our data sets only), or memcached (BasicSR's only).",
        "disk",
    )
    db_paths: list[str] | str | None = key("BasicSR's data sets: LMDBs; the data set sets it from dataroot_*.", None)
    client_keys: list[str] | str | None = key("BasicSR's data sets: names of the LMDBs; the data set sets them.", None)
    server_list_cfg: str | None = key("Memcached: its list of servers.", None)
    client_cfg: str | None = key("Memcached: settings of its client.", None)
    sys_path: str | None = key(
        "Memcached: the folder that its module is imported from; needs --allow-local-code.", None
    )


@dataclass(frozen=True)
class BlindDegradationSet:
    """Keys of both of our data sets."""

    dataroot_gt: str | None = key("Folder or LMDB of the GT images.", None)
    io_backend: IoBackend = key("How the images are stored.", {"type": "disk"})
    meta_info_file: str | None = key("Text file that lists the images to take, on disk only; ~ takes all.", None)
    pictures: list[str] | None = key("With io_backend bundled: scikit-image's images by name, such as astronaut.", None)
    dataroot_lq: str | None = key("Folder or LMDB of finished LQ images, instead of preset.", None)
    filename_tmpl: str | None = key("Name of an LQ image without extension; {} is its GT image's name.", "{}")
    preset: str | None = key("Name of the degradation, such as setting1_x4, bicubic or iso_1.2.", None)
    degradation: dict[str, Any] | None = key(
        "Parameters of the preset to override, such as {sigma: [0.2, 3.0]} or {kernel_disturb: 0.25}.", None
    )
    border: Literal["clamp", "symmetric"] = key(
        "What the downsampling sees outside the image: its edge pixel (as published), or the image mirrored (MATLAB).",
        "clamp",
    )


@dataclass(frozen=True)
class PairedSet(BlindDegradationSet):
    """Keys of a training set of type BlindDegradationPairedDataset."""

    gt_size: int = key(
        "Side of a GT patch in pixels, a multiple of scale.",
        low=SMALLEST_CROP,
        high=8192,
        reason="a 21x21 kernel reflects at the border",
    )
    views: int = key(
        "Patches of one image under one degradation, each cropped and flipped independently.", 1, low=1, high=64
    )
    use_hflip: bool = key("Flip patches horizontally at random.", True)
    use_rot: bool = key("Rotate patches by multiples of 90 degrees at random.", True)
    degrade_in: Literal["device", "loader"] = key(
        "device: the model degrades whole batches; loader: finished pairs, for any other model.", "device"
    )
    degradation_per: Literal["sample", "batch", "sizes"] = key(
        "sample: one degradation per sample; batch: all samples of a batch share the first one's; sizes: of a real-world "
        "one only its sizes and its order of operations, so that they are degraded together.",
        "sample",
    )
    pool: int = key(
        "Samples in a pool that mixes the degradations of many batches, a multiple of the batch; 0 is none. It is saved too.",
        0,
        low=0,
        high=2**20,
    )
    mix: list[Any] | None = key(
        "Several sets of images in one training, such as [{dataroot_gt: A, weight: 3}, {dataroot_gt: B}]; an entry overrides "
        "keys of this section.",
        None,
    )


@dataclass(frozen=True)
class BenchmarkSet(BlindDegradationSet):
    """Keys of a validation or test set of type BlindDegradationBenchmarkDataset."""

    seed: int = key("Of the noise, and of parameters that are a range.", 0, low=-(2**63))
