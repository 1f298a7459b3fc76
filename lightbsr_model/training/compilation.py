"""Compiling a learning pass (``train.compile``), and saying what to clear where the compiler's cache is damaged.

A kill or a power cut can leave files in torch's cache empty or cut short. torch recompiles what it cannot unpickle, but a
damaged Python file or shared library in the cache fails at every start: in the first forward pass, or, since the backward
pass is loaded when it is first needed, in the first backward pass.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightbsr_arch.errors import CommandFailed, OptionError

_COMPILER = ("torch._inductor.", "triton.")
"""Modules that read and write the cache."""


def compile_pass(module: nn.Module) -> nn.Module:
    """Compile a learning pass for inputs of one size.

    Args:
        module: Its forward is the learning pass.

    Returns:
        The compiled module. Its first call raises CommandFailed, naming the cache to delete, where the compiler fails;
        errors of the module itself, lack of memory, and errors of later calls pass unchanged.
    """
    return _CompiledPass(module)


class _CompiledPass(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.compiled = torch.compile(module, dynamic=False)
        self._has_run = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self._has_run:
            return self.compiled(*args, **kwargs)
        with compiler_errors_explained():
            result = self.compiled(*args, **kwargs)
        self._has_run = True
        return result


@contextmanager
def compiler_errors_explained() -> Iterator[None]:
    """Raise CommandFailed for an error of the compiler or of its cache; other errors pass unchanged."""
    try:
        yield
    except Exception as error:
        if not _is_compilers(error):
            raise
        folders = " and ".join(str(folder) for folder in cache_folders())
        raise CommandFailed(
            f"train.compile: a learning pass cannot be compiled ({_reason(error)}). If an earlier run was killed, the "
            f"compiler's cache may be damaged: delete {folders} and start again. If that does not help, train with "
            "`compile: false`."
        ) from error


def cache_folders() -> list[Path]:
    """Where torch's compiler, and Triton where it is set elsewhere, keep what they compiled."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    inductor = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or default_cache_dir()).absolute()
    triton = os.environ.get("TRITON_CACHE_DIR")
    if triton is None or Path(triton).absolute().is_relative_to(inductor):
        return [inductor]
    return [inductor, Path(triton).absolute()]


def _is_compilers(error: Exception) -> bool:
    chain = _chain(error)
    if any(isinstance(link, (OptionError, CommandFailed, MemoryError, torch.OutOfMemoryError)) for link in chain):
        return False
    # A bare RuntimeError that merely passes through compiled code (one of CUDA's) is the module's.
    return any(_is_dynamos(link) or (not isinstance(link, RuntimeError) and _passes_compiler(link)) for link in chain)


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and what it came from, also where torch suppresses that (``from None``)."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = getattr(error, "inner_exception", None) or error.__cause__ or error.__context__
    return chain


def _is_dynamos(error: BaseException) -> bool:
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def _passes_compiler(error: BaseException) -> bool:
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(str(frame.f_globals.get("__name__")).startswith(_COMPILER) for frame in frames)


def _reason(error: Exception) -> str:
    """The error without torch's advice on debugging, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".partition("\n\n")[0].split())
