"""Escape names and texts from option files and image sets in the files of a report."""

from __future__ import annotations

import html
import re

from lightbsr_arch.display import printable

_LONGEST = 10_000
"""Number of characters kept of a text."""


def html_text(text: str) -> str:
    """Escape text for an HTML page, or for the value of a quoted attribute."""
    return html.escape(printable(text, _LONGEST))


def markdown_text(text: str) -> str:
    """Escape text for a cell of a Markdown table, or a paragraph: it cannot make columns, code, links or HTML."""
    escaped = re.sub(r"([\\|`\[\]])", r"\\\1", printable(text, _LONGEST))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def csv_text(text: str) -> str:
    """Escape text for a cell of a CSV file: spreadsheets read what begins with ``=``, ``+``, ``-`` or ``@`` as a formula."""
    shown = printable(text, _LONGEST)
    # Spreadsheets also skip leading spaces, and accept the full-width signs.
    return f"'{shown}" if re.match(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]", shown) else shown
