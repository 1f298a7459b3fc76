"""The measurement of one step against fifteen trains the recipes' miniatures, and adds up right."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from benchmarks.one_step import ENTRIES, REFERENCE, SINGLE, STUDENTS, TRAININGS, nearness, options, settings, table
from lightbsr_arch.methods.tddsr import ResidualShiftUNet
from lightbsr_model.evaluation.comparison.cost import Cost

from support.option_problems import check_of


def test_options_are_the_recipes_on_other_images(image_folder, tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "experiments/small_TDDSR_teacher/models/net_g_latest.pth"
    path.parent.mkdir(parents=True)
    torch.save({"params": ResidualShiftUNet(num_feat=24, mult=[1, 2], num_block=1).state_dict()}, path)
    found = {kind: options(kind, image_folder, 3, {"distilled": 7}) for kind in TRAININGS}
    for kind, opt in found.items():
        assert check_of(opt).problems == []
        assert (opt["manual_seed"], opt["name"]) == (3, f"small_TDDSR_{kind}")
        assert opt["datasets"] == found["teacher"]["datasets"]
    assert [opt["train"]["total_iter"] for opt in found.values()] == [2500, 600, 7]
    asked = settings(3, tmp_path, {"six": str(image_folder)})
    assert [entry.network["sample_steps"] for entry in asked.models] == [15, 1, 1, 1]


def test_nearness_is_psnr_to_the_teachers_steps(tmp_path):
    grey = np.full((40, 40, 3), 100, np.uint8)
    scored = []
    for number, name in enumerate(ENTRIES):
        path = tmp_path / f"images/{name}/a/iso_1.2/0.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), grey + np.uint8(number))
        scored.append(SimpleNamespace(model=name, set="a", preset="iso_1.2", image="0"))
    found = nearness(tmp_path, SimpleNamespace(), SimpleNamespace(scored=scored))
    assert REFERENCE not in {name for name, _ in found}
    # Y is 219/255 of grey.
    expected = [20 * np.log10(255 / (number * 219 / 255)) for number in (1, 2, 3)]
    assert [found[name, "a"] for name in list(ENTRIES)[1:]] == pytest.approx(expected, abs=0.01)


def test_tables_add_up():
    student, alone = STUDENTS
    figures = {
        "psnr_y": {REFERENCE: [28.0, 30.0], SINGLE: [27.0, 29.0], student: [27.75, 29.75], alone: [28.5, 29.5]},
        "niqe": {REFERENCE: [5.0, 5.0], SINGLE: [6.0, 6.0], student: [5.0, 5.5], alone: [5.0, 5.75]},
    }
    results = SimpleNamespace(
        settings=SimpleNamespace(sets={"a": ""}),
        values=lambda _, __, metric: figures[metric],
        costs={name: Cost(1, steps, 2.0 * steps, 1.0, None) for name, (_, steps) in ENTRIES.items()},
    )
    near = {(SINGLE, "a"): 35.0, (student, "a"): 36.5, (alone, "a"): 34.0}
    lines = table([results], [near]).splitlines()
    assert lines[2:6] == [
        "| teacher, 15 steps | a | 29.00 | 5.00 |  | 15 | 30.0 |",
        "| teacher, 1 step | a | 28.00 | 6.00 | 35.00 | 1 | 2.0 |",
        "| student | a | 28.75 | 5.25 | 36.50 | 1 | 2.0 |",
        "| student without co-learning | a | 29.00 | 5.38 | 34.00 | 1 | 2.0 |",
    ]
    assert "(a) student, every set and seed: holds (most lost: 0.25 dB, 0.25 NIQE)." in lines
    assert (
        "(a) student without co-learning, every set and seed: does not hold (most lost: 0.00 dB, 0.38 NIQE)." in lines
    )
    verdicts = [line for line in lines if line.startswith("(b)")]
    assert verdicts == [
        "(b) student, every set and seed: holds (least: 1.50 dB nearer than the teacher's single pass).",
        "(b) student without co-learning, every set and seed: does not hold (least: -1.00 dB nearer than the teacher's "
        "single pass).",
    ]
