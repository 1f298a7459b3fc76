"""Our two data sets on a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from basicsr.data import build_dataset
from torch.utils.data import Dataset

BENCHMARK = {"type": "BlindDegradationBenchmarkDataset", "name": "b", "scale": 4, "phase": "val"}
PAIRED = {"type": "BlindDegradationPairedDataset", "name": "p", "scale": 4, "phase": "train", "gt_size": 32}


def paired(folder: Path, **options: Any) -> Dataset[dict[str, Any]]:
    """The training set."""
    return build_dataset({**PAIRED, "dataroot_gt": str(folder), "preset": "setting2_x4", **options})


def benchmark(folder: Path, **options: Any) -> Dataset[dict[str, Any]]:
    """The test set."""
    return build_dataset({**BENCHMARK, "dataroot_gt": str(folder), "preset": "aniso_k3_n5", **options})
