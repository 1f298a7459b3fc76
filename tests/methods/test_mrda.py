"""What is particular about MRDA: how its meta-learning network adapts, what its stages need, and its published files."""

from __future__ import annotations

import copy
import re
import weakref
from types import SimpleNamespace

import pytest
import torch
from basicsr.models import build_model
from torch.nn import functional as F

from lightbsr_arch import convert_published_state_dict, infer_options
from lightbsr_arch.errors import OptionError
from lightbsr_arch.layers.inner_steps import descend, value_and_gradients
from lightbsr_arch.weights.checkpoints import load_state_dict
from lightbsr_model.bridge.run import Run
from lightbsr_model.bridge.supervision import Supervisor

from support.method_cases import CASES
from support.model_options import merged
from support.option_problems import check_of
from support.published import published_state_dict
from support.small_models import build, noise_batch, options_of, smooth_batch, train
from support.training_files import training_options

MLN, META = CASES["MetaLearningNetwork"], CASES["MetaLearningNetwork_meta"]
TEACHER, STUDENT = CASES["MRDATeacher"], CASES["MRDA"]


def _pair(scale, count=2, side=6):
    generator = torch.Generator().manual_seed(scale)
    gt = torch.rand(count, 3, scale * side, scale * side, generator=generator)
    return F.avg_pool2d(gt, scale), gt


def _plain_steps(net, lq, gt, rates, parts):
    """The steps in place, by torch's own optimiser, on a copy."""
    net = copy.deepcopy(net).requires_grad_()
    losses = []
    for rate in rates:
        optimiser = torch.optim.SGD([value for part in parts for value in net.get_submodule(part).parameters()], rate)
        optimiser.zero_grad()
        loss = F.l1_loss(net(lq), gt)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return net, losses


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("width", "rates", "tail"), [(4, [0.1], True), (12, [0.2, 0.05, 0.3], True), (5, [0.1] * 7, False)]
)
def test_an_adaptation_is_gradient_descent(scale, width, rates, tail):
    net = MLN.build(scale, num_feat=width)
    lq, gt = _pair(scale)
    expected, losses = _plain_steps(net, lq, gt, rates, ["feature_net", *(["upsampler", "last"] if tail else [])])
    adapted = net.adapt(lq, gt, rates, tail=tail)
    torch.testing.assert_close(torch.stack(adapted.losses), torch.stack(losses), rtol=1e-5, atol=0)
    start = net.state_dict()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(adapted.weights[name], value, rtol=1e-5, atol=1e-6)
        assert torch.equal(adapted.weights[name], start[name]) == (not tail and not name.startswith("feature_net."))
    with torch.no_grad():
        torch.testing.assert_close(net.features(lq, adapted.weights), expected.features(lq), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("scale", "tasks", "steps"), [(2, 1, 3), (3, 3, 1), (4, 2, 4)])
def test_a_meta_step_is_of_first_order(scale, tasks, steps):
    net = MLN.build(scale)
    _, gt = _pair(scale, 5)
    lq = torch.rand(tasks, 5, 3, 6, 6)
    loss = net.adapt_and_judge(lq, gt, [0.1] * steps)
    (2 * loss).backward()
    values, gradients = [], []
    for task in lq:
        adapted, _ = _plain_steps(net, task[:2], gt[:2], [0.1] * steps, [""])
        adapted.zero_grad()
        value = F.l1_loss(adapted(task[2:]), gt[2:])
        value.backward()
        values.append(value.detach())
        gradients.append({name: value.grad for name, value in adapted.named_parameters()})
    torch.testing.assert_close(loss.detach(), torch.stack(values).mean(), rtol=1e-5, atol=0)
    for name, value in net.named_parameters():
        mean = torch.stack([each[name] for each in gradients]).mean(dim=0)
        torch.testing.assert_close(value.grad, 2 * mean, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match="at least 2 images"):
        net.adapt_and_judge(lq[:, :1], gt[:1], [0.1])


def test_no_graph_outlives_a_step():
    seen = []

    def loss(weights):
        squared = weights["w"] ** 2
        seen.append(weakref.ref(squared))
        return squared.sum()

    start = {"w": torch.tensor([1.0, 2.0], requires_grad=True)}
    moved, losses = descend(loss, start, [0.25, 0.25])
    assert all(reference() is None for reference in seen)
    torch.testing.assert_close(moved["w"], torch.tensor([0.25, 0.5]))
    assert [float(value) for value in losses] == [5.0, 1.25]
    assert not any(value.requires_grad for value in (moved["w"], *losses))
    assert start["w"].grad is None
    assert torch.equal(start["w"].detach(), torch.tensor([1.0, 2.0]))
    # In fp32, and with gradient, whatever is set around it.
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        value, gradients = value_and_gradients(
            lambda weights: (weights["w"][None] @ weights["w"][:, None]).sum(), start
        )
    assert (value.dtype, gradients["w"].tolist()) == (torch.float32, [2.0, 4.0])
    assert not gradients["w"].requires_grad


