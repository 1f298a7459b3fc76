"""``lightbsr check``: report all problems of an option file, without starting anything."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lightbsr.shipped_options import with_shipped_options
from lightbsr_model.bridge.option_parsing import option_parser, read_and_check
from lightbsr_model.evaluation.analysis.settings import read_analysis
from lightbsr_model.evaluation.comparison.settings import read_settings
from lightbsr_model.option_files.declared.schema import schema
from lightbsr_model.option_files.dotted_names import allow_local_code
from lightbsr_model.option_files.whole_options import read_options, whole_text


def run(command: str, arguments: Sequence[str]) -> None:
    """Check an option file as the start of a training or a test does; a file with a ``train`` section is for training.

    ``--show`` prints all that the file stands for, alone on standard output. ``--schema``, alone, prints the JSON schema of
    option files instead, for editors.

    The YAMLs of ``lightbsr compare`` and ``lightbsr analyze``, which list ``models``, are checked as those commands do.

    Raises:
        OptionProblems: With all problems.
    """
    if list(arguments) == ["--schema"]:
        print(json.dumps(schema(), indent=1))
        return
    parser = option_parser(f"lightbsr {command}")
    parser.add_argument(
        "--show",
        action="store_true",
        help="print the whole file as YAML: with what its bases say, forced values, every data set and all defaults",
    )
    parser.add_argument(
        "--schema", action="store_true", help="alone: print the JSON schema of option files, for editors"
    )
    args = parser.parse_args(with_shipped_options(arguments))
    allow_local_code(args.allow_local_code)
    document = read_options(Path(args.opt), args.force_yml or [])
    if args.show and document.was_read:  # also where the check finds problems, such as data that are not there yet
        print(whole_text(document.options), end="", flush=True)
    if "models" in document.options:
        # An analysis has images, a comparison sets.
        (read_analysis if "images" in document.options else read_settings)(document, args.opt)
    else:
        document, warnings = read_and_check(args)
        for warning in warnings:
            print(f"Warning: {warning}", file=sys.stderr if args.show else sys.stdout)
    if not args.show:
        print(f"{args.opt}: {len(document.lines)} keys, no problem found.")
