"""Published checkpoints without key encoder and queue start a training, are compared, and teach."""

from __future__ import annotations

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from lightbsr_arch import LightBSR, convert_published_state_dict
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_model.bridge import launcher
from lightbsr_model.evaluation.comparison.methods import NetworkRestoration
from lightbsr_model.evaluation.model_entries import ModelEntry
from lightbsr_model.training.teacher import load_teacher, pairing_of

from support.method_cases import CASES
from support.model_options import TEACHER_NETWORK
from support.published import in_published_layout
from support.training_files import training_options

LEFT_OUT = ("E.encoder_k", "E.queue", "E.encoder_ema")
NETWORKS = {
    "dasr": CASES["DASR"].options(),
    "cdcl": CASES["CdCL"].options(),
    "teacher": TEACHER_NETWORK,
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """By method: a published checkpoint of a tiny network without the momentum parts.

    The teacher's is converted already, since a published one lacks the basis too, without which nothing is trained.
    """
    files = {}
    for name, network in NETWORKS.items():
        options = dict(network)
        net = ARCH_REGISTRY.get(options.pop("type"))(**options)
        whole = in_published_layout(name, net.state_dict())
        parts = {key: value for key, value in whole.items() if not key.startswith(LEFT_OUT)}
        assert len(parts) < len(whole)
        if name == "teacher":
            parts = {"params": convert_published_state_dict(parts, prior_basis=net.prior_basis)}
        files[name] = tmp_path_factory.mktemp(name) / "published.pth"
        torch.save(parts, files[name])
    return files


def _contrast(name, state_dict):
    part = "contrast." if name == "cdcl" else "momentum_contrast."
    return {key.removeprefix(part): value for key, value in state_dict.items() if key.startswith(part)}


def _assert_both_encoders_are(query, contrast):
    """All but the statistics of BatchNorm, which are of what each encoder has seen."""
    names = [key for key in query if key.startswith("query.") and not key.endswith(("_mean", "_var", "_tracked"))]
    assert names
    for key in names:
        torch.testing.assert_close(contrast[key], query[key])
        torch.testing.assert_close(contrast[key.replace("query.", "key.", 1)], query[key])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_starts_from_it(run, image_folder, tmp_path, published, name):
    query = _contrast(name, load_state_dict(published[name]))
    # Conversion adds nothing: a queue of the default size would not fit this network's.
    assert not [key for key in query if key.startswith(("key.", "queue"))]
    opt = training_options(image_folder)
    if name != "teacher":
        CASES[{"dasr": "DASR", "cdcl": "CdCL"}[name]].apply(opt)
    opt["path"] = {"pretrain_network_g": str(published[name])}
    opt["train"].update(total_iter=1, encoder_iter=0)
    opt["train"]["optim_g"]["lr"] = 1e-30  # the query encoder stays as it was in the file
    opt["val"]["val_freq"] = 100
    run(launcher.train, opt)
    stored = torch.load(tmp_path / "experiments/run/models/net_g_latest.pth", weights_only=True)["params"]
    contrast = _contrast(name, stored)
    _assert_both_encoders_are(query, contrast)
    if name != "cdcl":
        new = int(contrast["queue_pointer"])
        assert 0 < new < opt["network_g"]["queue_size"]
        # The queue of the load: nothing but this run's own keys has entered.
        start = ARCH_REGISTRY.get(opt["network_g"]["type"])(
            **{k: v for k, v in opt["network_g"].items() if k != "type"}
        )
        start.load_state_dict(load_state_dict(published[name]))
        queue = start.momentum_contrast.queue
        assert queue.shape == contrast["queue"].shape == (16, opt["network_g"]["queue_size"])
        torch.testing.assert_close(queue.norm(dim=0), torch.ones(queue.shape[1]))
        assert torch.equal(contrast["queue"][:, new:], queue[:, new:])
        assert not torch.isclose(contrast["queue"][:, :new], queue[:, :new]).all(dim=0).any()


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_compared_with_the_queue_that_the_file_names(published, name):
    network = NETWORKS[name]
    entry = ModelEntry(name="a", path=str(published[name]), network=dict(network))
    net = NetworkRestoration(entry, 4, torch.device("cpu")).net
    contrast = _contrast(name, net.state_dict())
    _assert_both_encoders_are(_contrast(name, load_state_dict(published[name])), contrast)
    if name != "cdcl":
        assert contrast["queue"].shape[1] == network["queue_size"]


def test_a_student_learns_from_it(run, image_folder, tmp_path, published):
    teacher_opt = {"network": dict(TEACHER_NETWORK), "path": str(published["teacher"])}
    teacher = load_teacher(teacher_opt, pairing_of(LightBSR))
    query = _contrast("teacher", load_state_dict(published["teacher"]))
    _assert_both_encoders_are(query, _contrast("teacher", teacher.state_dict()))
    assert teacher.momentum_contrast.queue.shape[1] == TEACHER_NETWORK["queue_size"]
    opt = CASES["LightBSR"].apply(training_options(image_folder), published["teacher"])
    opt["train"].update(total_iter=1, encoder_iter=0)
    opt["train"]["optim_g"]["lr"] = 1e-30
    opt["val"]["val_freq"] = 100
    run(launcher.train, opt)
    student = torch.load(tmp_path / "experiments/run/models/net_g_latest.pth", weights_only=True)["params"]
    torch.testing.assert_close(student["encoder.layers.3.weight"], query["query.encoder.layers.3.weight"])
