"""BasicSR's own models train on batches that are degraded on the device."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model

from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge.patches import apply_patches
from lightbsr_model.degradation import degrade, isotropic_gaussian_kernels
from lightbsr_model.training.batch import Batch
from lightbsr_model.training.batch_degrader import BatchDegrader

from support.model_options import with_discriminator
from support.training_files import assert_resumes_exactly, plain_training


def _batch(views=1):
    generator = torch.Generator().manual_seed(0)
    return {
        "gt_views": torch.randint(0, 256, (2, views, 3, 32, 32), generator=generator).byte(),
        "kernel": isotropic_gaussian_kernels(torch.tensor([1.0, 2.5])),
        "noise_level": torch.tensor([0.0, 12.0]),
    }


@pytest.mark.parametrize("model_type", ["SRModel", "SRGANModel"])
def test_basicsrs_models_degrade_on_the_device(image_folder, model_type):
    apply_patches()
    opt = with_discriminator(plain_training(image_folder))
    opt["datasets"]["train"].update(scale=4, degrade_in="device", degradation={"noise_level": [0, 25]})
    opt.update(model_type=model_type, is_train=True, dist=False, rank=0, world_size=1, path={})
    model = build_model(opt)
    model.completed_iter = 6
    images = []
    for _ in range(2):
        model.feed_data(_batch())
        images.append(model.lq)
    degrader = BatchDegrader(opt, torch.device("cpu"))
    degrader.begin(7)
    for image in images:  # the two parts of iteration 7
        assert torch.equal(image, degrader(_batch()).lq)
    assert not torch.equal(*images)
    noise_free = degrade(_batch()["gt_views"], _batch()["kernel"], None, 4, separable=True)[:, 0]
    assert torch.equal(images[0][0], noise_free[0])
    assert torch.equal(model.gt, _batch()["gt_views"][:, 0] / 255)
    with pytest.raises(OptionError, match=rf"views: {model_type} sees one view of a sample: expected 1, got 2"):
        model.feed_data(_batch(views=2))


def test_srmodel_trains_and_resumes_on_the_device(image_folder, run, tmp_path):
    opt = plain_training(image_folder, total_iter=4)
    opt["datasets"]["train"].update(degrade_in="device", degradation={"noise_level": 10})
    assert_resumes_exactly(run, tmp_path, opt)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"kernel": torch.rand(1, 21, 21)}, "a batch has kernel: expected `lq`, or `gt_views` and `kernel`"),
        ({"lq": torch.rand(1, 2, 3, 8, 8)}, r"`lq` has the shape \(1, 2, 3, 8, 8\): .* called `views`"),
    ],
)
def test_a_batch_without_names_is_explained(tensors, message):
    with pytest.raises(OptionError, match=message):
        Batch.of(tensors)
