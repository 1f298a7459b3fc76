"""Trainings on real-world degradations: what a teacher is told, the pool, exact resumes, and what does not fit."""

from __future__ import annotations

import multiprocessing
import re
from types import SimpleNamespace

import pytest
import torch

from lightbsr_arch import LightBSRTeacher, infer_options
from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge import launcher
from lightbsr_model.data.blind_degradation_paired_dataset import BlindDegradationPairedDataset
from lightbsr_model.degradation import get_degradation
from lightbsr_model.training.batch_degrader import BatchDegrader
from lightbsr_model.training.training_pool import TrainingPool, pool_of, pool_states

from support.helpers import TINY
from support.method_cases import CASES
from support.model_options import STUDENT_NETWORK, TEACHER_NETWORK
from support.option_problems import problems_of
from support.training_files import assert_resumes_exactly, plain_training, training_options

TOLD = {**TEACHER_NETWORK, "prior": "parameters", "prior_channels": 65}


def _training(images, preset="photo_x4", **train_set):
    opt = training_options(images)
    opt["network_g"] = dict(TOLD)
    opt["datasets"]["train"].update(preset=preset, **train_set)
    opt["datasets"]["val"]["preset"] = "realworld_x4"
    return opt


# ---- the teacher


def test_a_teachers_weights_say_what_it_is_told():
    torch.manual_seed(0)
    teacher = LightBSRTeacher(prior="parameters", prior_channels=65, queue_size=8, layer_scale_init=0.3, **TINY)
    for value in teacher.parameters():
        if value.dim() > 1:
            value.data.normal_(std=0.2)  # a fresh network's codes hardly show in its output
    options = infer_options(teacher.state_dict())
    assert (options["prior"], options["prior_channels"], options["prior_components"]) == ("parameters", 65, 0)
    again = LightBSRTeacher(**{key: value for key, value in options.items() if key != "type"})
    again.load_state_dict(teacher.state_dict())
    lq, prior = torch.rand(2, 3, 16, 16), torch.rand(2, 65)
    assert torch.equal(teacher.eval()(lq, prior), again.eval()(lq, prior))
    assert not torch.equal(teacher(lq, prior), teacher(lq, torch.zeros(2, 65)))
    with pytest.raises(ValueError, match="not made of kernels"):
        teacher.degradation_prior(torch.rand(2, 21, 21))
    with pytest.raises(ValueError, match="prior: expected kernel or parameters, got 'noise'"):
        LightBSRTeacher(prior="noise", **TINY)


@pytest.mark.parametrize("preset", ["photo_x4", "realworld_x4"])
def test_teacher_and_student_train_and_resume_exactly(image_folder, run, tmp_path, preset):
    assert_resumes_exactly(run, tmp_path, _training(image_folder, preset, pool=4))
    opt = training_options(image_folder, model_type="LightBSRStudentModel", name="student")
    opt["network_g"] = dict(STUDENT_NETWORK)
    opt["train"].pop("contrastive_opt")
    opt["train"].update(CASES["LightBSR"].losses)
    opt["datasets"]["train"].update(preset=preset, views=1)
    opt["teacher"] = {"network": dict(TOLD), "path": str(tmp_path / "experiments/whole/models/net_g_latest.pth")}
    assert problems_of(opt) == []
    run(launcher.train, opt)
    opt["datasets"]["train"]["preset"] = "setting1_x4"
    with pytest.raises(
        OptionError, match="prior_channels: the degradation has 5 parameters: set prior_channels: 5, got 65"
    ):
        run(launcher.train, {**opt, "name": "other"})


def test_other_methods_see_the_images_alone(image_folder, run, tmp_path):
    opt = plain_training(image_folder, total_iter=4)
    opt["datasets"]["train"].update(preset="realworld_x4", degrade_in="device", degradation_per="sizes", pool=4)
    assert_resumes_exactly(run, tmp_path, opt)
    opt["datasets"]["train"].update(preset="photo_x4", degrade_in="loader", degradation_per="sample", pool=0)
    run(launcher.train, {**opt, "name": "loader"})


def test_what_is_read_off_the_representation(image_folder, run, tmp_path):
    opt = training_options(image_folder, model_type="DASRModel", name="read")
    opt["network_g"] = CASES["DASR"].options()
    opt["train"].update(CASES["DASR"].losses)
    opt["train"]["degradation_opt"] = {"type": "DegradationRegressionLoss", "loss_weight": 1.0}
    opt["datasets"]["train"].update(preset="photo_x4", pool=4)
    opt["network_g"]["queue_size"] = 8
    assert problems_of(opt) == []
    assert_resumes_exactly(run, tmp_path, opt)
    state = torch.load(tmp_path / "experiments/whole/training_states/4.state")
    assert list(state["readout"]["ranges"]) == ["sigma", "noise_level", "jpeg_quality"]


