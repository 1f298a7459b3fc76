from __future__ import annotations

import sys
import types
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchmetrics.image
from basicsr.metrics import calculate_niqe

from lightbsr_arch.errors import OptionError
from lightbsr_model.evaluation.comparison import metrics
from lightbsr_model.evaluation.comparison.metrics import get_metric


@pytest.fixture(autouse=True)
def _forget():
    yield
    metrics._learned.cache_clear()
    metrics._pyiqa.cache_clear()


@pytest.fixture
def pair():
    import skimage.data

    gt = skimage.data.astronaut()[:200, 100:300]
    return np.clip(gt.astype(int) + np.random.default_rng(0).integers(-9, 10, gt.shape), 0, 255).astype(np.uint8), gt


def test_rgb_metrics_and_niqe_are_basicsrs(pair):
    image, gt = pair
    error = ((image[4:-4, 4:-4].astype(float) - gt[4:-4, 4:-4]) ** 2).mean()
    assert get_metric("psnr").measure(image, gt, 4) == pytest.approx(10 * np.log10(255**2 / error), abs=1e-6)
    assert get_metric("psnr_y").measure(image, gt, 4) > get_metric("psnr").measure(image, gt, 4)
    assert get_metric("ssim").measure(gt, gt, 4) == pytest.approx(1)
    expected = float(np.squeeze(calculate_niqe(image[:, :, ::-1], 4, input_order="HWC", convert_to="y")))
    assert get_metric("niqe").measure(image, gt, 4) == pytest.approx(expected)
    assert not get_metric("niqe").higher_is_better


def test_metrics_on_y_of_known_images():
    gt = np.full((40, 40, 3), 100, np.uint8)
    gt[::2] = 140
    assert get_metric("ssim_y").measure(gt, gt, 4) == pytest.approx(1.0)
    # Grey shifted by 10: Y shifts by 10 * 219 / 255.
    expected = 20 * np.log10(255 / (10 * 219 / 255))
    assert get_metric("psnr_y").measure(gt + np.uint8(10), gt, 4) == pytest.approx(expected, abs=1e-3)


def test_metrics_equal_published(golden):
    data = golden("metrics")
    sr, gt = (data[f"metric_{key}"][0].numpy().transpose(1, 2, 0).round().astype(np.uint8) for key in ("sr", "gt"))
    assert abs(get_metric("psnr_y").measure(sr, gt, 4) - float(data["metric_psnr_y"])) < 1e-4
    assert abs(get_metric("ssim_y").measure(sr, gt, 4) - float(data["metric_ssim_y"])) < 1e-5


class _Distance(torch.nn.Module):
    """Stands in for a learned metric, whose weights are not at hand."""

    def __init__(self, *_, **__):
        super().__init__()

    def forward(self, image, gt):
        assert image.min() >= 0
        assert image.max() <= 1
        return (image - gt).abs().mean() + (image - gt)[:, 0].mean()


@pytest.mark.parametrize(
    ("name", "cls"),
    [("lpips", "LearnedPerceptualImagePatchSimilarity"), ("dists", "DeepImageStructureAndTextureSimilarity")],
)
def test_learned_metrics_see_rgb_in_0_to_1_without_the_border(pair, monkeypatch, name, cls):
    monkeypatch.setattr(torchmetrics.image, cls, _Distance)
    image, gt = pair
    inner = (image[4:-4, 4:-4].astype(float) - gt[4:-4, 4:-4]) / 255
    expected = np.abs(inner).mean() + inner[:, :, 0].mean()
    assert get_metric(name).measure(image, gt, 4) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["lpips", "dists"])
def test_weights_that_cannot_be_fetched_are_explained(monkeypatch, name):
    def fail(*_, **__):
        raise URLError("no network")

    for cls in ("LearnedPerceptualImagePatchSimilarity", "DeepImageStructureAndTextureSimilarity"):
        monkeypatch.setattr(torchmetrics.image, cls, fail)
    with pytest.raises(
        OptionError, match=f"{name} needs weights that torchvision downloads, which failed .*no network"
    ):
        get_metric(name)


def test_pyiqa_where_it_is_installed(pair, monkeypatch):
    if "pyiqa" not in sys.modules:
        with pytest.raises(OptionError, match="needs pyiqa, which is not installed"):
            get_metric("pyiqa:lpips")
    network = _Distance()
    network.metric_mode, network.lower_better = "FR", True
    module = types.ModuleType("pyiqa")
    module.__spec__ = types.SimpleNamespace()
    module.list_models = lambda: ["close"]
    module.create_metric = lambda name: network
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    image, gt = pair
    metric = get_metric("pyiqa:close")
    assert (metric.label, metric.higher_is_better) == ("close", False)
    assert metric.measure(gt, gt, 4) == 0
    assert metric.measure(image, gt, 4) > 0
    with pytest.raises(OptionError, match="pyiqa has no metric 'far'"):
        get_metric("pyiqa:far")
