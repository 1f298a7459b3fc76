"""What a run asks of GPUs, shown without one."""

from __future__ import annotations

import pytest
import torch
from basicsr.data.prefetch_dataloader import CUDAPrefetcher

from lightbsr_arch.layers.momentum_contrast import contrastive_loss
from lightbsr_model.bridge import option_parsing
from lightbsr_model.bridge.training_data import keep_batches_in_use

from support.training_cases import TRAININGS

OURS = [case.model_type for case in TRAININGS.values()]


@pytest.mark.parametrize(("model_type", "taken"), [*((name, 1) for name in OURS), ("SRModel", 2)])
def test_our_models_take_one_gpu_a_process(monkeypatch, capsys, model_type, taken):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    opt = {"num_gpu": "auto", "dist": False, "model_type": model_type, "rank": 0}
    option_parsing._choose_devices(opt)
    assert opt["num_gpu"] == taken
    assert ("One of 2 GPUs is used" in capsys.readouterr().err) == (taken == 1)


def test_prefetched_batch_is_recorded_on_the_stream_that_uses_it(monkeypatch):
    events = []

    class OnDevice(torch.Tensor):
        is_cuda = True

        def record_stream(self, stream):
            events.append(("record", int(self.sum()), stream))

    class Consumer:
        def wait_stream(self, stream):
            events.append(("wait", stream))

    consumer = Consumer()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: consumer)

    class Prefetcher(CUDAPrefetcher):
        def __init__(self):
            self.stream, self.rest = "copies", iter([{"lq": torch.ones(2).as_subclass(OnDevice), "path": ["b"]}, None])
            self.batch = {"lq": torch.zeros(2).as_subclass(OnDevice), "path": ["a"]}

        def preload(self):
            events.append(("preload",))
            self.batch = next(self.rest)

    keep_batches_in_use(Prefetcher)
    prefetcher = Prefetcher()
    assert [prefetcher.next()["path"], prefetcher.next()["path"]] == [["a"], ["b"]]
    assert prefetcher.batch is None
    # Waited for, and recorded before the next copy may take its memory.
    expected = [(("wait", "copies"), ("record", number, consumer), ("preload",)) for number in (0, 2)]
    assert events == [*expected[0], *expected[1]]


def test_contrastive_loss_reads_no_value():
    """The meta device has no values: whatever reads one, or asks how many are true, fails there."""
    queries, keys, queue = (torch.empty(*shape, device="meta") for shape in ((3, 4, 8), (3, 4, 8), (8, 16)))
    assert contrastive_loss(queries, keys, queue, reduction="none").shape == (6, 4)
