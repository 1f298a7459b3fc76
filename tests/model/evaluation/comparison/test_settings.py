"""What does not fit in the YAML of a comparison is found before the first image is restored."""

from __future__ import annotations

import pytest

from lightbsr_arch.weights.model_files import SMALL_MODEL
from lightbsr_model.evaluation.comparison.methods import NetworkRestoration

from support.model_options import MSRRESNET

BOX = {"set": "Six", "image": "coffee0", "preset": "bicubic", "box": [10, 20, 30, 16]}


def _adapted(**arguments):
    return {"name": "x", "path": SMALL_MODEL, "adapt": {"type": "references", **arguments}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": [{**BOX, "image": "cofee0"}]}, "boxes:0: Six has no image 'cofee0'; did you mean coffee0"),
        ({"boxes": [BOX, {**BOX, "box": [67, 0, 30, 16]}]}, "boxes:1: [67, 0, 30, 16] is not within Six's coffee0, 96"),
        ({"boxes": [{**BOX, "box": [0, 0, 0, 16]}]}, "boxes:0: [0, 0, 0, 16] is not within Six's coffee0"),
        ({"boxes": [{**BOX, "box": [0, -1, 8, 8]}]}, "boxes:0: [0, -1, 8, 8] is not within Six's coffee0"),
        ({"boxes": [{**BOX, "box": [0, 0, 8.5, True]}]}, "boxes:0: expected set, image, preset and box"),
        ({"boxes": [{**BOX, "set": ["Six"]}]}, "boxes:0: expected set, image, preset and box"),
        ({"boxes": [{**BOX, "preset": "iso_3.6"}]}, "boxes:0: its set and preset are not compared: Six, iso_3.6"),
        ({"boxes": 7}, "boxes:0: expected set, image, preset and box: [left, top, width, height], got 7"),
        ({"cost_size": [10**6, 10**6]}, "cost_size: expected height and width, as [180, 320], at most 16777216"),
        ({"cost_size": 1_000_000}, "cost_size: expected height and width"),
        ({"cost_size": [True, 320]}, "cost_size: expected height and width"),
        ({"sets": ["x"]}, "sets: expected names and folders, got ['x']"),
        (
            {"models": [{"name": "x", "network": {"type": "BicubicUpsampler", "scale": 4}, "adapt": "refrences"}]},
            "models:0: adaptation.type: expected one of the adaptations (",
        ),
        (
            {"models": [{"name": "x", "network": {"type": "BicubicUpsampler", "scale": 4}, "adapt": "references"}]},
            "models:0:adapt: BicubicUpsampler has no encoder that estimates the degradation",
        ),
        (
            {"models": [{"name": "x", "network": MSRRESNET, "adapt": "fitted"}]},
            "models:0:adapt: MSRResNet has no encoder that estimates the degradation",
        ),
        (
            {"models": [_adapted(references="nowhere")]},
            "models:0:adapt: ",
        ),
        ({"models": [_adapted(reconstructor="nowhere.pth")]}, "models:0:adapt: nowhere.pth: no such checkpoint"),
        (
            {"models": [{"name": "x", "network": {"type": "RBSR"}}]},
            "models:0: RBSR needs a burst of frames, which a comparison has not; `lightbsr burst` has",
        ),
        ({"sets": {"Six": ["x"]}}, "sets:Six: there is no folder ['x']"),
    ],
)
def test_found_when_the_file_is_read(settings, compare, capsys, monkeypatch, changes, message):
    monkeypatch.setattr(NetworkRestoration, "restore", lambda *_: pytest.fail("an image was restored"))
    settings["cost"] = True
    code, folder = compare({**settings, **changes})
    said = capsys.readouterr().err
    assert code == 2, said
    assert f", {message}" in said
    assert not folder.exists()
