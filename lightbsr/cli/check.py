"""``lightbsr check``: report all problems of an option file, without starting anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightbsr.shipped_options import with_shipped_options
from lightbsr_model.bridge.option_parsing import command_line, read_and_check
from lightbsr_model.evaluation.analysis.settings import read_analysis
from lightbsr_model.evaluation.comparison.settings import read_settings
from lightbsr_model.option_files.document import force_options, read_document
from lightbsr_model.option_files.dotted_names import allow_local_code


def run(command: str, arguments: Sequence[str]) -> None:
    """Check an option file as the start of a training or a test does; one with a ``train`` section is for training.

    The YAMLs of ``lightbsr compare`` and ``lightbsr analyze``, which list ``models``, are checked as those commands do.

    Raises:
        OptionProblems: With all problems.
    """
    args = command_line(with_shipped_options(arguments), prog=f"lightbsr {command}")
    allow_local_code(args.allow_local_code)
    content = read_document(Path(args.opt))
    if "models" in content.options:
        force_options(content, args.force_yml or [])
        # An analysis has `images`, a comparison has `sets`.
        (read_analysis if "images" in content.options else read_settings)(content, args.opt)
        print(f"{args.opt}: {len(content.lines)} keys, no problem found.")
        return
    document, warnings = read_and_check(args)
    for warning in warnings:
        print(f"Warning: {warning}")
    print(f"{args.opt}: {len(document.lines)} keys, no problem found.")
