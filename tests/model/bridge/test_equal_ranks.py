"""Weights, buffers and EMA copies are equal on all ranks before the first step, and at every validation."""

from __future__ import annotations

import pytest
import torch

from support.training_cases import TRAININGS

ADVERSARIAL = ("SRGANModel", "BlindGANModel")
KINDS = [*TRAININGS, "SRModel", "BlindSRModel", *ADVERSARIAL]


@pytest.fixture(scope="module")
def held(tmp_path_factory, fork_server):
    out = tmp_path_factory.mktemp("ranks")
    files = {str(case): str(case.save_teacher(out)) for case in TRAININGS.values() if case.teacher or case.meta}
    code, log = fork_server.run(out, str(out), KINDS, files, calls="rank_equality:main", ranks=2)
    assert code == 0, log[-3000:]
    return [torch.load(out / f"rank{rank}.pth") for rank in (0, 1)]


@pytest.mark.parametrize("when", ["first step", "validation", "from a checkpoint"])
@pytest.mark.parametrize("kind", KINDS)
def test_ranks_hold_the_same(held, kind, when):
    first, second = (values[f"{kind}, {when}"] for values in held)
    assert first.keys() == second.keys()
    assert any(key.startswith("net_g_ema.") for key in first)
    assert any(key.startswith("net_d.") for key in first) == (
        kind in ADVERSARIAL or (kind in TRAININGS and "network_d" in TRAININGS[kind].beside)
    )
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    if when == "first step":
        # The averaged copy starts as the network.
        assert all(torch.equal(first[f"net_g_ema.{key[6:]}"], first[key]) for key in first if key.startswith("net_g."))
    if when == "validation":
        initial = held[0][f"{kind}, first step"]
        assert any(not torch.equal(first[key], initial[key]) for key in first)


@pytest.mark.parametrize("kind", ["SRModel", "SRGANModel"])
def test_losses_are_logged_as_basicsr_logs_them(held, kind):
    logs = held[0][f"{kind}, logged"]
    assert len(logs["here"]) == (1 if kind == "SRModel" else 6)
    assert torch.equal(logs["here"], logs["BasicSR"])
    # Averaged over the ranks, whose batches differ.
    assert not torch.equal(logs["here"], held[1][f"{kind}, logged"]["here"])


def test_ranks_with_different_networks_are_an_error(tmp_path, fork_server):
    code, log = fork_server.run(tmp_path, str(tmp_path), calls="rank_equality:different_networks", ranks=2)
    assert code != 0
    assert "OptionError: rank 1 has other networks than rank 0 (first difference: net_g.body.0.conv1.bias)" in log
