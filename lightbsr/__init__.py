"""The ``lightbsr`` command: ``lightbsr train -opt FILE``, ``python -m lightbsr``, ``torchrun -m lightbsr``.

It imports neither torch nor BasicSR by itself, so that it responds quickly and can report a missing BasicSR.
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
    "infer": ("lightbsr.cli.infer", "restore and upscale images: IN... [-o OUT] [-m MODEL]"),
    "burst": ("lightbsr.cli.burst", "make one image of a burst of frames: FRAME... -o OUT -m MODEL"),
    "export": ("lightbsr.cli.export", "convert a training checkpoint to a model file: CHECKPOINT -o FILE"),
    "info": ("lightbsr.cli.info", "describe a model file: FILE"),
    "finetune": (
        "lightbsr.cli.finetune",
        "train a model further on one's own sharp images, if that makes it better: IMAGES -o FILE [-m MODEL]",
    ),
    "adapt": ("lightbsr.cli.adapt", "fit a model to one's own images: IMAGES -m MODEL -o FILE [--references SHARP]"),
    "train": ("lightbsr.cli.pipelines", f"train in BasicSR's own loop. {_BASICSR_FLAGS}"),
    "test": ("lightbsr.cli.pipelines", f"test in BasicSR's own loop. {_BASICSR_FLAGS}"),
    "check": (
        "lightbsr.cli.check",
        "report all problems of an option file: -opt FILE [--force_yml KEY:KEY=VALUE ...] [--strict] | --schema",
    ),
    "data": ("lightbsr.cli.data", "prepare, check, degrade or show image sets (prepare|check|degrade|burst|show)"),
    "compare": ("lightbsr.cli.compare", "compare methods on the same LR images: -opt FILE [-o FOLDER]"),
    "analyze": (
        "lightbsr.cli.analyze",
        "measure what networks' representations encode of degradations: -opt FILE [-o FOLDER]",
    ),
    "demo": (
        "lightbsr.cli.demo",
        "train a small teacher and student on bundled images, test them and show the results",
    ),
    "activate": (
        "lightbsr.cli.activation",
        "make LightBSR known to BasicSR's unmodified scripts, in this environment",
    ),
    "deactivate": ("lightbsr.cli.activation", "undo `lightbsr activate`"),
    "status": ("lightbsr.cli.activation", "show versions, and whether this environment is activated"),
}
"""Command: its module and its help text."""


_OWN_SIGNALS = ("train", "test")
"""Commands that handle SIGTERM themselves (they save first), and that write a log as well as standard output."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 on success, 1 if the command failed, 2 for a mistake in the user's input, 128 plus the signal's number if a signal
        ended it (130 for Ctrl-C, 143 for SIGTERM).
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = " ".join(["lightbsr", *(word for word in arguments[:1] if word in _COMMANDS)])
    keeps_log = name.removeprefix("lightbsr ") in _OWN_SIGNALS
    if not prepare_streams() and not keeps_log:
        report(f"{name}: standard output is closed: redirect it to a file, or to {os.devnull}.")
        return 1
    with SignalsAsExceptions(termination=not keeps_log) as signals:
        try:
            status = _run(name, arguments, signals)
        except SystemExit:  # argparse's, after --help or an error in the arguments
            if _is_written_out(name):
                raise
            return 1
        except OSError:
            if _is_written_out(name):  # the error came from elsewhere
                raise
            return 1
        except MemoryError:
            report(f"{name}: out of memory.")
            status = 1
        except KeyboardInterrupt:
            report(f"{name}: stopped by {signals.name}.")
            status = signals.status
        return status if _is_written_out(name) else status or 1


def _run(name: str, arguments: Sequence[str], signals: SignalsAsExceptions) -> int:
    """Run a command and return its exit status."""
    parser = argparse.ArgumentParser(prog="lightbsr", description="Blind super-resolution with LightBSR, in BasicSR.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, (_, text) in _COMMANDS.items():
        # Each command parses its own flags.
        commands.add_parser(command, help=text, description=text, add_help=False)
    command = parser.parse_known_args(arguments[:1])[0].command
    try:
        module = importlib.import_module(_COMMANDS[command][0])
        if signals.received is not None:  # swallowed while libraries were being imported
            raise KeyboardInterrupt
        module.run(command, arguments[1:])
    except ImportError as error:
        if signals.received is not None:  # C code turns a signal during an import into an ImportError
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
    """Flush standard output, and report a failure."""
    failure = write_out()
    # A reader that has closed the pipe, as `head` does, needs no message.
    if failure is not None and not isinstance(failure, BrokenPipeError):
        report(f"{name}: standard output cannot be written: {failure.strerror}.")
    return failure is None
