"""Every optimiser of torch.optim goes through the switch from the encoder phase to the joint one, and through a resume."""

from __future__ import annotations

import copy

import pytest
import torch
from basicsr.models import build_model

from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge.optimiser_steps import StepControl, get_optimizer
from lightbsr_model.bridge.patches import apply_patches
from lightbsr_model.bridge.resumed_options import take_options_from_file

from support.method_cases import CASES
from support.model_options import TEACHER_NETWORK, model_options

ENCODER_ITER, TOTAL_ITER = 3, 6

OPTIMISERS = [
    ("Adadelta", {}),
    ("Adafactor", {}),
    ("Adagrad", {}),
    ("Adam", {"betas": [0.9, 0.99]}),
    ("Adam", {"amsgrad": True}),
    ("AdamW", {"weight_decay": 0.1}),
    ("Adamax", {}),
    ("ASGD", {}),
    ("NAdam", {}),
    ("RAdam", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("Rprop", {}),
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "dampening": 0.5}),
]


class Training:
    """A small DASR in this process, its steps controlled as in a run."""

    def __init__(self, name, options, on_device=None):
        torch.manual_seed(2)
        opt = model_options("teacher", TEACHER_NETWORK, encoder_iter=ENCODER_ITER, total_iter=TOTAL_ITER)
        opt["datasets"]["train"]["views"] = 2
        opt = CASES["DASR"].apply(opt)
        opt["train"]["optim_g"] = {"type": name, "lr": 1e-3, **options}
        opt["name"] = "run"
        self.model = build_model(opt)
        self.steps = StepControl(self.model.optimizers, on_device=on_device)

    def go(self, first, last):
        for iteration in range(first, last + 1):
            generator = torch.Generator().manual_seed(iteration)
            lq = torch.rand(2, 2, 3, 8, 8, generator=generator)
            self.steps.begin()
            self.model.update_learning_rate(iteration)
            self.model.feed_data({"views": lq, "gt": lq[:, 0].repeat_interleave(4, 2).repeat_interleave(4, 3)})
            self.model.optimize_parameters(iteration)
            yield iteration

    def state(self, iteration):
        optimizers, schedulers = (
            [each.state_dict() for each in group] for group in (self.model.optimizers, self.model.schedulers)
        )
        network = self.model.net_g.state_dict()
        return copy.deepcopy((network, {"iter": iteration, "optimizers": optimizers, "schedulers": schedulers}))

    def resume(self, state):
        network, training = copy.deepcopy(state)
        self.model.net_g.load_state_dict(network)
        self.model.resume_training(take_options_from_file(self.model, training))


def _assert_equal(first, second):
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("name", "options"), OPTIMISERS)
def test_goes_through_the_switch_and_a_resume(name, options, fused):
    apply_patches()
    options = {**options, "fused": fused}
    whole = Training(name, options)
    states = {iteration: whole.state(iteration) for iteration in whole.go(1, TOTAL_ITER)}
    at_the_end = states[TOTAL_ITER][0]
    restoring = [name for name, value in whole.model.net_g.named_parameters() if "contrast" not in name]
    # What begins to learn in the joint phase has learnt.
    assert all(torch.equal(states[1][0][name], states[ENCODER_ITER][0][name]) for name in restoring)
    assert not all(torch.equal(at_the_end[name], states[ENCODER_ITER][0][name]) for name in restoring)
    resumed = Training(name, options)
    for start in (ENCODER_ITER - 1, ENCODER_ITER, ENCODER_ITER + 1):
        resumed.resume(states[start])
        list(resumed.go(start + 1, TOTAL_ITER))
        _assert_equal(at_the_end, resumed.state(TOTAL_ITER)[0])


@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
def test_fused_sgd_makes_the_steps_of_the_plain_one(options):
    apply_patches()
    results = []
    for fused in (False, True):
        training = Training("SGD", {**options, "fused": fused})
        list(training.go(1, TOTAL_ITER))
        assert bool(training.model.optimizers[0].param_groups[0]["fused"]) == fused
        results.append(training.state(TOTAL_ITER)[0])
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, msg=name)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Adagrad", "SGD"])
def test_first_step_that_is_left_out_on_the_device_leaves_nothing(name):
    """torch's fused SGD would leave momentum in memory that nothing was written to."""
    weight = torch.nn.Parameter(torch.ones(1000))
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = get_optimizer(None, name, [weight], lr=0.1, fused=True, **options)
    steps = StepControl([optimizer], on_device=True)
    for factor in (float("nan"), 1.0):
        steps.begin()
        optimizer.zero_grad()
        (weight.sum() * factor).backward()
        optimizer.step()
        assert bool(steps.skipped) == (factor != 1.0)
    plain = torch.nn.Parameter(torch.ones(1000))
    other = get_optimizer(None, name, [plain], lr=0.1, **options)
    plain.sum().backward()
    other.step()
    torch.testing.assert_close(weight.detach(), plain.detach())


@pytest.mark.parametrize(("name", "message"), [("LBFGS", "computes the loss several times"), ("SparseAdam", "sparse")])
def test_optimisers_that_cannot_work_here_are_refused(name, message):
    with pytest.raises(OptionError, match=rf"train\.optim_\*\.type: {name} .*{message}"):
        get_optimizer(None, name, [torch.nn.Parameter(torch.ones(1))], lr=0.1)


def test_optimiser_or_option_that_is_not_there_is_named():
    with pytest.raises(NotImplementedError, match="Adamm"):
        get_optimizer(None, "Adamm", [], lr=0.1)
    with pytest.raises(OptionError, match=r"train\.optim_\*: Adam cannot be made.*'momentum'"):
        get_optimizer(None, "Adam", [torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9)


@pytest.mark.parametrize("on_device", [False, True])
def test_after_one_bad_gradient_no_optimiser_of_the_iteration_steps(on_device):
    """A generator's step is left out, and so is its discriminator's."""
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizers = [torch.optim.Adam([weight], lr=0.1, fused=True) for weight in weights]
    steps = StepControl(optimizers, on_device=on_device)
    steps.begin()
    for weight, optimizer, factor in zip(weights, optimizers, (float("inf"), 1.0), strict=True):
        (weight.sum() * factor).backward()
        optimizer.step()
    assert bool(steps.skipped)
    assert all(torch.equal(weight, torch.ones(2)) for weight in weights)
