"""What importing BasicSR leaves unloaded, and that it is there when something calls it."""

from __future__ import annotations

import copy
import importlib
import subprocess
import sys

import pytest

from lightbsr_model.bridge import deferred_imports

from support.helpers import ROOT

CHECK = """
import sys, lightbsr
assert lightbsr.main(["check", "-opt", "options/demo/train_teacher.yml"]) == 0
print([name for name in ("scipy.stats", "torch._dynamo", "torch._dynamo.utils") if name in sys.modules])

import multiprocessing
import numpy as np
from basicsr.data import degradations
d_matrix, grid = np.array([[1.0, 0.3], [-0.2, 0.8]]), degradations.mesh_grid(7)[0]
with multiprocessing.get_context("fork").Pool(1) as pool:  # As in a worker of a data loader, before the parent has it.
    in_a_worker = pool.apply(degradations.cdf2, (d_matrix, grid))
here = degradations.cdf2(d_matrix, grid)
import scipy.stats
expected = scipy.stats.multivariate_normal([0, 0], [[1, 0], [0, 1]]).cdf(grid @ d_matrix)
print(np.ptp(expected) > 0.5, np.array_equal(in_a_worker, expected), np.array_equal(here, expected))
point = 0.5
print(degradations.multivariate_normal.pdf(point) == scipy.stats.multivariate_normal.pdf(point))

from torchvision.ops import roi_align
late = roi_align.__globals__["is_compile_supported"]
answers = [late("cpu"), late("meta")]
import torch._dynamo.utils
print(answers == [torch._dynamo.utils.is_compile_supported(device) for device in ("cpu", "meta")])
print(scipy.stats.norm.cdf(0.0), torch._dynamo.utils.__file__.endswith("utils.py"))
"""


def test_check_loads_neither_scipy_stats_nor_the_compiler_and_both_serve_when_called():
    done = subprocess.run([sys.executable, "-c", CHECK], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-5:] == ["[]", "True True True", "True", "True", "0.5 True"]


@pytest.fixture
def late(tmp_path, monkeypatch):
    """A module that can be imported, whose ``deferred`` is not to load it."""
    (tmp_path / "late.py").write_text(
        "def deferred(a, *, b):\n    return a + b\ndeferred.constant = 5\nother = 'other'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(deferred_imports, "_DEFERRED", {"late": "deferred"})
    yield
    sys.modules.pop("late", None)


def test_a_deferred_name_loads_its_module_when_it_is_called_or_asked(late):
    with deferred_imports.deferred_imports():
        from late import deferred
    copy.copy(deferred)
    assert not hasattr(deferred, "__wrapped__")
    assert "late" not in sys.modules
    assert deferred(1, b=2) == 3
    assert sys.modules["late"].__file__.endswith("late.py")
    assert deferred.constant == 5


def test_any_other_name_loads_the_module_at_once(late):
    """Another thread's import may fall into the block."""
    with deferred_imports.deferred_imports():
        import late as stand_in
        from late import other

        assert other == "other"
        assert sys.modules["late"] is not stand_in
    assert sys.modules["late"].__file__.endswith("late.py")
    assert stand_in.other == "other"


def test_a_loaded_module_stays_and_a_failed_block_leaves_nothing(late):
    with pytest.raises(KeyError), deferred_imports.deferred_imports():
        raise KeyError
    assert "late" not in sys.modules
    module = importlib.import_module("late")
    with deferred_imports.deferred_imports():
        assert importlib.import_module("late") is module
    assert sys.modules["late"] is module
