"""The ``lightbsr`` command: ``lightbsr train -opt FILE``, ``python -m lightbsr``, ``torchrun -m lightbsr``.

Apart from the packages, so that it answers at once, and can say what is missing where BasicSR is not installed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from lightbsr_arch.display import printable_lines
from lightbsr_arch.errors import CommandFailed, OptionError

_BASICSR_FLAGS = (
    "BasicSR's flags: -opt FILE [--auto_resume] [--launcher none|pytorch|slurm] [--force_yml KEY:KEY=VALUE ...]"
)

_COMMANDS = {
    "infer": ("lightbsr_arch.cli.infer", "enlarge and restore pictures: IN... [-o OUT] [-m MODEL]"),
    "export": ("lightbsr_arch.cli.export", "make a model file of a training's checkpoint: CHECKPOINT -o FILE"),
    "info": ("lightbsr_arch.cli.info", "tell what a file is: FILE"),
    "train": ("lightbsr_model.cli.train_test", f"train in BasicSR's own loop. {_BASICSR_FLAGS}"),
    "test": ("lightbsr_model.cli.train_test", f"test in BasicSR's own loop. {_BASICSR_FLAGS}"),
    "check": (
        "lightbsr_model.cli.check",
        "tell all that is wrong with an option file: -opt FILE [--force_yml KEY:KEY=VALUE ...] [--strict]",
    ),
    "data": ("lightbsr_model.cli.data", "prepare, check, degrade or show sets of images (prepare|check|degrade|show)"),
    "compare": ("lightbsr_model.cli.compare", "compare methods on the same LR images: -opt FILE [-o FOLDER]"),
    "analyze": (
        "lightbsr_model.cli.analyze",
        "tell what networks' representations of degradations know: -opt FILE [-o FOLDER]",
    ),
    "demo": (
        "lightbsr.demo",
        "train a small teacher and student on bundled pictures, test them, show what came out",
    ),
    "activate": (
        "lightbsr_model.cli.activation",
        "let BasicSR's unmodified scripts know LightBSR, in this environment",
    ),
    "deactivate": ("lightbsr_model.cli.activation", "take that back"),
    "status": ("lightbsr_model.cli.activation", "tell versions, and whether this environment is activated"),
}
"""Command: its module, its help."""


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
        importlib.import_module(_COMMANDS[command][0]).run(command, arguments[1:])
        sys.stdout.flush()
    except ImportError as error:
        if error.name not in (None, "basicsr"):
            raise
        print(f"lightbsr {command}: {printable_lines(error)}", file=sys.stderr)
        return 2
    except (CommandFailed, OptionError) as error:
        print(f"lightbsr {command}: {printable_lines(error)}", file=sys.stderr)
        return 1 if isinstance(error, CommandFailed) else 2
    except BrokenPipeError:  # whoever read what is printed has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
