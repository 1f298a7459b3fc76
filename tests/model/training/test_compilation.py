"""A compiler's cache that a kill damaged: the first pass says what to delete. Other errors stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lightbsr_arch.errors import CommandFailed, OptionError
from lightbsr_model.training.compilation import cache_folders, compile_pass
from lightbsr_model.training.mixed_precision import MixedPrecision


class Pass(nn.Module):
    """Its graph is one product of matrices: the compiler writes Python alone, and needs no C++ compiler."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def _start_anew() -> None:
    """Forget what this process compiled, as a new process would."""
    from torch._inductor.codecache import PyCodeCache

    torch._dynamo.reset()
    PyCodeCache.cache_clear()


@pytest.fixture(autouse=True)
def quiet(caplog):
    """torch's trace goes to pytest's handler, a thousand lines of it, if a test fails."""
    caplog.set_level("WARNING", "torch")
    caplog.set_level("WARNING", "torch.__trace")


def _learn() -> torch.Tensor:
    _start_anew()
    learning_pass = compile_pass(Pass())
    loss = learning_pass(torch.ones(2, 4)).sum()
    MixedPrecision("off", torch.device("cpu")).backward(loss)
    return loss.detach()


def _damage(cache: Path, backward: bool, content: bytes | None) -> None:
    """Cut short, or fill with something else, what was generated of one of the two passes."""
    (path,) = (path for path in cache.rglob("*.py") if ("tangents" in path.read_text()) == backward)
    path.write_bytes(path.read_bytes()[:1500] if content is None else content)


def test_damaged_cache_is_named(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    loss = _learn()
    for backward, content in ((False, None), (False, bytes(1000)), (True, b"")):
        originals = {path: path.read_bytes() for path in cache.rglob("*.py")}
        _damage(cache, backward, content)
        with pytest.raises(CommandFailed, match=rf"Error: .* delete {cache} and start again") as caught:
            _learn()
        assert caught.value.__cause__ is not None
        assert "TORCHDYNAMO" not in str(caught.value)
        for path, whole in originals.items():
            path.write_bytes(whole)
    for path in cache.rglob("*"):  # pickles, which torch itself looks through
        if path.is_file() and path.suffix != ".py":
            path.write_bytes(path.read_bytes()[:1500])
    assert _learn() == loss
    _start_anew()


def test_triton_cache_elsewhere_is_named_too(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "inductor/triton/0"))
    assert cache_folders() == [tmp_path / "inductor"]
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    assert cache_folders() == [tmp_path / "inductor", tmp_path / "triton"]


@pytest.mark.parametrize(
    "error", [ValueError, OptionError, torch.OutOfMemoryError, RuntimeError, OSError], ids=lambda error: error.__name__
)
@pytest.mark.parametrize("calls_before", [0, 1])
def test_errors_of_the_pass_itself_stay_as_they_are(monkeypatch, error, calls_before):
    raised = error("of the pass")

    class Failing(Pass):
        calls = 0

        @torch.compiler.disable
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.calls == calls_before:
                raise raised
            self.calls += 1
            return x

    learning_pass = compile_pass(Failing())
    for _ in range(calls_before):
        learning_pass(torch.ones(2, 4))
    with pytest.raises(error) as caught:
        learning_pass(torch.ones(2, 4))
    assert caught.value is raised


def test_lack_of_memory_in_the_compiler_and_its_failure_in_a_later_call_stay_as_they_are(monkeypatch):
    errors = [torch.OutOfMemoryError("of the compiler")]

    def backend(graph, _inputs):
        if errors:
            raise errors.pop()
        return graph

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, **options: compile_(module, backend=backend, **options))
    torch._dynamo.reset()
    learning_pass = compile_pass(Pass())
    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed, match="of the compiler"):
        learning_pass(torch.ones(2, 4))
    learning_pass(torch.ones(2, 4))
    errors.append(OSError("of the compiler"))
    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed, match="of the compiler"):
        learning_pass(torch.ones(3, 4))  # another size: compiled anew
    torch._dynamo.reset()
