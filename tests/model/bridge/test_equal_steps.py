"""Two processes give one process's step on the joined batch."""

from __future__ import annotations

import pytest
import torch

from support.adapting import adapting_files
from support.training_cases import TRAININGS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory, fork_server):
    out = tmp_path_factory.mktemp("processes")
    teachers = {str(case): str(case.save_teacher(out)) for case in TRAININGS.values() if case.teacher or case.meta}
    adapting_files(out / "adapting")
    for ranks in ({}, {"ranks": 2}):
        code, log = fork_server.run(out, str(out), teachers, calls="two_steps:main", **ranks)
        assert code == 0, log[-3000:]
    return {path.stem: torch.load(path) for path in out.glob("[12]_*.pth")}


@pytest.mark.parametrize("phase", ["encoder", "joint"])
@pytest.mark.parametrize("case", TRAININGS.values(), ids=str)
def test_two_processes_equal_one_on_the_joined_batch(runs, case, phase):
    alone, first, second = (runs[name][f"{case} {phase}"] for name in ("1_0", "2_0", "2_1"))
    assert alone.keys() == first.keys() == second.keys()
    gradients = [key for key in alone if key.startswith("grad ")]
    learning = case.learns_first if case.encoder_loss and phase == "encoder" else (case.first_layer,)
    assert any(part in key for key in gradients for part in learning)
    # A bias before a batch norm has no gradient but rounding, which differs from processor to processor.
    assert max(float(alone[key].abs().max()) for key in gradients) > 1e-3, "nothing to compare"
    rounding = case.gradient_rounding * max(float(alone[key].abs().max()) for key in gradients)
    for key in gradients:
        torch.testing.assert_close(
            first[key], alone[key], rtol=1e-4, atol=1e-5 * float(alone[key].abs().max()) + rounding
        )
    for key in (key for key in alone if key.startswith("log ")):
        torch.testing.assert_close(first[key], alone[key], rtol=1e-5, atol=0)
    # The same state on both ranks, bit for bit; the rest of rank 1's log is not reduced.
    for key in (key for key in alone if key.startswith("state ")):
        assert torch.equal(first[key], second[key]), key
    if "state momentum_contrast.queue" in alone:
        queue, pointer = "state momentum_contrast.queue", "state momentum_contrast.queue_pointer"
        assert int(alone[pointer]) == int(first[pointer]) == 8
        torch.testing.assert_close(first[queue], alone[queue], rtol=0, atol=1e-3)
        torch.testing.assert_close(first[queue][:, :4], alone[queue][:, :4], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "learns", "rounding"),
    [
        ("adversarial", "conv9", 1e-4),  # the discriminator's last layer
        ("LWayModel", "sr.last", 1e-4),
        # Here references become LR images of 8 bits, whose last bit depends on how many are shrunk together: gradients that are
        # a thousandth of the largest show it.
        ("ReferenceAdaptationModel", "encoder.", 5e-3),
        ("AdversarialReferenceAdaptationModel", "judgement", 5e-3),
    ],
)
def test_two_processes_equal_one_in_adversarial_training_and_in_adaptation(runs, name, learns, rounding):
    alone, first = (runs[run][name] for run in ("1_0", "2_0"))
    assert alone.keys() == first.keys()
    assert any(learns in key and bool(value.any()) for key, value in alone.items())
    largest = max(float(value.abs().max()) for key, value in alone.items() if key.startswith("grad "))
    for key, value in alone.items():
        atol = rounding * float(value.abs().max()) + (1e-8 if rounding < 1e-3 else 1e-4 * largest)
        torch.testing.assert_close(first[key], value, rtol=1e-4, atol=atol, msg=key)
