"""The measurement of LCE's claims trains what it says, on equal terms, and adds up right."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.lce_claims import SIZES, VARIANTS, correction, correction_table, options, quality_table, settings
from benchmarks.study.methods import Budget
from benchmarks.study.report import PRESETS
from lightbsr_arch.methods.lce import LCE
from lightbsr_model.methods.lce import corrector_target
from lightbsr_model.option_files.whole_options import read_options

from support.helpers import ROOT
from support.option_problems import check_of


@pytest.fixture
def budget(image_folder):
    return Budget(str(image_folder), 70, 2, 16, "small", 0, 0, 1e-3)


def test_options_are_valid_and_equal_where_they_can_be(budget):
    found = {name: options(name, budget, 3) for name in VARIANTS}
    for name, opt in found.items():
        assert check_of(opt).problems == []
        assert (opt["name"], opt["manual_seed"], opt["train"]["total_iter"]) == (name, 3, 70)
        for key in ("datasets", "scale", "model_type"):
            assert opt[key] == found["corrected"][key]
        for key in ("optim_g", "pixel_opt"):
            assert opt["train"][key] == found["corrected"]["train"][key]
    assert found["corrected"]["network_g"] == found["unsupervised"]["network_g"]
    weights = [opt["train"]["corrector_opt"]["loss_weight"] for opt in found.values()]
    assert (weights, [opt["train"]["encoder_iter"] for opt in found.values()]) == ([1, 0, 0], [7, 0, 0])
    small = read_options(ROOT / "options/lce/train_small.yml").options["network_g"]
    assert {key: small[key] for key in SIZES} == SIZES


def test_correction_is_measured_against_the_bicubic_image(image_folder, tmp_path):
    net, asked = LCE(4, **SIZES).eval(), settings(0, tmp_path, {"six": str(image_folder)})
    before, after = correction(net, asked, "six", "iso_2.4")
    assert before == after  # a new network corrects nothing
    assert 20 < before < 45
    net.corrector.forward = lambda lq: lq + 2 / 255
    shifted = correction(net, asked, "six", "bicubic")
    # Of an LR image that is the bicubic one already.
    assert shifted[0] == np.inf
    assert shifted[1] == pytest.approx(20 * np.log10(255 / 2), abs=0.2)


def test_tables_add_up():
    pairs = {("a", preset): [(30.0, 32.5), (31.0, 33.25)] for preset in PRESETS}
    table = correction_table(pairs)
    assert "| a | iso_2.4 | 30.50 ± 6.35 | 32.88 ± 4.76 | 2.38 ± 1.59 |" in table
    assert "holds (least: 2.25 dB)" in table
    pairs["a", "iso_2.4"].append((30.0, 31.9))
    assert "does not hold (least: 1.90 dB)" in correction_table(pairs)
    values = {"corrected": [27.0, 29.0], "unsupervised": [26.5, 28.5], "uncorrected": [28.0, 28.0]}
    results = SimpleNamespace(values=lambda *_: values)
    lines = quality_table([results], ["a"]).splitlines()
    assert lines[2:] == [
        *("| corrected | 28.00 |", "| unsupervised | 27.50 |", "| uncorrected | 28.00 |"),
        *("| (b) corrected minus unsupervised | 0.50 |", "| (b) corrected minus uncorrected | 0.00 |"),
    ]


def test_the_target_of_a_bicubic_image_is_itself():
    gt = torch.full((1, 3, 16, 16), 0.2)
    torch.testing.assert_close(corrector_target(gt, 4), torch.full((1, 3, 4, 4), 51 / 255))
