"""The measurement of what more frames are worth trains what it says, on equal terms, and adds up right."""

from __future__ import annotations

import pytest
import torch

from benchmarks.burst_claims import COUNTS, SIZES, VARIANTS, Budget, main, measured, options, table, test_bursts
from lightbsr_arch.methods.rbsr import RBSR
from lightbsr_model.option_files.whole_options import read_options
from lightbsr_model.training.linear_psnr import psnr_linear

from support.helpers import ROOT
from support.option_problems import check_of

test_bursts.__test__ = False


def test_options_are_valid_and_equal_where_they_can_be():
    found = {name: options(name, Budget(), 3) for name in VARIANTS}
    for name, opt in found.items():
        assert check_of(opt).problems == []
        assert (opt["name"], opt["manual_seed"], opt["train"]["total_iter"]) == (name, 3, 10000)
        assert opt["datasets"]["train"]["frames"] == (1 if name == "one" else [2, 8])
        for key in ("optim_g", "pixel_opt", "scheduler"):
            assert opt["train"][key] == found["affine"]["train"][key]
    assert [name for name, opt in found.items() if opt["train"]["true_flow"]] == ["true"]
    assert [name for name, opt in found.items() if opt["network_g"]["flow_net"] == "spynet"] == ["learnt"]
    small = read_options(ROOT / "options/rbsr/train_small.yml").options["network_g"]
    assert {key: small[key] for key in SIZES} == SIZES


def test_networks_are_measured_on_the_same_bursts():
    torch.manual_seed(0)
    bursts = test_bursts(Budget())["bundled"][:2]
    assert all(
        torch.equal(a["frames"], b["frames"]) for a, b in zip(bursts, test_bursts(Budget())["bundled"], strict=False)
    )
    net = RBSR(**SIZES).eval()
    with torch.no_grad():
        # Of a network whose output is one colour, PSNR is known.
        net.conv_last.weight.zero_()
        net.conv_last.bias.fill_(0.25)
    found = measured(net, bursts, takes_true_flow=True)
    expected = sum(psnr_linear(torch.full_like(burst["gt"], 0.25), burst["gt"]) for burst in bursts) / 2
    assert found == {name: pytest.approx(expected, rel=1e-5) for name in [*map(str, COUNTS), "repeated"]}


def test_table_adds_up():
    def values(*psnr):
        return dict(zip([*map(str, COUNTS), "repeated"], psnr, strict=True))

    found = {
        ("one", 0): values(30.0, 30.0, 30.0, 30.0, 30.0),
        ("one", 1): values(30.2, 30.0, 30.0, 30.0, 30.0),
        ("true", 0): values(29.0, 30.5, 31.0, 31.5, 29.0),
        ("true", 1): values(29.0, 30.5, 31.0, 30.6, 29.0),
    }
    text = table(found, [0])
    assert "| true | 29.00 | 30.50 | 31.00 | 31.50 | 29.00 |" in text
    assert "+1.50 dB; that it is 0.5 dB or more holds (least: 1.50 dB). PSNR grows with" in text
    text = table(found, [0, 1])
    assert "does not hold (least: 0.40 dB). PSNR does not grow with" in text


def test_a_dry_run_says_how_long_it_would_take(capsys, tmp_path):
    main(["-o", str(tmp_path / "out"), "--dry-run", "--variants", "one", "--seeds", "0"])
    told = capsys.readouterr().out
    assert "one: " in told
    assert "for 1 seeds of 10000 iterations, here" in told
    assert not (tmp_path / "out").exists()