# ---- the data set


def _paired(images, **options):
    section = {"name": "t", "scale": 4, "gt_size": 32, "dataroot_gt": str(images), "io_backend": {"type": "disk"}}
    return BlindDegradationPairedDataset({**section, "preset": "realworld_x4", **options})


def test_samples_of_a_loader_are_those_of_the_device(image_folder):
    quiet = {"noise_prob": 0, "noise_prob2": 0}
    torch.manual_seed(4)
    finished = _paired(image_folder, degrade_in="loader", degradation=quiet, views=2)[0]
    torch.manual_seed(4)
    sample = _paired(image_folder, degradation=quiet, views=2)[0]
    assert torch.equal(sample["degradation"], finished["degradation"])
    degradation = get_degradation("realworld_x4", quiet)
    lq = degradation.apply(sample["gt_views"][None], {"degradation": sample["degradation"][None]}, 4)[0]
    assert torch.equal(lq, finished["views"])
    assert torch.equal(lq[0], finished["lq"])
    assert not torch.equal(lq[0], lq[1])


def test_presets_of_both_kinds_of_photographs_mix(image_folder):
    dataset = _paired(image_folder, mix=[{"preset": "photo_x4"}, {"degradation": {"shuffle_prob": 1}, "weight": 2}])
    batch = torch.utils.data.default_collate([dataset[index] for index in range(6)])
    assert dataset.degradation.options["jpeg_range"] == [30, 95]
    opt = {"manual_seed": 0, "rank": 0, "datasets": {"train": dict(dataset.opt)}}
    degrader = BatchDegrader(opt, torch.device("cpu"))
    made = degrader(batch)
    assert made.lq.shape == (6, 3, 8, 8)
    assert made.parameters.shape == (6, 65)
    with pytest.raises(OptionError, match="cannot share a batch"):
        _paired(image_folder, mix=[{"preset": "photo_x4"}, {"preset": "setting1_x4"}])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"degradation_per": "some"}, "degradation_per: expected sample, batch or sizes, got 'some'"),
        ({"degradation_per": "sizes", "degrade_in": "loader"}, "sizes needs degrade_in: device"),
        ({"degradation_per": "sizes", "preset": "setting1_x4"}, "sizes is for real-world presets"),
        ({"pool": 8, "degrade_in": "loader"}, "pool: the model mixes batches"),
        ({"border": "symmetric"}, "border: has no effect on realworld_x4"),
        ({"degradation": {"jpeg_prob": 2}}, "degradation.jpeg_prob: expected a number from 0 to 1, got 2"),
    ],
)
def test_what_a_data_set_refuses(image_folder, changes, message):
    with pytest.raises(OptionError, match=message):
        _paired(image_folder, **changes)


# ---- the check before the start


