"""``lightbsr check``: tell everything that is wrong with an option file, without starting anything."""

from __future__ import annotations

from collections.abc import Sequence

from lightbsr_model.bridge.option_parsing import command_line, read_and_check
from lightbsr_model.cli.option_files import with_shipped_options


def run(command: str, arguments: Sequence[str]) -> None:
    """Check an option file as the start of a training or a test does; a file with a ``train`` section is for training.

    Raises:
        OptionProblems: With all problems.
    """
    args = command_line(with_shipped_options(arguments), prog=f"lightbsr {command}")
    document, warnings = read_and_check(args)
    for warning in warnings:
        print(f"Warning: {warning}")
    print(f"{args.opt}: {len(document.lines)} keys, no problem found.")