def test_gradients_can_be_averaged_on_the_way():
    start = {"w": torch.tensor([1.0])}
    moved, _ = descend(
        lambda weights: weights["w"].sum(), start, [0.5, 0.5], lambda values: [3 * each for each in values]
    )
    assert moved["w"].tolist() == [-2.0]


def test_the_residue_is_added_to_the_rounded_bicubic_image():
    net = MLN.build(3)
    for value in net.last.parameters():
        value.data.zero_()
    lq = torch.rand(1, 3, 7, 5)
    enlarged = net.enlarge(lq)
    assert torch.equal(net(lq), enlarged)
    assert torch.equal((255 * enlarged).round() / 255, enlarged)
    assert 0 <= float(enlarged.min()) <= float(enlarged.max()) <= 1
    given = torch.rand(1, 3, 21, 15)
    assert torch.equal(net(lq, given), given)


def test_a_gt_of_another_size_is_refused():
    for adapt in (MLN.build().adapt, TEACHER.build().adapt, TEACHER.build()):
        with pytest.raises(ValueError, match=r"gt: expected \(1, 3, 32, 32\).*got \(1, 3, 31, 32\)"):
            adapt(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 31, 32))


# ---- stages


def test_the_meta_stage_degrades_the_batch_by_the_samples_kernels_in_turn(tmp_path):
    model = build(META, tmp_path)
    batch = noise_batch(1)
    model.update_learning_rate(1)
    model.feed_data(batch)
    alone = build(TEACHER, tmp_path)
    for task in range(2):
        kernel = batch["kernel"][task : task + 1].expand_as(batch["kernel"])
        alone.feed_data({**batch, "kernel": kernel})
        torch.testing.assert_close(model._lq_of_tasks[task], alone.lq)
    assert model._lq_of_tasks.shape == (2, 4, 3, 8, 8)
    assert torch.equal(model.lq, model._lq_of_tasks[0])


def test_noise_of_the_tasks_differs_and_repeats(tmp_path):
    opt = options_of(META, tmp_path)
    opt["datasets"]["train"]["preset"] = "setting2_x4"
    batch = {**noise_batch(1), "noise_level": torch.full((4,), 20.0)}
    batch["kernel"] = batch["kernel"][:1].expand_as(batch["kernel"])
    found = []
    for _ in range(2):
        model = build_model(opt)
        model.update_learning_rate(3)
        model.feed_data(batch)
        found.append(model._lq_of_tasks)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0][0], found[0][1])


def test_the_teacher_takes_in_the_meta_learning_network_frozen(tmp_path):
    model = build(TEACHER, tmp_path)
    stored = torch.load(model.opt["path"]["pretrain_network_meta"])["params"]
    train(model, (1, 2), lambda _: smooth_batch(1))
    assert all(torch.equal(value, stored[key]) for key, value in model.net_g.meta.state_dict().items())
    assert {key.removeprefix("meta.") for key in model.net_g.state_dict() if key.startswith("meta.")} == stored.keys()
    assert all(value.grad is None for value in model.net_g.meta.parameters())


@pytest.mark.parametrize("case", [TEACHER, STUDENT], ids=str)
def test_what_adapts_starts_anew_or_drifts(case, tmp_path, monkeypatch):
    for reset in (True, False):
        model = build(case, tmp_path, adapt_opt={"reset": reset, "rates": [0.1]})
        meta = model.meta if reset else model.net_meta
        before = copy.deepcopy(meta.state_dict())
        model.feed_data(smooth_batch(1))
        adapted = meta.adapt(model.lq, model.gt, [0.1], tail=case is TEACHER).weights
        train(model, [1], lambda _: smooth_batch(1))
        expected = before if reset else adapted
        assert all(torch.equal(value, expected[key]) for key, value in meta.state_dict().items())
        assert model.net_meta is None or all(
            torch.equal(value, before[key]) for key, value in model.meta.state_dict().items()
        )
        # A validation moves nothing.
        model.test()
        assert all(torch.equal(value, expected[key]) for key, value in meta.state_dict().items())
        other = build(case, tmp_path, adapt_opt={"reset": reset, "rates": [0.1]})
        other.load_own_state(model.own_state())
        assert reset or all(torch.equal(value, expected[key]) for key, value in other.net_meta.state_dict().items())


def test_without_adaptation_the_feature_is_the_networks_own(tmp_path, monkeypatch):
    model = build(TEACHER, tmp_path, adapt_opt=None)
    monkeypatch.setattr(type(model.meta), "adapt", lambda *_: pytest.fail("it adapted"))
    model.feed_data(smooth_batch(1))
    assert torch.equal(model.adapted_feature(learning=True), model.meta.features(model.lq))
    train(model, [1], lambda _: smooth_batch(1))


