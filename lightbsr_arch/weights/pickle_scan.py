"""Look through a pickle without loading it: which names it imports, and whether loading it stays within bounds.

``torch.load(weights_only=True)`` runs no foreign code, but it builds whatever a pickle asks for: ``bytearray(10**12)``, or
a tuple of the same two tuples forty times over, which takes for ever to hash.
"""

from __future__ import annotations

import pickletools
import re
from typing import Any, Protocol

from lightbsr_arch.display import printable

MOST_STEPS = 1_000_000
"""Number of opcodes; a training state of a thousand weights has about a hundred thousand."""

_MOST_IN_A_TUPLE = 100_000
"""Number of values in a tuple, those of the tuples in it included."""

_PICKLES_BEFORE_WEIGHTS = 5
"""In the format of torch before 1.6: magic number, version, platform, content, names of the storages."""

_PLAIN_NAME = re.compile(
    r"collections (OrderedDict|Counter)|(builtins|__builtin__) (set|complex)|_codecs encode"
    r"|torch(\.cuda|\.storage)? \w+Storage|torch\._utils _rebuild_\w+|torch\._tensor _rebuild_from_type_v2"
    r"|torch (Size|device|Tensor|b?float\w+|b?complex\w+|u?int\d+|qu?int\w+|bool|bits\w+|per_\w+)"
    r"|torch\.nn\.parameter Parameter|torch\.serialization _get_layout"
)
"""What ``torch.save`` writes for tensors and plain values, module and name."""

_PLAIN_OPCODES = frozenset(
    (
        *("GLOBAL", "NEWOBJ", "REDUCE", "BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "MARK", "TUPLE"),
        *("TUPLE1", "TUPLE2", "TUPLE3", "NONE", "NEWFALSE", "NEWTRUE", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT"),
        *("EMPTY_SET", "BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "BINPERSID"),
        *("BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT", "LONG1", "PROTO", "STOP"),
    )
)
"""Those that torch's loader of plain values understands."""


class Stream(Protocol):
    """A file in memory: reading never returns more than there is."""

    def read(self, size: int = ..., /) -> bytes: ...  # noqa: D102
    def readline(self) -> bytes: ...  # noqa: D102
    def tell(self) -> int: ...  # noqa: D102


def check_plain_pickles(stream: Stream, count: int = _PICKLES_BEFORE_WEIGHTS) -> None:
    """Check that pickles in a row hold tensors and plain values, in bounded number.

    Args:
        stream: At the first one.
        count: Number of pickles.

    Raises:
        ValueError: They do not, or are damaged; the message gives the reason.
    """
    steps = 0
    try:
        for _ in range(count):
            steps = _check_one(stream, steps)
    except (IndexError, KeyError) as error:
        raise ValueError("the pickle is damaged") from error


def _check_one(stream: Stream, steps: int) -> int:
    weights: list[int] = []
    marks: list[int] = []
    memo: dict[Any, int] = {}
    for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
        steps += 1
        name = opcode.name
        if steps > MOST_STEPS:
            raise ValueError(f"the pickle has more than {MOST_STEPS} steps")
        if name not in _PLAIN_OPCODES:
            raise ValueError("a pickle that torch.save did not write")
        if name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = weights[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            weights.append(memo[argument])
        elif name == "MARK":
            marks.append(len(weights))
        else:
            if name == "GLOBAL" and not _PLAIN_NAME.fullmatch(str(argument)):
                asked = printable(str(argument).replace(" ", "."), 80)
                raise ValueError(f"it asks for {asked}, which is more than tensors and plain values")
            before = opcode.stack_before
            if pickletools.markobject in before:
                start = marks.pop()
                within, rest = weights[start:], before.index(pickletools.markobject)
            else:
                start, rest = len(weights) - len(before), 0
                within = weights[start:]
            if start < rest:
                raise ValueError("the pickle is damaged")
            del weights[start - rest :]
            weight = 1 + sum(within) if name.startswith("TUPLE") else 1
            if weight > _MOST_IN_A_TUPLE:
                raise ValueError("it nests tuples beyond measure")
            weights.extend([weight] * len(opcode.stack_after))
    return steps


def imported_names(stream: Stream, end: int) -> list[str]:
    """The names that a pickle, or several in a row, would import, as far as they say so plainly.

    Args:
        stream: At the first one.
        end: Position behind the last one.
    """
    names: set[str] = set()
    steps = 0
    while stream.tell() < end and steps < MOST_STEPS:
        steps, whole = _add_names(stream, names, steps)
        if not whole:
            break
    return sorted(names)


def _add_names(stream: Stream, names: set[str], steps: int) -> tuple[int, bool]:
    """Of one pickle; returns the steps so far, and whether it ended well."""
    last_two = ["", ""]
    memo: dict[int, str | None] = {}
    last: str | None = None
    try:
        for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
            steps += 1
            if steps > MOST_STEPS:
                return steps, False
            if opcode.name in ("GLOBAL", "INST"):
                names.add(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                names.add(".".join(last_two))
            elif opcode.name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
                memo[len(memo) if argument is None else int(argument)] = last
                continue
            elif "GET" in opcode.name:
                argument = memo.get(int(argument or 0))
            last = argument if isinstance(argument, str) else None
            if last is not None:
                last_two = [last_two[1], last]
    except (ValueError, IndexError, EOFError):  # damaged, or what follows is no pickle: what came before counts
        return steps, False
    return steps, True
