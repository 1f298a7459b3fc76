"""Networks adapted to the images that they restore, by a small adaptation: a step of gradient descent on one bias."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.models import build_model
from torch import nn

from lightbsr_arch.errors import OptionError
from lightbsr_arch.inference import Upscaler
from lightbsr_arch.methods import registry
from lightbsr_arch.methods.base import Method
from lightbsr_model.bridge.patches import apply_patches

from support.model_options import MSRRESNET, STUDENT_NETWORK

SWINIR = {"type": "SwinIR", "upscale": 4, "img_size": 8, "window_size": 8, "depths": [1], "embed_dim": 8}
SWINIR |= {"num_heads": [2], "mlp_ratio": 2, "upsampler": "pixelshuffle"}


class BrightnessAdaptation:
    """Moves the last bias until a restored image is half as bright as its input."""

    def __init__(self, steps: int = 1, rate: float = 1.0) -> None:
        self.steps, self.rate = steps, rate

    def __call__(self, net: nn.Module, lq: torch.Tensor) -> nn.Module:
        adapted = deepcopy(net).requires_grad_(False)
        (bias,) = (value for name, value in adapted.named_parameters() if name.endswith("last.bias"))
        bias.requires_grad_(True)
        for _ in range(self.steps):
            loss = (adapted(lq).mean(dim=(0, 2, 3)) - lq.mean(dim=(0, 2, 3)) / 2).square().sum() / 2
            (gradient,) = torch.autograd.grad(loss, bias)
            bias.data -= self.rate * gradient
        return adapted


@pytest.fixture(autouse=True)
def _brightness(monkeypatch):
    method = Method("toy", "", {}, sizes=lambda _: {}, adaptations={"Brightness": BrightnessAdaptation})
    entry = type(
        "Entry",
        (),
        {"load": lambda self: method, "networks": (), "signature": (), "published_signature": (), "helpers": ()},
    )()
    monkeypatch.setattr(registry, "registered", lambda: (*registry.METHODS, entry))


def _model(network, model_type, adaptation):
    val = {} if adaptation is None else {"adaptation": adaptation}
    torch.manual_seed(0)
    return build_model(
        {
            **{"name": "x", "model_type": model_type, "num_gpu": 0, "is_train": False, "dist": False, "rank": 0},
            **{"world_size": 1, "manual_seed": 0, "scale": 4, "network_g": dict(network), "path": {}, "val": val},
        }
    )


def _restored(model, lq):
    model.feed_data({"lq": lq})
    model.test()
    return model.output


@pytest.mark.parametrize(
    ("network", "model_type"),
    [(MSRRESNET, "SRModel"), (SWINIR, "SwinIRModel"), (STUDENT_NETWORK, "LightBSRStudentModel")],
)
def test_each_batch_is_restored_by_a_network_of_its_own(network, model_type, monkeypatch):
    apply_patches()
    # The last bias shifts the output by itself, so that one step of rate 1 ends where the brightness is equal.
    adapting = _model(network, model_type, {"type": "Brightness", "steps": 1})
    before = {key: value.clone() for key, value in adapting.net_g.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for level in (0.2, 0.7):
        lq = level + 0.1 * torch.rand(1, 3, 8, 8, generator=generator)
        adapted = _restored(adapting, lq)
        torch.testing.assert_close(adapted.mean(dim=(0, 2, 3)), lq.mean(dim=(0, 2, 3)) / 2, rtol=1e-4, atol=1e-4)
        assert not adapted.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in adapting.net_g.state_dict().items())
    plain = _restored(_model(network, model_type, None), lq)
    assert (plain.mean(dim=(0, 2, 3)) - lq.mean(dim=(0, 2, 3)) / 2).abs().min() > 0.02
    # Sides that are no multiple of a window.
    assert _restored(adapting, torch.rand(1, 3, 9, 11)).shape == (1, 3, 36, 44)


@pytest.mark.parametrize("tile", ["off", 96])
def test_an_upscaler_adapts_to_each_image(tile):
    net = build_network(dict(MSRRESNET)).eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    upscaler = Upscaler(net, "cpu", tile=tile, adaptation=BrightnessAdaptation())
    for level in (0.3, 0.8):
        image = np.random.default_rng(0).uniform(level - 0.1, level + 0.1, (112, 104, 3)).astype(np.float32)
        adapted = upscaler.upscale(image)
        np.testing.assert_allclose(adapted.mean(axis=(0, 1)), image.mean(axis=(0, 1)) / 2, atol=2e-3)
        assert abs(Upscaler(net, "cpu", tile=tile).upscale(image).mean() - image.mean() / 2) > 0.1
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("opt", "message"),
    [
        ({"type": "Nothing"}, r"adaptation\.type: expected one of the adaptations \(.*Brightness\), got 'Nothing'"),
        ({"type": "Brightness", "stps": 2}, "adaptation: Brightness does not take these arguments: .*stps"),
    ],
)
def test_an_adaptation_that_cannot_be_made_is_explained(opt, message):
    with pytest.raises(OptionError, match=message):
        _restored(_model(STUDENT_NETWORK, "LightBSRStudentModel", opt), torch.rand(1, 3, 8, 8))