def test_a_skipped_iteration_drifts_nowhere(tmp_path):
    model = build(TEACHER, tmp_path, adapt_opt={"reset": False}, max_nonfinite=9)
    model.opt["logger"] = {"print_freq": 100, "save_checkpoint_freq": 100}
    supervisor = Supervisor(Run(train_set=SimpleNamespace(skipped=0)), model)
    supervisor.attach()
    try:
        before = copy.deepcopy(model.net_meta.state_dict())
        for number, value in ((1, float("nan")), (2, 0.5)):
            model.update_learning_rate(number)
            model.feed_data({"lq": torch.full((2, 3, 8, 8), value), "gt": torch.rand(2, 3, 32, 32)})
            model.optimize_parameters(number)
            is_same = all(torch.equal(after, before[key]) for key, after in model.net_meta.state_dict().items())
            assert is_same == (number == 1)
    finally:
        supervisor.stop.uninstall()


def test_all_processes_adapt_to_one_degradation(tmp_path):
    opt = options_of(TEACHER, tmp_path)
    assert not build_model(opt).degrader.is_shared
    opt["datasets"]["train"]["degradation_per"] = "batch"
    assert build_model(opt).degrader.is_shared
    assert build(META, tmp_path).degrader.is_shared


def test_representations_are_those_after_adapting(tmp_path):
    lq, gt = _pair(4)
    for case in (MLN, TEACHER):
        net = case.build().eval()
        meta = net if case is MLN else net.meta
        with torch.no_grad():
            feature = meta.features(lq, meta.adapt(lq, gt).weights)
            expected = feature.mean(dim=(2, 3)) if case is MLN else net.encode_feature(feature)
            model = build_model({**options_of(case, tmp_path), "network_g": case.options()})
            model.feed_data({"lq": lq, "gt": gt})
            assert torch.equal(net.represent(lq, gt), expected)
            assert (
                torch.equal(model.represent_batch(net), expected) or case is TEACHER
            )  # its model has another meta network
        assert not torch.equal(meta.features(lq), feature)


# ---- errors before the start


def _problems(case, images, tmp_path, **changes):
    opt = case.apply(training_options(images), case.save_teacher(tmp_path))
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = opt
        for name in sections:
            place = place[name]
        place[key] = value
    return {":".join(problem.key): problem.message for problem in check_of(opt).problems}


