"""The ``lightbsr`` command: ``lightbsr train -opt FILE``, ``python -m lightbsr``, ``torchrun -m lightbsr``.

Apart from the packages, so that it answers at once, and can say what is missing where BasicSR is not installed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

_BASICSR_FLAGS = (
    "BasicSR's flags: -opt FILE [--auto_resume] [--launcher none|pytorch|slurm] [--force_yml KEY:KEY=VALUE ...]"
)

_COMMANDS = {
    "train": ("train_test", f"train in BasicSR's own loop. {_BASICSR_FLAGS}"),
    "test": ("train_test", f"test in BasicSR's own loop. {_BASICSR_FLAGS}"),
    "check": (
        "check",
        "tell all that is wrong with an option file: -opt FILE [--force_yml KEY:KEY=VALUE ...] [--strict]",
    ),
    "data": ("data", "prepare, check, degrade or show sets of images (prepare|check|degrade|show)"),
    "compare": ("compare", "compare methods on the same LR images: -opt FILE [-o FOLDER]"),
    "analyze": ("analyze", "tell what networks' representations of degradations know: -opt FILE [-o FOLDER]"),
    "demo": ("demo", "train a small teacher and student on bundled pictures, test them, show what came out"),
    "activate": ("activation", "let BasicSR's unmodified scripts know LightBSR, in this environment"),
    "deactivate": ("activation", "take that back"),
    "status": ("activation", "tell versions, and whether this environment is activated"),
}
"""Command: its module in lightbsr_model.cli, its help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 on success, 1 if the command could not do its job, 2 after an error in what the user gave.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="lightbsr", description="Blind super-resolution with LightBSR, in BasicSR.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text) in _COMMANDS.items():
        # Each command parses its own flags.
        commands.add_parser(name, help=text, description=text, add_help=False)
    command = parser.parse_known_args(arguments[:1])[0].command
    try:
        module = importlib.import_module(f"lightbsr_model.cli.{_COMMANDS[command][0]}")
    except ImportError as error:
        if error.name not in (None, "basicsr"):
            raise
        print(f"lightbsr {command}: {error}", file=sys.stderr)
        return 2
    from lightbsr_model.errors import CommandFailed, OptionError

    try:
        module.run(command, arguments[1:])
    except (CommandFailed, OptionError) as error:
        print(f"lightbsr {command}: {error}", file=sys.stderr)
        return 1 if isinstance(error, CommandFailed) else 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
