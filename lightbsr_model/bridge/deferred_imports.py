"""Defer two large imports of ``import basicsr``, each needed for a single function, until that function is called.

``torchvision/ops/roi_align.py`` imports torch._dynamo for the function that says whether RoIAlign can be compiled;
``basicsr/data/degradations.py:7`` imports scipy.stats for ``cdf2``, which no training of BasicSR calls. Together they take
longer to import than torch itself.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

_DEFERRED = {"torch._dynamo.utils": "is_compile_supported", "scipy.stats": "multivariate_normal"}


@contextlib.contextmanager
def deferred_imports() -> Iterator[None]:
    """Replace the two modules by placeholders; names imported from them inside the block load them on first use.

    A module that is already loaded is kept. After the block, importing either works as usual.
    """
    stand_ins = [_StandIn(module, name) for module, name in _DEFERRED.items() if module not in sys.modules]
    sys.modules.update({stand_in.__name__: stand_in for stand_in in stand_ins})
    try:
        yield
    finally:
        for stand_in in stand_ins:
            stand_in.step_aside()


class _StandIn(types.ModuleType):
    """Provides one name without loading the module, and loads it for any other, since other imports may find it."""

    def __init__(self, module: str, name: str) -> None:
        super().__init__(module)
        setattr(self, name, _Deferred(self, name))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # The import system asks for __path__ and the like.
            raise AttributeError(name)
        return getattr(self.load(), name)

    def load(self) -> types.ModuleType:
        self.step_aside()
        return importlib.import_module(self.__name__)

    def step_aside(self) -> None:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]


class _Deferred:
    """A placeholder for a name of a module, which it loads when it is called or an attribute is accessed."""

    def __init__(self, module: _StandIn, name: str) -> None:
        self._module = module
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._module.load(), self._name)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # What copying and inspecting ask of every object.
            raise AttributeError(name)
        return getattr(getattr(self._module.load(), self._name), name)