@pytest.mark.parametrize(
    ("case", "changes", "key", "message"),
    [
        (META, {"train__meta_opt": {"tasks": 0}}, "train:meta_opt:tasks", "from 1 to 1024, got 0"),
        (META, {"train__meta_opt": {"tasks": 2, "steps": 0}}, "train:meta_opt:steps", "from 1 to 1024, got 0"),
        (META, {"train__meta_opt": {"tasks": 2, "lr": 0}}, "train:meta_opt:lr", "> 0 and <= 10, got 0"),
        (META, {"train__meta_opt": {"tasks": 2, "rate": 1}}, "train:meta_opt:rate", "unknown key"),
        (META, {"train__meta_opt": {"tasks": 3}}, "train:meta_opt:tasks", "at most the batch .*, 2, got 3"),
        (META, {"train__meta_opt": None}, "train:meta_opt:tasks", "at most the batch .*, 2, got 5"),
        (META, {"datasets__train__batch_size_per_gpu": 1}, "datasets:train:batch_size_per_gpu", "2 or more.*got 1"),
        (META, {"train__accum_iter": 2}, "datasets:train:batch_size_per_gpu", "2 or more.*got 1"),
        (META, {"datasets__train__degrade_in": "loader"}, "datasets:train:degrade_in", "take device"),
        (META, {"train__compile": True}, "train:compile", "take false"),
        (TEACHER, {"path": {}}, "path:pretrain_network_meta", r"missing.*train_meta\.yml"),
        (TEACHER, {"network_g": TEACHER.options(2) | {"scale": 4, "num_meta_feat": 6}}, "path:pretrain_network_meta",
         "num_feat: 8 in the file, 6 expected"),
        (TEACHER, {"train__adapt_opt": {"rates": []}}, "train:adapt_opt:rates", r"one or more values.*got \[\]"),
        (TEACHER, {"train__adapt_opt": {"rates": [0.1, -1]}}, "train:adapt_opt:rates", "each a number > 0 and <= 10"),
        (STUDENT, {"train__adapt_opt": {"rates": 0.01}}, "train:adapt_opt:rates", r"got 0\.01"),
        (STUDENT, {"train__adapt_opt": {"tail": "yes"}}, "train:adapt_opt:tail", "true or false"),
        (STUDENT, {"teacher__network": {**TEACHER.options(), "num_meta_feat": 6}}, "teacher:path",
         "num_meta_feat: 8 in the file, 6 in teacher.network"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_the_start(case, changes, key, message, image_folder, tmp_path):
    problems = _problems(case, image_folder, tmp_path, **changes)
    assert re.search(message, problems.pop(key)), problems
    assert not problems


def test_a_meta_learning_network_of_another_scale_is_refused(image_folder, tmp_path):
    path = tmp_path / "x2.pth"
    torch.save({"params": MLN.build(2).state_dict()}, path)
    found = _problems(TEACHER, image_folder, tmp_path, path={"pretrain_network_meta": str(path)})
    assert found == {"path:pretrain_network_meta": f"{path} does not fit. scale: 2 in the file, 4 expected."}
    found = _problems(META, image_folder, tmp_path, path={"pretrain_network_g": str(path)})
    assert "is of another network than MetaLearningNetwork" in found["path:pretrain_network_g"]
    torch.save({"params": STUDENT.build().state_dict()}, path)
    found = _problems(TEACHER, image_folder, tmp_path, path={"pretrain_network_meta": str(path)})
    assert "another network, MRDA, not MetaLearningNetwork" in found["path:pretrain_network_meta"]


def test_options_made_in_python_are_checked_too(tmp_path):
    for case, train_opt, key in (
        (META, {"meta_opt": {"steps": 0}}, "meta_opt.steps"),
        (TEACHER, {"adapt_opt": {"rates": [0]}}, "adapt_opt.rates"),
        (STUDENT, {"adapt_opt": {"rate": [1]}}, "adapt_opt.rate"),
    ):
        with pytest.raises(OptionError, match=f"train.{key}: "):
            build(case, tmp_path, **train_opt)
    model = build(META, tmp_path, meta_opt={"tasks": 5})
    model.update_learning_rate(1)
    with pytest.raises(OptionError, match=r"batch_size_per_gpu: expected 5 or more.*got 4"):
        model.feed_data(noise_batch(1))
    model.feed_data({"lq": torch.rand(2, 3, 8, 8), "gt": torch.rand(2, 3, 32, 32)})
    with pytest.raises(OptionError, match="degrade_in: the meta stage degrades each batch several times"):
        model.optimize_parameters(1)


# ---- published files


def test_published_files_of_all_stages_are_read(tmp_path):
    for name, network in (("mln", "MetaLearningNetwork"), ("teacher", "MRDATeacher"), ("student", "MRDA")):
        published = published_state_dict(f"mrda_{name}")
        torch.save({f"module.{key}": value for key, value in published.items()}, tmp_path / f"{name}.pth")
        found = load_state_dict(tmp_path / f"{name}.pth")
        assert infer_options(found)["type"] == network
        assert not any(key.startswith("meta.") for key in found)
        del published[next(key for key in published if key.endswith("tail.1.bias"))]
        with pytest.raises(ValueError, match=r"published MRDA code: 1 values missing"):
            convert_published_state_dict(published)


def test_a_published_teacher_needs_its_meta_learning_network(tmp_path):
    opt = options_of(STUDENT, tmp_path)
    whole = torch.load(opt["teacher"]["path"])["params"]
    without = {key: value for key, value in whole.items() if not key.startswith("meta.")}
    meta = {key.removeprefix("meta."): value for key, value in whole.items() if key.startswith("meta.")}
    for name, content in (("teacher", without), ("meta", meta), ("x2", MLN.build(2).state_dict())):
        torch.save({"params": content}, tmp_path / f"{name}.pth")
    opt["teacher"]["path"] = str(tmp_path / "teacher.pth")
    with pytest.raises(OptionError, match=r"teacher\.meta_path: missing; .*teacher\.pth has no weights .* `meta`"):
        build_model(copy.deepcopy(opt))
    found = build_model(merged(opt, {"teacher": {"meta_path": str(tmp_path / "meta.pth")}})).teacher.state_dict()
    assert all(torch.equal(value, whole[key]) for key, value in found.items())
    with pytest.raises(
        OptionError, match=r"teacher\.meta_path: .*x2\.pth does not fit\. scale: 2 in the file, 4 expected"
    ):
        build_model(merged(opt, {"teacher": {"meta_path": str(tmp_path / "x2.pth")}}))


def test_other_files_with_such_names_are_not_taken_for_published_ones(tmp_path):
    """EDSR's first and last layers have the meta-learning network's names, SRVGGNetCompact's body too."""
    for keys in (("head.0.weight", "body.0.body.0.weight", "tail.1.weight"), ("body.0.weight", "body.1.weight")):
        torch.save(dict.fromkeys(keys, torch.zeros(3)), tmp_path / "other.pth")
        assert set(load_state_dict(tmp_path / "other.pth")) == set(keys)
