"""Classes that an option file names by their dotted name: which may be imported, judged before anything is imported.

Importing a module runs it, and calling what a name leads to runs that. So a name must lead to a class of a certain kind
(a network is a ``torch.nn.Module``), in a package that was installed on purpose: what merely lies in the working directory,
or on PYTHONPATH, came perhaps with the option file.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lightbsr_arch.errors import OptionError
from lightbsr_model.option_files.suggestions import nearest

ALLOW_LOCAL_CODE = "--allow-local-code"
LOCAL_CODE_HELP = (
    "let the file name classes (package.module.Class) of the working directory and PYTHONPATH too, not of installed "
    "packages alone: importing them runs their code"
)

_RUNNING = ("lightbsr_arch", "lightbsr_model", "basicsr", "torch", "torchvision")
"""Packages whose code runs already, wherever they were found."""

_RAISED_BY_IMPORTS = (
    *(ImportError, AttributeError, AssertionError, LookupError, NameError, OSError, RuntimeError, SyntaxError),
    *(TypeError, ValueError),
)
"""What importing a package may raise that does not fit this environment."""

_local_code_is_allowed = False


def allow_local_code(allowed: bool) -> None:
    """Say whether classes outside installed packages may be imported in this process.

    Where they may, the working directory is looked through last, so that nothing in it can stand in for a package.
    """
    global _local_code_is_allowed
    _local_code_is_allowed = allowed
    here = str(Path.cwd())
    if allowed and here not in sys.path:
        sys.path.append(here)


def import_class(name: str, base: type) -> type:
    """Import a class by its dotted name, ``package.module.Class``.

    Args:
        name: As an option file gives it.
        base: What it must be derived from.

    Raises:
        OptionError: There is no such module, it may not be imported, or it holds no such class.
    """
    module_name, _, class_name = name.rpartition(".")
    words = name.split(".")
    if not all(word.isidentifier() for word in words) or any(word.startswith("__") for word in words):
        raise OptionError(f"expected a name such as package.module.Class, got {name!r}")
    if words[0] in sys.stdlib_module_names:
        raise OptionError(f"{name} is of Python's own library, which has no class derived from {_title(base)}")
    module = _import_judged(module_name)
    try:
        found = getattr(module, class_name)
    except _RAISED_BY_IMPORTS as error:  # packages that import their parts when these are asked for
        raise OptionError(f"{module_name} has no {class_name!r}{nearest(class_name, vars(module))}") from error
    if not isinstance(found, type):
        raise OptionError(f"{name} is a {type(found).__name__}, expected a class derived from {_title(base)}")
    if not issubclass(found, base) or found is base:
        raise OptionError(f"{name} is not derived from {_title(base)}")
    return found


def code_of_storage(dataset: Mapping[str, Any]) -> str | None:
    """Why a data set's ``io_backend`` is refused, if it is; None otherwise.

    BasicSR's memcached backend puts ``sys_path`` on Python's path, and imports ``mc`` (``utils/file_client.py:35``).
    """
    backend = dataset.get("io_backend")
    if _local_code_is_allowed or not isinstance(backend, Mapping) or backend.get("sys_path") is None:
        return None
    return f"sys_path {backend['sys_path']!r} would be imported from: remove it, or, if you trust it, add {ALLOW_LOCAL_CODE}"


def _title(cls: type) -> str:
    """A class by the name that its users know."""
    return {"torch.nn.modules.module": "torch.nn", "torch.utils.data.dataset": "torch.utils.data"}.get(
        cls.__module__, cls.__module__
    ) + f".{cls.__name__}"


def _import_judged(module_name: str) -> ModuleType:
    """Import a module, each package on the way to it judged before it is imported."""
    words = module_name.split(".")
    try:
        for depth in range(1, len(words) + 1):
            part = ".".join(words[:depth])
            # Finding a module imports the packages above it, which are judged by now.
            spec = importlib.util.find_spec(part)
            if spec is None:
                raise OptionError(
                    f"cannot import {module_name!r} (there is no {part}): install the package that has it"
                )
            _judge(part, spec)
        return importlib.import_module(module_name)
    except OptionError:
        raise
    except _RAISED_BY_IMPORTS as error:
        reason = str(error).partition("\n")[0]
        raise OptionError(
            f"cannot import {module_name!r} ({type(error).__name__}: {reason}): install the package that has it, or one "
            "that fits this environment"
        ) from error


def _judge(module_name: str, spec: ModuleSpec) -> None:
    """Refuse a module that was not installed.

    Raises:
        OptionError: It lies elsewhere.
    """
    if _local_code_is_allowed:
        return
    if spec.origin is None and spec.submodule_search_locations is not None:
        return  # a namespace package: a name without code; the modules in it are judged themselves
    if spec.origin is None or not spec.has_location:
        raise OptionError(f"{module_name} is no file of an installed package")
    if not _is_installed(module_name.partition(".")[0], spec.origin):
        raise OptionError(
            f"{module_name} is {os.path.abspath(spec.origin)}, which is no part of an installed package; it was not "
            f"imported. Install it (pip install, or pip install -e), or, if you trust it, add {ALLOW_LOCAL_CODE}"
        )


def _is_installed(package: str, file: str) -> bool:
    # As it is named and with links followed: `activate --here` links an installed package into the working directory,
    # and users link theirs into site-packages.
    places = {Path(os.path.abspath(file)), Path(os.path.realpath(file))}
    folders = [*_site_folders(), *_editable_folders().get(package, ())]
    if package in _RUNNING and (running := getattr(sys.modules.get(package), "__file__", None)):
        folders.append(Path(running).parent)
    return any(place.is_relative_to(folder) for place in places for folder in folders)


def _site_folders() -> list[Path]:
    """Where pip installs for this interpreter."""
    folders = [*site.getsitepackages(), *(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))]
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return [Path(folder) for folder in dict.fromkeys(folders)]


@cache
def _editable_folders() -> Mapping[str, list[Path]]:
    """Top-level modules of packages installed as editable (``pip install -e``, ``setup.py develop``): their folders."""
    folders: dict[str, list[Path]] = {}
    for distribution, folder in _editable_distributions():
        listed = (distribution.read_text("top_level.txt") or "").split()
        for name in listed or [distribution.metadata["Name"].replace("-", "_").lower()]:
            folders.setdefault(name, []).extend((folder, Path(os.path.realpath(folder))))
    return folders


def _editable_distributions() -> Iterator[tuple[Distribution, Path]]:
    # Only what lies in site-packages counts: metadata in the working directory came with whoever wrote it.
    sites = [str(folder) for folder in _site_folders()]
    for distribution in distributions(path=sites):
        text = distribution.read_text("direct_url.json")
        if text and (folder := _editable_folder(text)) is not None:
            yield distribution, folder
    for place in sites:
        for link in Path(place).glob("*.egg-link"):
            folder = Path(link.read_text(encoding="utf-8").splitlines()[0].strip())
            for distribution in distributions(path=[str(folder)]):
                yield distribution, folder


def _editable_folder(direct_url: str) -> Path | None:
    said: Any = json.loads(direct_url)
    if not (said.get("dir_info") or {}).get("editable"):
        return None
    return Path(url2pathname(urlsplit(said["url"]).path))
