"""Text that came from a file, made fit for a terminal."""

from __future__ import annotations


def printable(text: object, limit: int = 200) -> str:
    """Text on one line, without anything that a terminal would act on.

    Args:
        text: A string, or a plain value.
        limit: Number of characters kept; what is left out is counted.

    Returns:
        The text with control characters, line ends, surrogates and marks of direction written as escapes.
    """
    whole = text if isinstance(text, str) else str(text)
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in whole[:limit]
    )
    return shown if len(whole) <= limit else f"{shown}... ({len(whole)} characters)"


def printable_lines(text: object, limit: int = 5000) -> str:
    """Text whose line ends are its own, each line as of :func:`printable`: for messages that quote names from files."""
    return "\n".join(printable(line, limit) for line in str(text).split("\n"))
