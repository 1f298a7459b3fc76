"""``python -m lightbsr``."""

# ruff: noqa: PTH109, PTH120, PTH121 - pathlib would be imported before the path is clean
import os
import sys


def forget_working_directory() -> None:
    """Remove the working directory, which ``python -m`` puts first, from Python's path.

    Nothing in it may shadow a package that an installed one imports. It stays if this package itself is run from there, and
    if the user put it on the path (PYTHONPATH).
    """
    if getattr(sys.flags, "safe_path", False) or sys.flags.isolated:
        return  # Python has not added it (-P, -I)
    try:
        here = os.getcwd()
        ours = os.path.samefile(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), here)
    except OSError:  # the working directory no longer exists, so nothing can be imported from it
        return
    if sys.path[:1] in ([""], [here]) and not ours:
        del sys.path[0]


if __name__ == "__main__":
    forget_working_directory()

    from lightbsr import main

    raise SystemExit(main())
