"""A resumed run does what the option file says, and logs what differs from what its state was saved under."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace

import pytest
import torch
from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR
from torch.optim.lr_scheduler import ExponentialLR

from lightbsr_arch.errors import OptionError
from lightbsr_model.bridge.option_parsing import GivenOptions
from lightbsr_model.bridge.resumed_options import take_options_from_file


def _changes(log: str) -> set[str]:
    return set(re.findall(r"Resumed with a change: (.*)\.\n", log))


def test_changed_options_are_applied_and_logged(finished):
    train = finished.opt["train"]
    train.update(total_iter=6, ema_decay=0.9)
    train["optim_g"].update(lr=1e-4, betas=[0.8, 0.95], weight_decay=0.01)
    finished.opt.update(manual_seed=7)
    finished.opt["network_g"]["momentum"] = 0.5
    finished.opt["datasets"]["train"].update(preset="iso_2.4", batch_size_per_gpu=4)
    finished.opt["logger"]["print_freq"] = 2
    forced = ("--force_yml", "train:scheduler:eta_min=1e-5", "logger:save_checkpoint_freq=6")
    log = finished.train("--auto_resume", *forced)
    assert _changes(log) == {
        "train.total_iter 4 -> 6: taken from the file",
        "train.ema_decay 0.5 -> 0.9: taken from the file",
        "train.optim_g.lr 0.0002 -> 0.0001: taken from the file",
        "train.optim_g.weight_decay 0 -> 0.01: taken from the file",
        "train.optim_g.betas [0.9, 0.99] -> [0.8, 0.95]: taken from the file",
        "train.scheduler.eta_min not given -> 1e-05: taken from the file",
        "manual_seed 0 -> 7: taken from the file",
        "network_g.momentum not given -> 0.5: taken from the file",
        "datasets.train.preset setting1_x4 -> iso_2.4: taken from the file",
        "datasets.train.batch_size_per_gpu 2 -> 4: taken from the file",
    }
    assert "without effect on the weights: logger.print_freq 1 -> 2, logger.save_checkpoint_freq 2 -> 6." in log
    state = torch.load(finished.file("6.state"))
    group = state["optimizers"][0]["param_groups"][0]
    assert group["betas"] == (0.8, 0.95)
    assert group["weight_decay"] == 0.01
    assert state["schedulers"][0]["base_lrs"] == [1e-4]
    # The 4th and last iteration of the joint phase's cosine.
    assert group["lr"] == pytest.approx(1e-5)
    assert {float(entry["step"]) for entry in state["optimizers"][0]["state"].values()} == {4.0, 6.0}
    assert state["lightbsr"]["options"]["train"]["scheduler"]["eta_min"] == 1e-5


def test_unchanged_options_are_not_logged(finished):
    finished.file("4.state").unlink()
    log = finished.train("--auto_resume")
    assert _changes(log) == set()
    assert "Changed without effect" not in log


def test_sizes_cannot_be_changed(finished):
    finished.opt["network_g"].update(num_feat=16)
    finished.opt["path"] = {"strict_load_g": False}
    with pytest.raises(
        OptionError, match=r"saved: network_g\.num_feat 8 -> 16\. Sizes.*net_g_4\.pth does not fit LightBSRTeacher"
    ):
        finished.train("--auto_resume")


# ---- states of stock BasicSR, and its schedules


def _model(optimizer=None, schedule=None, given=None):
    optimizer = optimizer or torch.optim.Adam(_weights(), lr=1.0)
    given_options = GivenOptions("", given) if given else None
    return SimpleNamespace(
        optimizers=[optimizer],
        schedulers=[schedule] if schedule else [],
        opt={"name": "run", "given_options": given_options, "path": {}, "world_size": 1},
    )


def _weights():
    return [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))]


def _state(model, about=None):
    state = {
        "iter": 4,
        "optimizers": [optimizer.state_dict() for optimizer in model.optimizers],
        "schedulers": [schedule.state_dict() for schedule in model.schedulers],
    }
    return {**state, "lightbsr": about} if about else state


def _stepped(optimizer, schedule=None, steps=4):
    for _ in range(steps):
        for group in optimizer.param_groups:
            for value in group["params"]:
                value.grad = torch.ones_like(value)
        optimizer.step()
        if schedule:
            schedule.step()
    return _model(optimizer, schedule)


def test_stock_state_gets_the_files_hyperparameters(caplog):
    old = _stepped(torch.optim.Adam(_weights(), lr=1e-3, betas=(0.9, 0.99)))
    new = _model(torch.optim.Adam(_weights(), lr=5e-4, betas=(0.5, 0.9), amsgrad=False, fused=True))
    with caplog.at_level(logging.WARNING, logger="basicsr"):
        logging.getLogger("basicsr").propagate = True
        state = take_options_from_file(new, _state(old))
    new.optimizers[0].load_state_dict(state["optimizers"][0])
    group = new.optimizers[0].param_groups[0]
    assert (group["betas"], group["fused"]) == ((0.5, 0.9), True)
    assert float(new.optimizers[0].state[group["params"][0]]["step"]) == 4
    assert "optimiser 0: betas (0.9, 0.99) -> (0.5, 0.9): taken from the file" in caplog.text


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda: torch.optim.SGD(_weights(), lr=1.0, momentum=0.9), "of another type than SGD"),
        (lambda: torch.optim.Adam(_weights()[:1], lr=1.0), r"has \[2\] weights, this model's has \[1\]"),
        (lambda: torch.optim.Adam(_weights()[::-1], lr=1.0), r"exp_avg of shape \(3,\) for a weight of shape \(2,\)"),
    ],
)
def test_stock_state_of_another_optimiser_or_network_is_refused(optimizer, message):
    old = _stepped(torch.optim.Adam(_weights(), lr=1.0))
    with pytest.raises(OptionError, match=message):
        take_options_from_file(_model(optimizer()), _state(old))


def test_state_with_another_number_of_optimisers_is_refused():
    old = _model()
    old.optimizers.append(torch.optim.Adam(_weights(), lr=1.0))
    with pytest.raises(OptionError, match="has 2 optimisers, this model has 1: it belongs to another model"):
        take_options_from_file(_model(), _state(old))


SCHEDULES = {
    "milestones": (
        lambda optimizer: MultiStepRestartLR(optimizer, milestones=[2], gamma=0.1),
        lambda optimizer: MultiStepRestartLR(optimizer, milestones=[100], gamma=0.5),
    ),
    "another type": (
        lambda optimizer: MultiStepRestartLR(optimizer, milestones=[2], gamma=0.1),
        lambda optimizer: CosineAnnealingRestartLR(optimizer, periods=[10], eta_min=1e-3),
    ),
    "lengths of a cosine": (
        lambda optimizer: CosineAnnealingRestartLR(optimizer, periods=[6]),
        lambda optimizer: CosineAnnealingRestartLR(optimizer, periods=[20]),
    ),
    "one that multiplies the last rate": (
        lambda optimizer: ExponentialLR(optimizer, 0.5),
        lambda optimizer: ExponentialLR(optimizer, 0.5),
    ),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_schedule_goes_on_as_the_file_says(kind):
    """After a resume it has the rates that it would have, had the file always said so."""
    from lightbsr_model.bridge.patches import apply_patches

    apply_patches()
    old, new = (torch.optim.SGD(_weights(), lr=lr) for lr in (1.0, 0.5))
    schedules = [make(optimizer) for make, optimizer in zip(SCHEDULES[kind], (old, new), strict=True)]
    state = take_options_from_file(_model(new, schedules[1]), _state(_stepped(old, schedules[0])))
    new.load_state_dict(state["optimizers"][0])
    schedules[1].load_state_dict(state["schedulers"][0])

    always = torch.optim.SGD(_weights(), lr=0.5)
    schedule = SCHEDULES[kind][1](always)
    _stepped(always, schedule)
    for _ in range(3):
        for each, optimizer in ((schedule, always), (schedules[1], new)):
            optimizer.step()
            each.step()
        assert new.param_groups[0]["lr"] == pytest.approx(always.param_groups[0]["lr"])


def test_name_version_and_processes_are_logged(caplog):
    about = {"name": "first", "version": "0.0.1", "world_size": 2, "options": {"scale": 4}}
    model = _model(given={"scale": 4})
    with caplog.at_level(logging.INFO, logger="basicsr"):
        logging.getLogger("basicsr").propagate = True
        take_options_from_file(model, _state(model, about))
    assert "run continues from a state of the run first." in caplog.text
    assert "processes 2 -> 1" in caplog.text
    assert "lightbsr 0.0.1 -> " in caplog.text
