"""Image metrics: BasicSR's functions for PSNR, SSIM and NIQE, torchmetrics and pyiqa for learned ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_model.data.decoding import RGBImage

PYIQA = "pyiqa:"
"""Prefix of the names of pyiqa's metrics."""

Measure = Callable[[RGBImage, RGBImage, int], float]


class Metric(NamedTuple):
    """An image metric."""

    label: str
    """Name in tables."""
    unit: str
    """Unit of its values; empty for none."""
    higher_is_better: bool
    decimals: int
    measure: Measure
    """Takes SR and GT, (H, W, 3), RGB 0..255, of equal size, and the border to leave out at each side."""


def _basicsr(name: str, **options: Any) -> Measure:
    def measure(image: RGBImage, gt: RGBImage, border: int) -> float:
        # BasicSR's colour conversion expects BGR.
        pair = {"img": image[:, :, ::-1], "img2": gt[:, :, ::-1]}
        return float(calculate_metric(pair, {"type": name, "crop_border": border, **options}))

    return measure


def _niqe(image: RGBImage, _: RGBImage, border: int) -> float:
    options = {"type": "calculate_niqe", "crop_border": border, "input_order": "HWC", "convert_to": "y"}
    return float(np.squeeze(calculate_metric({"img": image[:, :, ::-1]}, options)))


@cache
def _learned(name: str) -> Any:
    if importlib.util.find_spec("torchmetrics") is None:
        raise OptionError(f"metrics: {name} needs torchmetrics: pip install 'lightbsr[metrics]'.")
    from torchmetrics.image import DeepImageStructureAndTextureSimilarity, LearnedPerceptualImagePatchSimilarity

    try:
        lpips = name == "lpips"
        metric: Any = (
            LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
            if lpips
            else DeepImageStructureAndTextureSimilarity()
        )
        # DISTS downloads its weights when it is first called.
        grey = torch.full((1, 3, 64, 64), 0.5)
        metric(grey, grey)
        return metric.eval()
    except (OSError, RuntimeError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise OptionError(
            f"metrics: {name} needs weights that torchvision downloads, which failed ({reason})."
        ) from error


def _by_network(name: str) -> Measure:
    def measure(image: RGBImage, gt: RGBImage, border: int) -> float:
        with torch.no_grad():
            return float(_learned(name)(*(_to_batch(_crop(value, border)) for value in (image, gt))))

    return measure


def _crop(image: RGBImage, border: int) -> RGBImage:
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


def _to_batch(image: RGBImage) -> Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float() / 255


METRICS = {
    "psnr_y": Metric("PSNR-Y", "dB", True, 2, _basicsr("calculate_psnr", test_y_channel=True)),
    "ssim_y": Metric("SSIM-Y", "", True, 4, _basicsr("calculate_ssim", test_y_channel=True)),
    "psnr": Metric("PSNR", "dB", True, 2, _basicsr("calculate_psnr")),
    "ssim": Metric("SSIM", "", True, 4, _basicsr("calculate_ssim")),
    "niqe": Metric("NIQE", "", False, 3, _niqe),
    "lpips": Metric("LPIPS", "", False, 4, _by_network("lpips")),
    "dists": Metric("DISTS", "", False, 4, _by_network("dists")),
}
"""By the names that option files use. LPIPS and DISTS are torchmetrics'; their weights are downloaded on first use."""


def get_metric(name: str) -> Metric:
    """Look up a metric, or create one of pyiqa's.

    Raises:
        OptionError: A package that it needs is not installed.
    """
    if name in METRICS:
        metric = METRICS[name]
        if name in ("lpips", "dists"):
            _learned(name)
        return metric
    return _pyiqa(name)


@cache
def _pyiqa(name: str) -> Metric:
    if importlib.util.find_spec("pyiqa") is None:
        raise OptionError(f"metrics: {name} needs pyiqa, which is not installed (mind its non-commercial licence).")
    import pyiqa

    wanted = name.removeprefix(PYIQA)
    if wanted not in pyiqa.list_models():
        raise OptionError(f"metrics: pyiqa has no metric {wanted!r}.")
    network = pyiqa.create_metric(wanted)

    def measure(image: RGBImage, gt: RGBImage, border: int) -> float:
        images = [_to_batch(_crop(value, border)) for value in (image, gt)]
        with torch.no_grad():
            return float(network(*images[: 1 if network.metric_mode == "NR" else 2]))

    return Metric(wanted, "", not network.lower_better, 4, measure)