@pytest.mark.parametrize(
    ("network", "data", "val", "message"),
    [
        (
            {"prior_channels": 15},
            {},
            {},
            "network_g:prior_channels: the degradation has 65 parameters: set prior_channels: 65, got 15 .datasets.train.",
        ),
        (
            {"prior": "kernel"},
            {},
            {},
            "network_g:prior: the degradation is more than one kernel: set prior: parameters",
        ),
        ({}, {}, {"preset": "iso_1.2"}, "has 5 parameters: set prior_channels: 5, got 65 .datasets.val."),
        ({"prior": "all"}, {}, {}, "network_g:prior: expected kernel or parameters, got 'all'"),
        ({}, {"preset": "photo_x2"}, {}, "photo_x2 is made for x2, but scale is 4: take photo_x4"),
        (
            {},
            {"degradation": {"jpeg_rang": 5}},
            {},
            "degradation:jpeg_rang: unknown parameter; did you mean jpeg_range",
        ),
        ({}, {"pool": 5}, {}, "pool: expected a multiple of the 2 samples of a batch, got 5"),
        ({}, {"pool": 4, "degrade_in": "loader"}, {}, "pool: the model mixes batches that it degrades"),
        ({}, {"border": "symmetric"}, {}, "border: has no effect on photo_x4"),
        (
            {"prior_channels": 5},
            {"preset": "setting1_x4", "degradation_per": "sizes"},
            {"preset": "iso_1.2"},
            "degradation_per: sizes is for real-world presets",
        ),
        (
            {},
            {"mix": [{"preset": "photo_x4"}, {"preset": "setting1_x4"}]},
            {},
            "train:mix: a real-world degradation and one",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_the_start(image_folder, network, data, val, message):
    opt = _training(image_folder)
    assert problems_of(opt) == []
    opt["network_g"].update(network)
    opt["datasets"]["train"].update(data)
    opt["datasets"]["val"].update(val)
    found = problems_of(opt)
    assert len(found) == 1, found
    assert re.search(message, found[0]), found


# ---- the pool


def _samples(first, count=2):
    numbers = torch.arange(first, first + count)
    return {
        "views": numbers.view(-1, 1).to(torch.uint8).expand(-1, 3).clone(),
        "degradation": numbers.double()[:, None],
    }


def test_samples_change_places_in_the_pool():
    pool, generator = TrainingPool(6), torch.Generator().manual_seed(0)
    for first in (0, 2, 4):
        assert torch.equal(pool.exchange(_samples(first), generator)["degradation"], _samples(first)["degradation"])
    inside, given = set(range(6)), []
    for first in range(6, 206, 2):
        taken = pool.exchange(_samples(first), generator)
        numbers = taken["degradation"].flatten().int().tolist()
        # All that belongs to a sample stays with it.
        assert (taken["views"] == taken["degradation"].to(torch.uint8)).all()
        assert len(set(numbers)) == 2
        assert set(numbers) <= inside
        inside = inside - set(numbers) | {first, first + 1}
        given.append((first, numbers))
    waits = [first - number for first, numbers in given for number in numbers]
    # Each sample leaves with probability 1/3: it waits for 3 batches on the average.
    assert 4 < sum(waits) / len(waits) < 8
    assert any(abs(one - other) > 1 for _, (one, other) in given)


def test_a_pool_goes_on_where_it_was():
    whole, generator = TrainingPool(6), torch.Generator()
    taken = [whole.exchange(_samples(2 * place), generator.manual_seed(place)) for place in range(12)]
    first = TrainingPool(6)
    for place in range(7):
        first.exchange(_samples(2 * place), generator.manual_seed(place))
    second = TrainingPool(6)
    second.load(first.state(), torch.device("cpu"), frozenset(("degradation",)))
    for place in range(7, 12):
        again = second.exchange(_samples(2 * place), generator.manual_seed(place))
        assert torch.equal(again["degradation"], taken[place]["degradation"])
    with pytest.raises(OptionError, match="pool: expected a multiple of the 4 samples"):
        second.exchange(_samples(0, 4), generator)
    with pytest.raises(OptionError, match="pool: the samples have other shapes"):
        second.exchange({"views": torch.zeros(2, 3)}, generator)


def _gathered(rank, meeting, queue):
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    pool = TrainingPool(2)
    pool.exchange(_samples(10 * rank), torch.Generator())
    states = pool_states(SimpleNamespace(degrader=SimpleNamespace(pool=pool)))
    queue.put((rank, [state["samples"]["degradation"].flatten().tolist() for state in states]))
    torch.distributed.destroy_process_group()


def test_every_process_finds_its_own_pool_again(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_gathered, args=(rank, tmp_path / "meeting", queue)) for rank in range(2)]
    for process in processes:
        process.start()
    found = dict(queue.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    assert found == {0: [[0, 1], [10, 11]], 1: [[0, 1], [10, 11]]}
    assert pool_of(found[0], 1) == [10, 11]
    assert pool_of(found[0], 2) is None
    assert pool_of(None, 0) is None
    assert pool_states(SimpleNamespace(degrader=SimpleNamespace(pool=None))) is None


def test_nothing_is_lost_in_a_pool(image_folder):
    dataset = _paired(image_folder, views=2)
    torch.manual_seed(0)
    batches = [torch.utils.data.default_collate([dataset[index] for index in range(2)]) for _ in range(6)]
    opt = {"manual_seed": 0, "rank": 0, "datasets": {"train": dict(dataset.opt)}}
    plain = BatchDegrader(opt, torch.device("cpu"))
    opt["datasets"]["train"]["pool"] = 4
    pooled = BatchDegrader(opt, torch.device("cpu"))
    known, found = [], []
    for number, batch in enumerate(batches, 1):
        for degrader, kept in ((plain, known), (pooled, found)):
            degrader.begin(number)
            made = degrader(batch)
            parts = (made.views, made.gt, made.parameters, made.params["degradation"])
            kept += [tuple(part[place] for part in parts) for place in range(2)]
    same = [[all(map(torch.equal, one, other)) for other in known].index(True) for one in found]
    assert same[:4] == [0, 1, 2, 3]
    assert len(set(same[4:])) == 8
    assert same != list(range(12))
