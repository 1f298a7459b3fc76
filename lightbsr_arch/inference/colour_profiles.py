"""Which ICC profiles belong to which pixels."""

from __future__ import annotations

_HEADER = 128
_SIGNATURE = slice(36, 40)
_COLOUR_SPACE = slice(16, 20)


def colour_space(profile: bytes) -> str | None:
    """The colour space of an ICC profile's data, such as ``GRAY``, ``RGB``, ``CMYK`` or ``Lab``; None for damaged ones."""
    if len(profile) < _HEADER or profile[_SIGNATURE] != b"acsp":
        return None
    return profile[_COLOUR_SPACE].decode("ascii", "backslashreplace").strip()


def belonging(profile: bytes | None, grey: bool) -> tuple[bytes | None, list[str]]:
    """Keep a profile only if it describes such pixels.

    Args:
        profile: Any, or None.
        grey: Whether the pixels are grey. They may have an RGB profile, whose tone curve describes them.

    Returns:
        The profile or None, and notes on why it was left out.
    """
    if profile is None:
        return None, []
    space = colour_space(profile)
    if space == "RGB" or (space == "GRAY" and grey):
        return profile, []
    if space is None:
        return None, ["its damaged colour profile was left out"]
    return None, [f"its {space} colour profile was left out: it does not describe {'grey' if grey else 'RGB'} pixels"]
