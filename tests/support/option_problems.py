"""What the check of option files says of options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from lightbsr_model.option_files.document import force_options, parse_document
from lightbsr_model.option_files.option_check import OptionCheck


def check_of(options: Any, is_train: bool = True, strict: bool = False, force: Sequence[str] = ()) -> OptionCheck:
    """The check of a file's text or content, done."""
    text = options if isinstance(options, str) else yaml.safe_dump(options, sort_keys=False)
    document = parse_document(text)
    force_options(document, list(force))
    check = OptionCheck(document, is_train, strict)
    check.problems = check.run()
    return check


def problems_of(options: Any, is_train: bool = True, strict: bool = False) -> list[str]:
    """Its problems, a line each."""
    return [str(problem) for problem in check_of(options, is_train, strict).problems]
