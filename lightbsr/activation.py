"""Make LightBSR known to BasicSR's unmodified scripts by a start-up file in site-packages.

BasicSR has no entry points (it scans its own folders), so a program that does not import this package can only be reached
when Python starts: by a ``.pth`` file in site-packages, which every interpreter of the environment reads.

This module imports neither torch nor BasicSR, so that the commands respond at once.
"""

from __future__ import annotations

import importlib.util
import re
import sysconfig
from pathlib import Path

from lightbsr_arch.errors import OptionError

_HOOK = "_lightbsr_activation"


def startup_files(site_packages: Path | None = None) -> tuple[Path, Path]:
    """The hook and the ``.pth`` file that imports it, whether they exist or not."""
    folder = site_packages or Path(sysconfig.get_path("purelib"))
    return folder / f"{_HOOK}.py", folder / f"{_HOOK}.pth"


def is_active(site_packages: Path | None = None) -> bool:
    """Whether both start-up files exist."""
    return all(path.is_file() for path in startup_files(site_packages))


def activate(site_packages: Path | None = None) -> Path:
    """Write or update the start-up files.

    Returns:
        The ``.pth`` file.

    Raises:
        OptionError: site-packages cannot be written to.
    """
    hook, pth = startup_files(site_packages)
    source = Path(__file__).with_name(f"{_HOOK[len('_lightbsr_') :]}_hook.py").read_text(encoding="utf-8")
    try:
        hook.write_text(source, encoding="utf-8")
        pth.write_text(f"import {_HOOK}\n", encoding="utf-8")
    except OSError as error:
        raise OptionError(
            f"{hook.parent} cannot be written to ({error.strerror}). Activate in a virtual environment (python -m venv), or "
            "use `lightbsr train` and `lightbsr test`, which need no activation."
        ) from error
    return pth


def deactivate(site_packages: Path | None = None) -> list[Path]:
    """Remove the start-up files.

    Returns:
        The removed files.

    Raises:
        OptionError: site-packages cannot be written to.
    """
    # The .pth file first: without the hook it would be an error at every start.
    existing = [path for path in reversed(startup_files(site_packages)) if path.is_file()]
    try:
        for path in existing:
            path.unlink()
    except OSError as error:
        raise OptionError(f"{path} cannot be removed ({error.strerror}).") from error
    return existing


def installed_basicsr() -> Path:
    """The folder of the installed BasicSR, even if the working directory contains a ``basicsr``."""
    found = _found_basicsr()
    installed = Path(sysconfig.get_path("purelib")) / "basicsr"
    return installed if installed.is_dir() else found


def basicsr_version() -> str:
    """BasicSR's version from the package itself: pip does not know it if it was installed as basicsr-fixed or is a clone."""
    try:
        text = (_found_basicsr() / "version.py").read_text(encoding="utf-8")
    except OSError:
        text = ""
    version = re.search(r"^__version__ = ['\"](.+)['\"]", text, re.MULTILINE)
    return version[1] if version else "of unknown version"


def _found_basicsr() -> Path:
    """The folder from which ``import basicsr`` would import."""
    spec = importlib.util.find_spec("basicsr")
    if spec is None or spec.origin is None:
        raise OptionError("basicsr is not installed here: run `pip install basicsr`.")
    return Path(spec.origin).parent


def link_here(folder: Path) -> Path:
    """Link the installed BasicSR into a folder, so that ``python basicsr/train.py`` works there.

    Returns:
        The link.

    Raises:
        OptionError: The folder has a ``basicsr`` already, or links cannot be made.
    """
    link, target = folder / "basicsr", installed_basicsr()
    if link.is_symlink() and link.resolve() == target.resolve():
        return link
    if link.exists() or link.is_symlink():
        raise OptionError(
            f"{link} exists already. If it is a clone of BasicSR, its own basicsr/train.py works as it is, without --here."
        )
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError as error:
        raise OptionError(f"{link} cannot be made ({error.strerror}).") from error
    return link


def unlink_here(folder: Path, any_target: bool = False) -> Path | None:
    """Remove the link that :func:`link_here` made; anything else named ``basicsr`` stays.

    Args:
        folder: Where the link is.
        any_target: Also remove a link that leads elsewhere, such as into an environment that is gone.

    Returns:
        The link, if it was removed.
    """
    link = folder / "basicsr"
    if not link.is_symlink() or not (any_target or link.resolve() == installed_basicsr().resolve()):
        return None
    link.unlink()
    return link
