"""A discriminator beside the network, by a small model of one phase without it and one with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models import build_model
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from lightbsr_arch.errors import OptionError
from lightbsr_model.training.adversarial import AdversarialModel
from lightbsr_model.training.phases import Phase

from support.model_options import GAN, JUDGE, MSRRESNET, with_discriminator
from support.training_files import assert_resumes_exactly, plain_training


@MODEL_REGISTRY.register()
class ToyAdversarialModel(AdversarialModel):
    def build_phases(self) -> Sequence[Phase]:
        length = self.phase_length("pixel_iter")
        return (
            Phase("pixel", length, (self.net_g,), "forward", self._pixel),
            Phase("adversarial", None, (self.net_g,), "forward", self._adversarial),
        )

    def _pixel(self) -> Mapping[str, Tensor]:
        return self.pixel_loss(self.learning_pass(self.lq))

    def _adversarial(self) -> Mapping[str, Tensor]:
        return {**self._pixel(), **self.adversarial_loss(self.output)}


def _options(images, **train):
    opt = with_discriminator(plain_training(images, total_iter=4), **{"pixel_iter": 1, **train})
    opt["train"]["scheduler"]["milestones"] = [3]
    del opt["datasets"]["train"]["degrade_in"]
    return {**opt, "model_type": "ToyAdversarialModel"}


def _build(opt):
    torch.manual_seed(3)
    return build_model({**opt, "is_train": True, "dist": False, "rank": 0, "world_size": 1, "path": {}})


def _batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return {"lq": torch.rand(2, 3, 8, 8, generator=generator), "gt": torch.rand(2, 3, 32, 32, generator=generator)}


def test_steps_are_those_written_out(image_folder):
    opt = _options(image_folder)
    model = _build(opt)
    torch.manual_seed(3)
    net, judge = build_network(dict(MSRRESNET)).train(), build_network(dict(JUDGE)).train()
    pixel, gan = build_loss(dict(opt["train"]["pixel_opt"])), build_loss(dict(GAN))
    optim_g = torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.9, 0.99))
    optim_d = torch.optim.Adam(judge.parameters(), lr=1e-3)
    start = [value.clone() for value in judge.state_dict().values()]
    for iteration in (1, 2, 3):
        batch = _batch(iteration)
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        optim_g.zero_grad()
        output = net(batch["lq"])
        loss = pixel(output, batch["gt"])
        if iteration > 1:
            loss = loss + gan(judge(output), True, is_disc=False)
        loss.backward()
        optim_g.step()
        if iteration == 1:
            assert all(map(torch.equal, model.net_d.state_dict().values(), start))
            continue
        optim_d.zero_grad()
        gan(judge(batch["gt"]), True, is_disc=True).backward()
        gan(judge(output.detach()), False, is_disc=True).backward()
        optim_d.step()
    for ours, written_out in ((model.net_g, net), (model.net_d, judge)):
        for key, value in written_out.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-5, atol=1e-6)
    assert list(model.get_current_log()) == ["l_pix", "l_gan", "l_d_real", "out_d_real", "l_d_fake", "out_d_fake"]


def test_resumed_run_is_the_undisturbed_one(image_folder, run, tmp_path):
    assert_resumes_exactly(run, tmp_path, _options(image_folder, ema_decay=0.5))
    assert (tmp_path / "experiments/whole/models/net_d_latest.pth").is_file()


def test_phases_that_take_more_than_the_training_are_an_error(image_folder, monkeypatch):
    class ThreePhases(ToyAdversarialModel):
        def build_phases(self):
            first, last = super().build_phases()
            return first, first, last

    monkeypatch.setitem(MODEL_REGISTRY._obj_map, "ThreePhases", ThreePhases)
    opt = {**_options(image_folder, pixel_iter=3), "model_type": "ThreePhases"}
    with pytest.raises(OptionError, match=r"total_iter: the phases pixel, pixel take 6 iterations, got 4"):
        _build(opt)


@pytest.mark.parametrize(
    ("missing", "message"),
    [("network_d", "network_d: missing"), ("optim_d", "optim_d: missing"), ("gan_opt", r"train\.gan_opt: missing")],
)
def test_what_a_discriminator_needs(image_folder, missing, message):
    opt = _options(image_folder)
    (opt if missing in opt else opt["train"]).pop(missing)
    with pytest.raises(OptionError, match=message):
        _build(opt)
