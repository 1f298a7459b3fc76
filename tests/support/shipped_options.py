"""The option files that we ship, by their paths below ``options/``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from lightbsr_model.option_files.whole_options import read_options

from support.helpers import ROOT

ALL = {path.relative_to(ROOT / "options").as_posix(): path for path in (ROOT / "options").rglob("*.yml")}
LISTS = ("compare/compare_", "compare/analyze_", "small/compare")
FILES = {name: path for name, path in ALL.items() if not name.startswith(LISTS)}
YARDSTICKS = {f"compare/train_{name}.yml" for name in ("edsr", "msrresnet", "rcan", "swinir")}
BURSTS = "rbsr/"
STRATEGIES = ("gan/", "mimicked/")
"""Recipes that train any network, here a student or BasicSR's own."""
BASICSRS = {f"compare/train_{name}.yml" for name in ("realesrnet", "realesrgan")}
"""Recipes of BasicSR's own data and models."""
ENCODERS = {f"small/train_encoder{setting}.yml" for setting in ("", "_setting2", "_photo")}
"""Recipes of an encoder alone."""
OLD_PATHS = {
    **{
        f"test_{name}.yml": f"test/{name}.yml"
        for name in ("bicubic_x4", "gaussian8_x4", "setting2_x4", "setting2_old_x4")
    },
    **{f"test_setting1_x{scale}.yml": f"test/setting1_x{scale}.yml" for scale in (2, 3, 4)},
    **{f"train_{kind}_setting2.yml": f"lightbsr/train_{kind}_setting2.yml" for kind in ("teacher", "student")},
    **{f"compare/train_{method}.yml": f"{method}/train.yml" for method in ("dasr", "cdcl")},
    **{
        f"compare/train_kdsr_{name}.yml": f"kdsr/train_{name}.yml"
        for name in (*("m_teacher", "m_student", "l_teacher", "l_student"), "m_teacher_setting2", "m_student_setting2")
    },
}
"""Files of before, and what they are now."""
TRAINING = [
    name
    for name in FILES
    if "train" in name
    and name not in YARDSTICKS | BASICSRS | ENCODERS
    and not name.startswith((*STRATEGIES, BURSTS, "lway/train_reconstructor"))
]


@functools.cache
def read_shipped(name: str) -> dict[str, Any]:
    """The merged options of a file by its path below ``options/``."""
    document = read_options(FILES[name])
    assert document.problems == []
    return document.options


def accepts(cls: type, options: Mapping[str, Any]) -> None:
    """Assert that a class has arguments of these names."""
    arguments = {key: value for key, value in options.items() if key != "type"}
    unknown = set(arguments) - set(inspect.signature(cls).parameters)
    assert not unknown, f"{cls.__name__} has no {unknown}"
