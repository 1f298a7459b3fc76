"""What the check of option files says of options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from lightbsr_model.option_files.document import OptionDocument, parse_document
from lightbsr_model.option_files.option_check import OptionCheck
from lightbsr_model.option_files.whole_options import complete_options


def complete(options: Any, *forced: str) -> OptionDocument:
    """A file's text or content as the commands take it: values forced, lists of sets written out, the scale filled in."""
    document = parse_document(options if isinstance(options, str) else yaml.safe_dump(options, sort_keys=False))
    complete_options(document, forced)
    return document


def check_of(options: Any, is_train: bool = True, strict: bool = False, force: Sequence[str] = ()) -> OptionCheck:
    """The check of a file's text or content, done."""
    check = OptionCheck(complete(options, *force), is_train, strict)
    check.problems = check.run()
    return check


def problems_of(options: Any, is_train: bool = True, strict: bool = False) -> list[str]:
    """Its problems, a line each."""
    return [str(problem) for problem in check_of(options, is_train, strict).problems]
