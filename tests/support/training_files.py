"""The content of option files for runs of a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from lightbsr_model.bridge import launcher

from support.model_options import MSRRESNET, TEACHER_NETWORK, merged, model_options

METRICS = {"psnr": {"type": "calculate_psnr", "crop_border": 4, "test_y_channel": True}}


def training_options(images: Path, **changes: Any) -> dict[str, Any]:
    """A file's content: a teacher, 6 images in batches of 2."""
    opt = model_options("teacher", TEACHER_NETWORK, encoder_iter=2, total_iter=5)
    for key in ("is_train", "dist", "rank", "world_size"):
        del opt[key]
    opt["name"] = "run"
    opt["datasets"] = {
        "train": {
            "name": "train",
            "type": "BlindDegradationPairedDataset",
            "dataroot_gt": str(images),
            "preset": "setting1_x4",
            "gt_size": 32,
            "views": 2,
            "num_worker_per_gpu": 0,
            "batch_size_per_gpu": 2,
        },
        "val": {
            "name": "val",
            "type": "BlindDegradationBenchmarkDataset",
            "dataroot_gt": str(images),
            "preset": "iso_2.4",
        },
    }
    opt["val"] = {"val_freq": 4, "save_img": False, "metrics": METRICS}
    opt["logger"] = {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False}
    return merged(opt, changes)


def plain_training(images: Path, network: Mapping[str, Any] = MSRRESNET, **train: Any) -> dict[str, Any]:
    """The same with BasicSR's own SRModel."""
    opt = training_options(images, model_type="SRModel")
    opt["network_g"] = dict(network)
    opt["datasets"]["train"].update(degrade_in="loader", views=1)
    del opt["train"]["contrastive_opt"], opt["train"]["encoder_iter"]
    opt["train"].update(scheduler={"type": "MultiStepLR", "milestones": [4], "gamma": 0.5}, **train)
    return opt


BICUBIC = {"name": "bicubic", "model_type": "SRModel", "network_g": {"type": "BicubicUpsampler", "scale": 4}}


def as_test(opt: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Options of a test of a training's network on the training's validation set."""
    kept = {key: opt[key] for key in ("model_type", "scale", "num_gpu", "manual_seed", "network_g")}
    datasets, val = {"test": opt["datasets"]["val"]}, {**opt["val"], "suffix": None}
    return {**kept, "name": "tested", "path": {}, "datasets": datasets, "val": val, **changes}


def write_options(folder: Path, opt: dict[str, Any]) -> Path:
    """Write ``run.yml`` into a folder, which is made and returned."""
    folder.mkdir(exist_ok=True)
    (folder / "run.yml").write_text(yaml.safe_dump(opt, sort_keys=False))
    return folder


def log_of(folder: Path) -> str:
    """All logs of a run's folder."""
    return "".join(path.read_text() for path in sorted(folder.glob("*.log")))


def assert_resumes_exactly(run: Callable[..., None], root: Path, opt: dict[str, Any]) -> None:
    """A training at once and one that is stopped after two iterations and resumed leave the same weights."""
    run(launcher.train, {**opt, "name": "whole"})
    run(launcher.train, {**opt, "name": "resumed", "train": {**opt["train"], "total_iter": 2}})
    run(launcher.train, {**opt, "name": "resumed"}, "--auto_resume")
    files = sorted((root / "experiments/whole/models").glob("*_latest.pth"))
    assert files
    for path in files:
        whole, resumed = (torch.load(root / f"experiments/{name}/models" / path.name) for name in ("whole", "resumed"))
        for key in whole.keys() & {"params", "params_ema"}:
            assert all(torch.equal(value, resumed[key][name]) for name, value in whole[key].items())
