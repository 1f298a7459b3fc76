"""Errors that a user can mend: the command line prints them without a traceback."""

from __future__ import annotations


class OptionError(ValueError):
    """An option or a file that does not fit. The message names it, says what came, what was expected and what to do."""


class MissingFileError(OptionError, FileNotFoundError):
    """Something that an option names does not exist."""


class ImageError(OptionError):
    """An image cannot be used; the message names it."""


class CommandFailed(RuntimeError):
    """A command could not do its job although nothing is wrong with what it was given."""


class CommandStopped(CommandFailed):
    """Ctrl-C or SIGTERM ended a command; the message says what is done."""
