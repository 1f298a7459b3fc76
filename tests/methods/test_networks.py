"""Every method's networks: what they compute, and what their checkpoints tell."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightbsr_arch import convert_published_state_dict, infer_options
from lightbsr_arch.methods import registry

from support.helpers import assert_close_to_reference
from support.method_cases import ALL, CASES
from support.published import published_state_dict
from support.training_cases import AUXILIARY, FROM_BURSTS

FROM_THE_IMAGE_ALONE = [case for case in ALL if case.is_student]


def test_every_network_has_its_case():
    trained = {name for method in registry.METHODS if method.training for name in method.networks}
    assert {case.network for case in ALL} == trained - AUXILIARY - FROM_BURSTS


@pytest.mark.parametrize(
    ("case", "name"),
    [(case, name) for case in ALL if case.recording for name in case.recorded or (f"{case.recording}_x4",)],
    ids=str,
)
def test_equals_published(golden, case, name):
    scale = int(re.search(r"x(\d)", name)[1])
    state_dict = convert_published_state_dict(published_state_dict(case.recording, case.gain, scale=scale))
    options = infer_options(state_dict)
    assert options.pop("type") == case.network
    net = registry.network(case.network)(**options).eval()
    net.load_state_dict(state_dict)
    data = golden(case.recording.partition("_")[0])
    inputs = [data[f"{name}_{given}"] for given in ("lq", *([case.sees] if case.sees else []))]
    with torch.no_grad():
        sr = net(*inputs)
        if case.code:
            assert torch.equal(sr, net.restore(inputs[0], net.encode(*inputs)))
    assert_close_to_reference(sr, data[f"{name}_sr"])


KDSR_L = {"num_feat": 128, "num_block": 28, "num_encoder_block": 5}


@pytest.mark.parametrize(
    ("network", "options", "millions", "gmacs"),
    [
        *((case.network, {}, case.millions, case.gmacs) for case in FROM_THE_IMAGE_ALONE),
        ("KDSR", KDSR_L, 14.19, 625.5),
    ],
)
def test_published_sizes(network, options, millions, gmacs):
    net = registry.network(network)(**options).eval()
    net(torch.rand(1, 3, 4, 4)).sum().backward()
    used = sum(value.numel() for value in net.parameters() if value.grad is not None)
    # With the 24 fixed values of the published layers that shift colours.
    assert round((used + 24) / 1e6, 2) == pytest.approx(millions, abs=0.0101)
    if gmacs is not None:
        with torch.device("meta"):
            on_meta = registry.network(network)(**options).eval()
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                on_meta(torch.rand(1, 3, 180, 320))
        assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=2e-3)


@pytest.mark.parametrize("case", ALL, ids=str)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_any_size_at_any_scale_and_samples_do_not_mix(case, scale):
    net = case.build(scale).eval()
    for value in net.parameters():
        if value.dim() > 1:
            value.data.normal_(std=0.2)  # the gates of a fresh network are all about a half
    for size in ((1, 1), (1, 7), (6, 3), (5, 5)):
        inputs = case.inputs(torch.rand(2, 3, *size), scale)
        with torch.no_grad():
            together = net(*inputs)
            alone = torch.cat([net(*(value[i : i + 1] for value in inputs)) for i in range(2)])
        assert together.shape == (2, 3, scale * size[0], scale * size[1])
        if not case.mixes_samples:
            assert (together - alone).abs().max() <= case.rounding * alone.std()


@pytest.mark.parametrize("case", ALL, ids=str)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_sizes_are_read_off_the_state_dict(case, scale):
    net = case.build(scale).eval()
    assert infer_options(net.state_dict()) == {"type": case.network, **net.options}


STARTING_FREELY = [case for case in ALL if case.starts_freely]
FREE = [
    {"image_skip": True, "tail_activation": None},
    {"image_skip": False, "tail_activation": "lr"},
    {"image_skip": True, "tail_activation": "hr"},
]


@pytest.mark.parametrize("case", STARTING_FREELY, ids=str)
@pytest.mark.parametrize("start", FREE, ids=str)
def test_how_a_network_starts_is_read_off_the_state_dict(case, start):
    net = case.build(3, **start)
    found = infer_options(net.state_dict())
    assert found == {"type": case.network, **net.options}
    assert {key: found[key] for key in start} == start
    # A network of another kind takes no such checkpoint, silently or otherwise.
    with pytest.raises(RuntimeError, match=r"image_skip|tail\.1|slope"):
        case.build(3).load_state_dict(net.state_dict())


@pytest.mark.parametrize("case", STARTING_FREELY, ids=str)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_with_an_image_skip_it_starts_from_the_enlarged_image(case, scale):
    lq = torch.rand(2, 3, 9, 6)
    net = case.build(scale, image_skip=True, init_scale=1e-3).eval()
    with torch.no_grad():
        restored = net(*case.inputs(lq, scale))
    # DSSR adds its outputs to an image enlarged by bicubic interpolation, always.
    mode = "bicubic" if case.network == "DSSR" else "bilinear"
    enlarged = torch.nn.functional.interpolate(lq, scale_factor=scale, mode=mode, align_corners=False)
    torch.testing.assert_close(restored, enlarged, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", STARTING_FREELY, ids=str)
@pytest.mark.parametrize(("tail_activation", "is_linear"), [(None, True), ("lr", False), ("hr", False)])
def test_what_follows_the_blocks_is_linear_without_an_activation(case, tail_activation, is_linear):
    sr = case.build(4, tail_activation=tail_activation).double().eval().get_submodule("sr")
    features = torch.randn(1, sr.last.in_channels, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        one, other, zero = (sr.last(sr.upsampler(sr.tail(x))) for x in (features, -features, 0 * features))
    curvature = (one + other - 2 * zero).abs().max() / (one - zero).abs().max()
    assert curvature < 1e-12 if is_linear else curvature > 1e-2


def test_initial_weights_are_of_the_spread_that_is_asked_for():
    sr = CASES["LightBSR"].build(4, num_feat=32, init_scale=0.3).get_submodule("sr")
    assert sr.conv.weight.std().item() == pytest.approx(0.3 * (2 / (9 * 32)) ** 0.5, rel=0.05)
    assert sr.last.weight.std().item() == pytest.approx(0.03 * (2 / (9 * 32)) ** 0.5, rel=0.1)
    biases = [layer.bias for layer in sr.modules() if getattr(layer, "bias", None) is not None]
    assert all((bias == 0).all() for bias in biases)


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ({"tail_activation": "sr"}, "tail_activation: expected lr, hr or nothing, got 'sr'"),
        ({"init_scale": 0}, "init_scale: expected a number above 0, at most 10, or nothing, got 0"),
        ({"init_scale": float("nan")}, "init_scale: expected a number above 0, at most 10, or nothing, got nan"),
    ],
)
def test_a_start_that_does_not_exist_is_refused(argument, named):
    for case in STARTING_FREELY:
        with pytest.raises(ValueError, match=named):
            case.build(4, **argument)


def test_a_checkpoint_imports_its_method_alone(tmp_path):
    for case in ALL:
        torch.save({"params": case.build().state_dict()}, tmp_path / f"{case.network}.pth")
    program = (
        "import json, sys\n"
        "from lightbsr_arch import infer_options\n"
        "from lightbsr_arch.weights.checkpoints import load_state_dict\n"
        "for path in sys.argv[1:]:\n"
        "    kind = infer_options(load_state_dict(path))['type']\n"
        "    print(json.dumps([kind, [name for name in sys.modules if name.startswith('lightbsr_arch.methods.')]]))\n"
    )
    paths = [str(tmp_path / f"{case.network}.pth") for case in ALL]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    expected = {f"lightbsr_arch.methods.{name}" for name in ("base", "registry", "sizes", "published_layout")}
    for case, line in zip(ALL, done.stdout.splitlines(), strict=True):
        kind, imported = json.loads(line)
        assert kind == case.network
        expected |= {method.module for method in registry.METHODS if kind in method.networks}
        assert set(imported) == expected


@pytest.mark.parametrize("case", ALL, ids=str)
def test_what_is_no_image_batch_is_refused(case):
    for lq in (torch.rand(3, 8, 8), torch.rand(1, 1, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="lq: expected"):
            case.build()(lq, *case.inputs(torch.rand(1, 3, 8, 8))[1:])


@pytest.mark.parametrize("case", [case for case in ALL if case.contrast], ids=str)
def test_a_key_encoder_that_was_left_out_starts_as_the_query_encoder(case):
    published = published_state_dict(case.recording or "teacher")
    whole = convert_published_state_dict(published)
    parts = {k: v for k, v in published.items() if not k.startswith(("E.encoder_k", "E.queue", "E.encoder_ema"))}
    assert len(parts) < len(published)
    converted = convert_published_state_dict(parts)
    options = infer_options(converted)
    del options["type"]
    left_out = (f"{case.contrast}.key", f"{case.contrast}.queue")
    ours = {key: value for key, value in whole.items() if not key.startswith(left_out)}
    assert "queue_size" not in infer_options(ours)
    nets = [registry.network(case.network)(**options).eval() for _ in range(3)]
    for net, state_dict in zip(nets, (whole, converted, ours), strict=True):
        net.load_state_dict(state_dict)
    inputs = case.inputs(torch.rand(1, 3, 16, 16))
    with torch.no_grad():
        results = [net(*inputs) for net in nets]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    for net in nets[1:]:
        contrast = getattr(net, case.contrast)
        for key, value in contrast.query.state_dict().items():
            assert torch.equal(contrast.key.state_dict()[key], value)
        assert contrast.query.encoder.layers[0].weight.data_ptr() != contrast.key.encoder.layers[0].weight.data_ptr()
        if contrast.queue_size is not None:
            torch.testing.assert_close(contrast.queue.norm(dim=0), torch.ones(8192))
            assert torch.equal(contrast.queue, nets[1].momentum_contrast.queue)


def test_a_part_of_the_key_encoder_is_still_an_error():
    case = CASES["DASR"]
    state_dict = case.build().state_dict()
    del state_dict["momentum_contrast.key.head.0.weight"]
    with pytest.raises(RuntimeError, match=r"key\.head\.0\.weight"):
        case.build().load_state_dict(state_dict)


@pytest.mark.parametrize(
    ("key", "shape", "found"),
    [
        ("body.0.conv1.weight", (5, 8, 8, 3, 3), r"It has stacked \(5-D\) weights \(body\.0\.conv1\.weight\)"),
        ("body.expert\x1b[31m.weight", (8,), r"It has a key that speaks of experts \(body\.expert[^\x1b]*\.weight\)"),
    ],
)
def test_the_other_dasr_is_named_with_what_was_found(key, shape, found):
    with pytest.raises(ValueError, match=found + r", as a mixture of experts may\. If .*2104\.00416.*2203\.14216"):
        infer_options({key: torch.rand(shape)})


def test_no_other_dasr_is_named_without_a_sign_of_it():
    with pytest.raises(ValueError, match=r"no 'sr\.head\.weight'") as error:
        infer_options({"body.0.conv1.weight": torch.rand(8, 8, 3, 3)})
    assert "2203.14216" not in str(error.value)
