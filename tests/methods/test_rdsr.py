"""RDSR: its networks, losses and optimiser steps on recorded data."""

from __future__ import annotations

import pytest
import torch
from basicsr.losses import build_loss
from torch.nn import functional as F

from lightbsr_arch import infer_options
from lightbsr_arch.methods.rdsr import LAYOUTS, LinearDownsampler, ReferenceDiscriminator, centre

from support.helpers import assert_close_to_reference
from support.published import filled_state_dict

CHARBONNIER = {"type": "CharbonnierLoss", "eps": 1e-6}


def _downsampler(layout):
    published = filled_state_dict(f"rdsr_down_{layout}")
    net = LinearDownsampler(*LAYOUTS[layout])
    net.load_state_dict(
        {f"downsampling.{number}.weight": value for number, value in enumerate(published.values())}, strict=True
    )
    return net


@pytest.mark.parametrize("layout", ["x4_k33", "x4_k23", "x2_k13"])
def test_downsampler_equals_published(golden, layout):
    data, net = golden("rdsr"), _downsampler(layout)
    with torch.no_grad():
        assert_close_to_reference(net(data[f"{layout}_hr"]), data[f"{layout}_lr"])
        kernel = net.kernel(as_published=True)
    torch.testing.assert_close(kernel, data[f"{layout}_kernel"], rtol=0, atol=1e-6)
    # What regularises it in the published code, with weight 0.
    mask = data[f"{layout}_mask"]
    border = (len(kernel) - len(mask)) // 2
    middle = kernel[border : border + len(mask), border : border + len(mask)]
    regularisers = {
        "sum2one": (1 - kernel.sum()).abs(),
        "sparse": kernel.abs().pow(0.2).mean(),
        "boundaries": (middle * mask).abs().mean(),
    }
    for name, value in regularisers.items():
        torch.testing.assert_close(value, data[f"{layout}_{name}"].reshape(()), rtol=1e-4, atol=1e-6, msg=name)
    assert infer_options(net.state_dict()) == {"type": "LinearDownsampler", **net.options}


@pytest.mark.parametrize(("layout", "taps"), [("x4_k33", 35), ("x4_k23", 25), ("x2_k13", 13), ("x3_k27", 27)])
def test_one_kernel_is_what_the_layers_do_one_by_one(layout, taps):
    torch.manual_seed(0)
    net = LinearDownsampler(*LAYOUTS[layout], num_feat=3).double()
    hr = torch.rand(2, 3, 48, 44, dtype=torch.float64)
    by_layers = hr.flatten(0, 1)[:, None]
    for layer in net.downsampling:
        by_layers = layer(by_layers)
    with torch.no_grad():
        assert len(net.kernel()) == taps
        torch.testing.assert_close(net(hr), by_layers[:, 0].unflatten(0, (2, 3)))


def test_a_new_downsampler_keeps_the_brightness():
    torch.manual_seed(0)
    with torch.no_grad():
        assert LinearDownsampler().kernel().sum().item() == pytest.approx(1, abs=0.3)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"as many strides, got \[5, 3\] and \[2\]"):
        LinearDownsampler([5, 3], [2])
    with pytest.raises(ValueError, match="at least 13, got 12x40"):
        LinearDownsampler(*LAYOUTS["x2_k13"])(torch.rand(1, 3, 40, 12))
    with pytest.raises(ValueError, match=r"no downsampler has the kernel sizes \[3\]"):
        infer_options({"downsampling.0.weight": torch.rand(1, 1, 3, 3)})


def test_discriminator_equals_published(golden):
    data, published = golden("rdsr"), filled_state_dict("rdsr_discriminator")
    net = ReferenceDiscriminator().eval()
    weights = {}
    for key, value in published.items():
        layer, _, name = key.rpartition(".")
        if name in ("weight_u", "weight_v"):
            continue
        part, _, number = layer.partition(".")
        place = {"first_layer": 0, "final_layer": 16}.get(part)
        place = 1 + int(number) if place is None else place
        weights[f"judgement.{place}.{name.removesuffix('_orig')}"] = value
    net.load_state_dict(weights)
    with torch.no_grad():
        assert_close_to_reference(net(data["disc_x"]), data["disc_out"])
    assert infer_options(net.state_dict()) == {"type": "ReferenceDiscriminator", **net.options}


def test_losses_equal_published(golden):
    data = golden("rdsr")
    assert build_loss(CHARBONNIER)(data["charb_a"], data["charb_b"]).item() == pytest.approx(
        data["charb"].item(), rel=1e-5
    )
    gan = build_loss({"type": "GANLoss", "gan_type": "lsgan", "real_label_val": 1.0, "fake_label_val": 0.0})
    assert gan(data["gan_map"], True, is_disc=True).item() == pytest.approx(data["gan_real"].item(), rel=1e-5)
    assert gan(data["gan_map"], False, is_disc=True).item() == pytest.approx(data["gan_fake"].item(), rel=1e-5)


def test_optimiser_steps_equal_published(golden):
    data, net, charbonnier = golden("rdsr"), _downsampler("x2_k13"), build_loss(CHARBONNIER)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.25, 0.999))
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        shrunk = net(data["steps_hr"])
        loss = charbonnier(shrunk, centre(data["steps_lr"], shrunk))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(data["steps_loss"][0].item(), rel=1e-5)
    assert losses[1:] == pytest.approx(data["steps_loss"][1:].tolist(), rel=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_centre_of_the_lr_image_is_where_the_downsampler_looks(layout):
    sizes, strides = LAYOUTS[layout]
    scale = int(layout[1])
    net = LinearDownsampler(sizes, strides, num_feat=1)
    ramp = torch.arange(96.0).expand(1, 1, 96, 96)
    for layer in net.downsampling:
        layer.weight.data.fill_(1 / layer.weight[0].numel())
    lq = F.avg_pool2d(ramp, scale)
    with torch.no_grad():
        shrunk = net(ramp)
    # At even factors the middle of an odd kernel lies half a pixel beside that of a cell, and a border may be half a cell.
    assert (shrunk - centre(lq, shrunk)).abs().max() <= scale / 2
