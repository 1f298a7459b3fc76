"""Written into site-packages by ``lightbsr activate``: when a program imports ``basicsr``, make LightBSR known to it.

Does nothing until then. Standard library only, since every Python start of the environment runs it.
"""

import importlib.abc
import importlib.util
import sys
from pathlib import Path
from typing import Any


class _Loader(importlib.abc.Loader):
    """Loads basicsr as usual, with our alias before and our registration after."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: Any) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = module.__spec__.loader = self.loader
        package: Any = importlib.util.find_spec("lightbsr_model")
        if package is None:
            print(
                f"lightbsr is activated in this environment but not installed: install it, or delete {__file__}",
                file=sys.stderr,
            )
            self.loader.exec_module(module)
            return
        # By its file: importing it as part of its package would import basicsr too early.
        path = Path(package.submodule_search_locations[0]) / "bridge" / "torchvision_alias.py"
        spec: Any = importlib.util.spec_from_file_location("_lightbsr_torchvision_alias", path)
        alias = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(alias)
        alias.install_torchvision_alias()
        self.loader.exec_module(module)
        from lightbsr_model.bridge.patches import apply_patches

        apply_patches()


class _Finder(importlib.abc.MetaPathFinder):
    """Finds basicsr as usual, and wraps its loader in ours."""

    searching = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "basicsr" or self.searching:
            return None
        self.searching = True
        try:
            spec = importlib.util.find_spec("basicsr")
        finally:
            self.searching = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
