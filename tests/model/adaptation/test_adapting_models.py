"""Adapting in BasicSR's loop: what learns, by what losses, and that a resumed run knows its parent."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model

from lightbsr_arch.errors import OptionError
from lightbsr_arch.methods.rdsr import LAYOUTS, LinearDownsampler
from lightbsr_model.adaptation.adaptation_dataset import AdaptationDataset
from lightbsr_model.methods import rdsr

from support.adapting import (
    ALL_LOSSES,
    GAN,
    L1,
    WEIGHTED,
    adapting_batch,
    adapting_files,
    adapting_options,
    enlarging_student,
)
from support.training_files import assert_resumes_exactly


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapting")
    return adapting_files(folder, noise=4)


def _model(place, model_type, **train):
    torch.manual_seed(1)
    return build_model(adapting_options(place, model_type, **train))


def _steps(model, place, count=3):
    logs = []
    for iteration in range(1, count + 1):
        model.update_learning_rate(iteration)
        model.feed_data(adapting_batch(place))
        model.optimize_parameters(iteration)
        logs.append(dict(model.get_current_log()))
    return logs


@pytest.mark.parametrize(
    ("model_type", "train", "losses"),
    [
        ("LWayModel", {"pixel_opt": WEIGHTED}, {"l_cycle"}),
        ("ReferenceAdaptationModel", {}, {"l_pix"}),
        ("ReferenceAdaptationModel", {"anchor_opt": L1}, {"l_pix", "l_anchor"}),
        ("ReferenceAdaptationModel", ALL_LOSSES, {"l_pix", "l_anchor", "l_cycle", "l_code"}),
    ],
)
def test_only_what_restores_learns_unless_codes_are_compared(place, model_type, train, losses):
    model = _model(place, model_type, **train)
    before = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    logs = _steps(model, place)
    assert set(logs[0]) == losses
    changed = {key for key, value in model.net_g.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.startswith("sr.") for key in changed)
    assert any(key.startswith("encoder.") for key in changed) == ("code_opt" in train)
    assert not any("running" in key or "num_batches" in key for key in changed)
    assert all(torch.equal(value, before[key]) for key, value in model.start.state_dict().items())
    if model_type == "LWayModel":  # in the others the noise of references differs from step to step
        assert logs[-1]["l_cycle"] < logs[0]["l_cycle"]


def test_losses_are_what_they_say(place):
    model = _model(place, "ReferenceAdaptationModel", anchor_opt=L1, cycle_opt=L1)
    with torch.no_grad():
        model.net_g.sr.last.bias += 0.1
    model.update_learning_rate(1)
    batch = adapting_batch(place)
    model.feed_data(batch)
    lq, hr = model.pairs()
    assert lq.shape == (2, 3, 48, 48)
    assert torch.equal(hr, batch["gt"])
    # Noise as strong as that of the LR image, and nothing below a grey level.
    clean = model.learnt.shrink(hr, batch["image"])
    assert (255 * (lq - clean)).std().item() == pytest.approx(model.targets.noise[0], rel=0.1)
    torch.testing.assert_close(255 * lq, (255 * lq).round())
    model.enter_phase(model.phases[0])
    with torch.no_grad():
        losses = model.losses()
        net, start = model.net_g, model.start
        assert losses["l_pix"].item() == pytest.approx((net(lq) - hr).abs().mean().item(), rel=1e-4)
        assert losses["l_anchor"].item() == pytest.approx(0.1, rel=1e-3)
        again = model.learnt.shrink(net(batch["lq"]), batch["image"])
        assert losses["l_cycle"].item() == pytest.approx((again - batch["lq"]).abs().mean().item(), rel=1e-4)
        assert (start(batch["lq"]) - net(batch["lq"])).abs().mean() > 0.09


def test_a_discriminator_learns_beside_it_and_keeps_its_statistics(place):
    model = _model(place, "AdversarialReferenceAdaptationModel", anchor_opt=L1, **GAN)
    before = {key: value.clone() for key, value in model.net_d.state_dict().items()}
    (log, *_) = _steps(model, place, 1)
    assert {"l_pix", "l_anchor", "l_gan", "l_d_real", "l_d_fake"} <= set(log)
    changed = {key for key, value in model.net_d.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.endswith("weight") for key in changed)
    assert not any("running" in key for key in changed)


def test_a_resumed_run_knows_its_parent(place, tmp_path):
    model = _model(place, "ReferenceAdaptationModel", anchor_opt=L1)
    _steps(model, place)
    torch.save({"params": model.net_g.state_dict()}, tmp_path / "net_g.pth")
    net = enlarging_student()
    opt = adapting_options(place, "ReferenceAdaptationModel")
    opt["path"] = {"pretrain_network_g": str(tmp_path / "net_g.pth")}
    resumed = build_model(opt)
    for key, value in model.net_g.state_dict().items():
        assert torch.equal(resumed.net_g.state_dict()[key], value)
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in resumed.start.state_dict().items())


@pytest.mark.parametrize(
    ("model_type", "train"),
    [
        ("LWayModel", {"pixel_opt": WEIGHTED}),
        ("ReferenceAdaptationModel", {"learn_degrader": "fitted", **ALL_LOSSES}),
        (
            "AdversarialReferenceAdaptationModel",
            {"anchor_opt": L1, **GAN, "diffusion_opt": {"kimg": 0.02, "interval": 1, "target": 0.0}},
        ),
    ],
)
def test_a_stopped_adaptation_resumes_exactly(run, place, tmp_path, model_type, train):
    opt = adapting_options(place, model_type, total_iter=4, **train)
    for key in ("is_train", "dist", "rank", "world_size"):
        del opt[key]
    opt["datasets"]["train"].update(name="train", num_worker_per_gpu=0, batch_size_per_gpu=2, dataset_enlarge_ratio=4)
    opt["logger"] = {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False}
    assert_resumes_exactly(run, tmp_path, opt)


@pytest.mark.parametrize("name", ["fitted", "downsampler"])
def test_what_was_fitted_degrades_where_it_is_asked_for(place, name, monkeypatch):
    monkeypatch.setattr(rdsr, "fit_downsampler", lambda *_: LinearDownsampler(*LAYOUTS["x4_k23"], num_feat=1))
    model = _model(place, "ReferenceAdaptationModel", learn_degrader=name)
    assert len(model.learnt.kernel) == {"fitted": 35, "downsampler": 25}[name]
    assert isinstance(model.learnt, rdsr.FittedDegrader)
    assert "l_pix" in _steps(model, place, 1)[0]


def test_what_does_not_fit_is_refused(place):
    with pytest.raises(OptionError, match=r"train\.parent: .* does not fit network_g"):
        _model(place, "LWayModel", parent=str(place / "reconstructor_x4.pth"))
    with pytest.raises(OptionError, match="dataroot_lq: there is no folder"):
        AdaptationDataset({"dataroot_lq": "nowhere", "scale": 4})
