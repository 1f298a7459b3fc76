"""No step of a training reads a value of a tensor, which on CUDA would make the host wait for the device."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from basicsr.models import build_model
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from lightbsr_model.bridge.optimiser_steps import StepControl
from lightbsr_model.bridge.patches import apply_patches
from lightbsr_model.bridge.run import Run
from lightbsr_model.bridge.supervision import Supervisor
from lightbsr_model.methods import cdcl

from support.model_options import TEACHER_NETWORK, basicsr_options, model_options
from support.small_models import noise_batch_of
from support.training_cases import TRAININGS

READS = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "unique_dim")
"""Operators whose result the host must know: numbers, truth values, and shapes that depend on values."""


class NothingIsRead(TorchDispatchMode):
    """A context in which reading a value is an error; as strict as a GPU, where a mask as an index is a read too."""

    def __torch_dispatch__(self, operator, _types, args=(), kwargs=None):
        name = operator.overloadpacket.__name__
        if name in ("index", "index_put_", "_index_put_impl_"):
            assert not any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        assert name not in READS, f"{name} reads a value"
        return operator(*args, **(kwargs or {}))


@contextmanager
def nothing_is_read():
    """The same for what reads a CPU tensor's memory past all operators."""

    def read(*_):
        raise AssertionError("a value is read")

    with pytest.MonkeyPatch.context() as patch, NothingIsRead():
        for name in ("tolist", "numpy", "cpu", "__array__"):
            patch.setattr(torch.Tensor, name, read)
        yield


@pytest.fixture
def on_the_host(monkeypatch):
    """What is drawn on the host may be read: no device is asked."""
    shift = cdcl.cyclic_shift

    def cyclic_shift(gt, generator):
        assert generator.device.type == "cpu"
        with _disable_current_modes():
            return shift(gt, generator)

    monkeypatch.setattr(cdcl, "cyclic_shift", cyclic_shift)


@pytest.fixture(scope="module")
def teacher_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    return {str(case): case.save_teacher(folder) for case in TRAININGS.values()}


def _options(kind, teacher_files):
    if kind in TRAININGS:
        opt = TRAININGS[kind].apply(model_options("teacher", TEACHER_NETWORK, 2), teacher_files[kind])
    else:
        opt = basicsr_options(kind)
    opt["train"].update(ema_decay=0.5, channels_last=True)
    if "diffusion_opt" in opt["train"]:
        # Once in so many iterations an adaptive strength looks how sure the discriminator is.
        opt["train"]["diffusion_opt"] = {**opt["train"]["diffusion_opt"], "interval": 100}
    for name in opt["train"].keys() & {"optim_g", "optim_d"}:
        opt["train"][name]["fused"] = True
    opt["logger"] = {"print_freq": 100, "save_checkpoint_freq": 100}
    return opt


def _batch(kind, seed):
    generator = torch.Generator().manual_seed(seed)
    if kind not in TRAININGS:
        return {"lq": torch.rand(4, 3, 8, 8, generator=generator), "gt": torch.rand(4, 3, 32, 32, generator=generator)}
    return noise_batch_of(TRAININGS[kind], seed)


@pytest.mark.parametrize("kind", [*TRAININGS, "SRModel", "SRGANModel"])
def test_no_step_reads_a_value(kind, teacher_files, on_the_host, monkeypatch):
    monkeypatch.setattr(StepControl, "_can_wait", lambda *_: True)  # as on a GPU
    apply_patches()
    torch.manual_seed(2)
    model = build_model(_options(kind, teacher_files))
    supervisor = Supervisor(Run(train_set=SimpleNamespace(skipped=0)), model)
    supervisor.attach()
    try:
        # The first iteration of a phase (encoder, from the third on joint) may look at what is looked at once.
        for iteration in (1, 2, 3, 4):
            batch = _batch(kind, iteration)
            model.update_learning_rate(iteration)
            with nothing_is_read() if iteration % 2 == 0 else nullcontext():
                model.feed_data(batch)
                model.optimize_parameters(iteration)
            assert all(isinstance(value, torch.Tensor) for value in model.log_dict.values())
    finally:
        supervisor.stop.uninstall()
    log = model.get_current_log()
    assert list(log) == list(model.log_dict)
    assert all(log[name] == float(value) for name, value in model.log_dict.items())
    assert all(type(value) is float for value in log.values())
