"""Errors that a user can correct: the command line prints them without a traceback."""

from __future__ import annotations


class OptionError(ValueError):
    """An option or a file that does not fit. The message names it, says what came, what was expected and what to do.

    ``OptionError(message)``, or ``OptionError(key, message)`` for an option, whose text is then ``key: message``.
    """

    def __init__(self, *parts: str) -> None:
        super().__init__(*parts)
        self.key = parts[0] if len(parts) == 2 else ""
        """The option by its name, with dots between sections; empty where the message names what is wrong."""
        self.message = parts[-1] if parts else ""
        """What is wrong, without the key."""

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message

    def within(self, section: str) -> OptionError:
        """The same error as seen from outside a section: ``section.key``."""
        return type(self)(f"{section}.{self.key}" if self.key else section, self.message)


class MissingFileError(OptionError, FileNotFoundError):
    """Something that an option names does not exist."""


class ImageError(OptionError):
    """An image cannot be used; the message names it."""


RAISED_BY_NETWORKS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError),
)
"""What making or running anyone's network may raise for arguments or sizes that it cannot take."""


class CommandFailed(RuntimeError):
    """A command could not do its job although nothing is wrong with what it was given."""


class CommandStopped(CommandFailed):
    """Ctrl-C or SIGTERM ended a command; the message says what is done."""
