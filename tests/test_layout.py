"""The packages depend on each other in one direction, and what belongs to a method stands in its files."""

from __future__ import annotations

import ast
import re
import runpy
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from lightbsr_arch.methods.registry import METHODS

from support.helpers import ROOT

SOURCES = sorted(
    path for name in ("lightbsr", "lightbsr_arch", "lightbsr_model") for path in (ROOT / name).rglob("*.py")
)
LAYERS = (
    ("lightbsr_arch",),
    ("lightbsr_arch.layers",),
    ("lightbsr_arch.methods",),
    ("lightbsr_arch.weights",),
    ("lightbsr_arch.inference",),
    ("lightbsr_arch.export",),
    ("lightbsr_model.runtime",),
    ("lightbsr_model.degradation",),
    ("lightbsr_model.data",),
    ("lightbsr_model.losses",),
    ("lightbsr_model.training",),
    ("lightbsr_model.adaptation",),
    ("lightbsr_model.methods",),
    ("lightbsr_model.option_files",),
    ("lightbsr_model.evaluation",),
    ("lightbsr_model.bridge",),
    ("lightbsr_model",),
    ("lightbsr",),
)
"""Packages from the ground up; the modules that lie in ``lightbsr_arch`` itself are its ground, those in
``lightbsr_model`` its roof."""
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FRONT_DOORS = ("lightbsr_arch", "lightbsr_arch.spandrel")
"""Modules at the top of a package that hand out what lies in it."""
THIRD_PARTY = {"torch", "torchvision", "safetensors", "numpy", "PIL", "cv2", "tifffile", "yaml"}
THIRD_PARTY |= {"onnx", "onnxscript", "onnxruntime", "spandrel", "rawpy"}
"""What ``lightbsr_arch`` may import: nothing of BasicSR, nothing that trains."""


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {_module(path) for path in SOURCES}


@cache
def _imports(path: Path, everywhere: bool = True) -> frozenset[str]:
    """The modules that a file imports; ``everywhere`` in functions and for type checkers too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in NAMES else str(node.module))
    return frozenset(found)


def _package(module: str) -> str:
    """The package of :data:`LAYERS` that a module lies in."""
    parts = module.split(".")
    depth = 2 if len(parts) > 1 and ".".join(parts[:2]) in RANK else 1
    return ".".join(parts[:depth])


@pytest.mark.parametrize("path", SOURCES, ids=_module)
def test_no_import_goes_up(path):
    own = _package(_module(path))
    ours = {
        name for name in _imports(path) if name.partition(".")[0] in ("lightbsr", "lightbsr_arch", "lightbsr_model")
    }
    up = {name for name in ours if RANK[_package(name)] > RANK[own]}
    assert not up or _module(path) in FRONT_DOORS, up


def test_no_circle():
    graph = {_module(path): {name for name in _imports(path, everywhere=False) if name in NAMES} for path in SOURCES}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"modules import each other: {' <- '.join(error.args[1])}")
    assert len(order) == len(NAMES)


def test_the_networks_need_no_basicsr():
    import sys

    for path in SOURCES:
        if _module(path).startswith("lightbsr_arch"):
            outside = {name.partition(".")[0] for name in _imports(path)}
            assert outside <= THIRD_PARTY | {"lightbsr_arch", *sys.stdlib_module_names}, (path, outside)


ROOMS = ("lightbsr_arch/methods/", "lightbsr_model/methods/")


def test_no_method_is_named_outside_its_files():
    # LightBSR is the project's name too.
    trained = [method for method in METHODS if method.training]
    names = {name for method in trained for name in (*method.networks, *method.helpers) if "LightBSR" not in name}
    pattern = re.compile(rf"\b({'|'.join(sorted(names))})", re.IGNORECASE)
    assert pattern.search("the CdCL network")
    for path in SOURCES:
        if not path.relative_to(ROOT).as_posix().startswith(ROOMS):
            found = pattern.search(path.read_text(encoding="utf-8"))
            assert found is None, f"{path}: {found}"


def test_every_package_is_installed(monkeypatch):
    given: dict = {}
    monkeypatch.setattr("setuptools.setup", lambda **metadata: given.update(metadata))
    monkeypatch.chdir(ROOT)  # where find_packages looks
    runpy.run_path(str(ROOT / "setup.py"))
    folders = {_module(path) for path in SOURCES if path.name == "__init__.py"}
    assert set(given["packages"]) == folders | {"lightbsr_model.options"}
