"""Names and words from option files and image sets, made harmless in the files that a report is made of."""

from __future__ import annotations

import html
import re

from lightbsr_arch.display import printable

_LONGEST = 10_000
"""Characters kept of one text."""


def html_text(text: str) -> str:
    """Text of an HTML page, or the value of an attribute in quotes."""
    return html.escape(printable(text, _LONGEST))


def markdown_text(text: str) -> str:
    """Text in a cell of a Markdown table, or a paragraph: no columns, code, links or HTML of its own."""
    escaped = re.sub(r"([\\|`\[\]])", r"\\\1", printable(text, _LONGEST))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def csv_text(text: str) -> str:
    """Text in a cell of a CSV file: no formula, for which spreadsheets take what begins with ``=``, ``+``, ``-`` or ``@``."""
    shown = printable(text, _LONGEST)
    # Spreadsheets also look past spaces, and take the full-width signs.
    return f"'{shown}" if re.match(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]", shown) else shown
