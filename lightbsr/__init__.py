"""The ``lightbsr`` command: ``lightbsr train -opt FILE``, ``python -m lightbsr``, ``torchrun -m lightbsr``.

Apart from the packages, so that it answers at once, and can say what is missing where BasicSR is not installed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from lightbsr.signals import SignalsAsExceptions
from lightbsr.streams import prepare_streams, report, write_out
from lightbsr_arch.display import printable_lines
from lightbsr_arch.errors import CommandFailed, CommandStopped, OptionError

_BASICSR_FLAGS = (
    "BasicSR's flags: -opt FILE [--auto_resume] [--launcher none|pytorch|slurm] [--force_yml KEY:KEY=VALUE ...]"
)

_COMMANDS = {
    "infer": ("lightbsr.cli.infer", "enlarge and restore pictures: IN... [-o OUT] [-m MODEL]"),
    "export": ("lightbsr.cli.export", "make a model file of a training's checkpoint: CHECKPOINT -o FILE"),
    "info": ("lightbsr.cli.info", "tell what a file is: FILE"),
    "train": ("lightbsr.cli.pipelines", f"train in BasicSR's own loop. {_BASICSR_FLAGS}"),
    "test": ("lightbsr.cli.pipelines", f"test in BasicSR's own loop. {_BASICSR_FLAGS}"),
    "check": (
        "lightbsr.cli.check",
        "tell all that is wrong with an option file: -opt FILE [--force_yml KEY:KEY=VALUE ...] [--strict]",
    ),
    "data": ("lightbsr.cli.data", "prepare, check, degrade or show sets of images (prepare|check|degrade|show)"),
    "compare": ("lightbsr.cli.compare", "compare methods on the same LR images: -opt FILE [-o FOLDER]"),
    "analyze": (
        "lightbsr.cli.analyze",
        "tell what networks' representations of degradations know: -opt FILE [-o FOLDER]",
    ),
    "demo": (
        "lightbsr.cli.demo",
        "train a small teacher and student on bundled pictures, test them, show what came out",
    ),
    "activate": (
        "lightbsr.cli.activation",
        "let BasicSR's unmodified scripts know LightBSR, in this environment",
    ),
    "deactivate": ("lightbsr.cli.activation", "take that back"),
    "status": ("lightbsr.cli.activation", "tell versions, and whether this environment is activated"),
}
"""Command: its module, its help."""


_OWN_SIGNALS = ("train", "test")
"""Commands that save and stop by themselves at SIGTERM, and that keep a log besides standard output."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 on success, 1 if the command could not do its job, 2 after an error in what the user gave, 128 and the number of
        the signal that ended it (130 for Ctrl-C, 143 for SIGTERM).
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = " ".join(["lightbsr", *(word for word in arguments[:1] if word in _COMMANDS)])
    keeps_log = name.removeprefix("lightbsr ") in _OWN_SIGNALS
    if not prepare_streams() and not keeps_log:
        report(f"{name}: standard output is closed: send it to a file, or to {os.devnull}.")
        return 1
    with SignalsAsExceptions(termination=not keeps_log) as signals:
        try:
            status = _run(name, arguments, signals)
        except SystemExit:  # argparse's, after --help or an error in the arguments
            if _is_written_out(name):
                raise
            return 1
        except OSError:
            if _is_written_out(name):  # it was not the output's
                raise
            return 1
        except MemoryError:
            report(f"{name}: memory does not suffice.")
            status = 1
        except KeyboardInterrupt:
            report(f"{name}: stopped by {signals.name}.")
            status = signals.status
        return status if _is_written_out(name) else status or 1


def _run(name: str, arguments: Sequence[str], signals: SignalsAsExceptions) -> int:
    """Run a command; its exit status."""
    parser = argparse.ArgumentParser(prog="lightbsr", description="Blind super-resolution with LightBSR, in BasicSR.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, (_, text) in _COMMANDS.items():
        # Each command parses its own flags.
        commands.add_parser(command, help=text, description=text, add_help=False)
    command = parser.parse_known_args(arguments[:1])[0].command
    try:
        module = importlib.import_module(_COMMANDS[command][0])
        if signals.received is not None:  # something swallowed it while libraries were loaded
            raise KeyboardInterrupt
        module.run(command, arguments[1:])
    except ImportError as error:
        if signals.received is not None:  # libraries' C code makes an ImportError of a signal while it imports
            raise KeyboardInterrupt from error
        if error.name not in (None, "basicsr"):
            raise
        report(f"{name}: {printable_lines(error)}")
        return 2
    except CommandStopped as error:
        report(f"{name}: {error}")
        return signals.status
    except (CommandFailed, OptionError) as error:
        report(f"{name}: {printable_lines(error)}")
        return 1 if isinstance(error, CommandFailed) else 2
    return 0


def _is_written_out(name: str) -> bool:
    """Write out what was printed; if that fails, say so."""
    failure = write_out()
    # A reader that has gone, as `head` does, needs no message.
    if failure is not None and not isinstance(failure, BrokenPipeError):
        report(f"{name}: standard output cannot be written: {failure.strerror}.")
    return failure is None
