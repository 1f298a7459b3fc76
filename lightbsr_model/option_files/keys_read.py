"""Which keys of an option file a class reads, and from which section, found in its source.

BasicSR passes a model the whole file and a data set its own section, as dictionaries, and each reads what it likes from
them. So a key counts only where it is read: ``opt['train'].get('ema_decay')`` makes ``ema_decay`` a key of ``train`` and
of nothing else. Followed are assignments, ``self.<name>``, inherited methods and ``super()``, functions and classes of the
same packages that a section is passed to, and keys passed as arguments. Nothing of BasicSR 1.4.2 reads a key of a section in
another way; for classes of other packages this is not known.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

Section = tuple[str, ...]
"""The keys that lead to a section, from what the class is given; () is all of it."""

ANY = "*"
"""In a section's path: every key, as a loop over ``items()`` reads them."""

_Values = frozenset[Any]
"""What an expression may be: sections (tuples) and words. Anything else is left out."""
_NOTHING: _Values = frozenset()
_COPIES = frozenset(("dict", "list", "tuple", "sorted", "reversed", "enumerate", "deepcopy", "copy", "OrderedDict"))
_READERS = frozenset(("get", "pop", "setdefault"))


@dataclass(frozen=True)
class KeysRead:
    """What a class reads of its options."""

    paths: frozenset[Section]
    """Every key that is read, with its section."""

    def of(self, *section: str) -> set[str]:
        """The keys read from a section."""
        depth = len(section)
        return {path[depth] for path in self.paths if len(path) > depth and _matches(path, section)} - {ANY}


def _matches(path: Section, section: Section) -> bool:
    return all(a in (b, ANY) for a, b in zip(path, section, strict=False))


@functools.cache
def keys_read_by(cls: type) -> KeysRead:
    """Every key that a model or a data set reads, those that it inherits from included.

    Args:
        cls: A class whose methods get their options as the argument ``opt``, as BasicSR's do.
    """
    reader = _ClassReader(cls, {_package_of(cls), "basicsr", "lightbsr_model", "lightbsr_arch"}, set())
    reader.read({"opt": frozenset({()})})
    return KeysRead(frozenset(reader.found))


def _package_of(target: Any) -> str:
    return str(getattr(target, "__module__", "")).partition(".")[0]


class _ClassReader:
    """Reads the methods of one class.

    Args:
        cls: The class.
        packages: Packages whose functions and classes are followed.
        found: The paths of all keys read, which this adds to.
    """

    def __init__(self, cls: type, packages: set[str], found: set[Section]) -> None:
        self.cls, self.packages, self.found = cls, packages, found
        self.attributes: dict[str, _Values] = {}
        """What instances keep."""
        self.returns: dict[Any, _Values] = {}

    def read(self, given: Mapping[str, _Values]) -> None:
        """Read every method, as it is after overriding; ``given`` are arguments by name."""
        for _ in range(2):  # in the second round all attributes are known, whatever the order of the methods
            self.returns.clear()
            for name in dir(self.cls):
                owner, function = self.method(name)
                if function is not None and self.follows(owner):
                    self.run(function, owner, given)

    def follows(self, target: Any) -> bool:
        """Whether a function or class is in a package that is read."""
        return _package_of(target) in self.packages

    def method(self, name: str, after: type | None = None) -> tuple[type | None, FunctionType | None]:
        """A method and the class that defines it; with ``after``, as ``super()`` in that class finds it."""
        mro = self.cls.__mro__
        for base in mro[mro.index(after) + 1 :] if after in mro else mro:
            if name in vars(base):
                return base, _function_of(vars(base)[name])
        return None, None

    def run(self, function: FunctionType, owner: type | None, given: Mapping[str, _Values]) -> _Values:
        """Follow one call; return what it may return."""
        key = (function, tuple(sorted((name, values) for name, values in given.items() if values)))
        if key not in self.returns:
            self.returns[key] = _NOTHING  # what a recursive call gets
            self.returns[key] = _FunctionReader(self, function, owner, given).read()
        return self.returns[key]


class _FunctionReader:
    """Reads one function's body, with its arguments bound; branches and loops are all taken once."""

    def __init__(
        self, of: _ClassReader, function: FunctionType, owner: type | None, given: Mapping[str, _Values]
    ) -> None:
        self.of, self.function, self.owner = of, function, owner
        self.self_name = next(iter(inspect.signature(function).parameters), None) if owner is not None else None
        self.names = dict(given)
        self.returned: set[Any] = set()

    def read(self) -> _Values:
        definition = _definition(self.function)
        if definition is not None:
            self.walk(definition)
        return frozenset(self.returned)

    # ---- statements

    def walk(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.value(child)
            elif not isinstance(child, ast.arguments):
                self.statement(child)

    def statement(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            values = self.value(node.value)
            for target in node.targets:
                self.bind(target, values)
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign)) and node.value is not None:
            self.bind(node.target, self.value(node.value))
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            self.bind(node.target, self.value(node.iter))
            for part in (*node.body, *node.orelse):
                self.statement(part)
        elif isinstance(node, ast.Return) and node.value is not None:
            self.returned |= self.value(node.value)
        else:
            self.walk(node)

    def bind(self, target: ast.expr, values: _Values) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = self.names.get(target.id, _NOTHING) | values
        elif isinstance(target, ast.Attribute) and self.is_self(target.value):
            self.of.attributes[target.attr] = self.of.attributes.get(target.attr, _NOTHING) | values
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self.bind(element, values)
        else:
            self.value(target)

    # ---- expressions

    def value(self, node: ast.expr) -> _Values:
        """What an expression may be, noting what it reads."""
        match node:
            case ast.Constant(value=str(word)):
                return frozenset({word})
            case ast.Name(id=name):
                return self.names.get(name, _NOTHING)
            case ast.Attribute():
                return self.attribute(node)
            case ast.Subscript(value=base, slice=key):
                return self.read_key(self.value(base), key)
            case ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[container]):
                self.read_key(self.value(container), key)
                return _NOTHING
            case ast.Call():
                return self.call(node)
            case ast.NamedExpr(target=target, value=assigned):
                values = self.value(assigned)
                self.bind(target, values)
                return values
            case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                return frozenset().union(*(self.value(part) for part in parts))
            case ast.IfExp(test=test, body=first, orelse=second):
                self.value(test)
                return self.value(first) | self.value(second)
            case ast.Dict(keys=keys, values=parts):
                given = [(name, self.value(part)) for name, part in zip(keys, parts, strict=True)]
                return frozenset().union(*(values for name, values in given if name is None))
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                for loop in node.generators:
                    self.bind(loop.target, self.value(loop.iter))
                    for condition in loop.ifs:
                        self.value(condition)
                made = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
                return frozenset().union(*(self.value(part) for part in made))
        self.walk(node)
        return _NOTHING

    def read_key(self, sections: _Values, key: ast.expr) -> _Values:
        words = [word for word in self.value(key) if isinstance(word, str)]
        found = {(*section, word) for section in sections if isinstance(section, tuple) for word in words}
        self.of.found |= found
        return frozenset(found)

    def is_self(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == self.self_name

    def attribute(self, node: ast.Attribute) -> _Values:
        if not self.is_self(node.value):
            self.value(node.value)
            return _NOTHING
        owner, function = self.of.method(node.attr)
        if function is not None and isinstance(inspect.getattr_static(self.of.cls, node.attr), property):
            return self.of.run(function, owner, {})
        return self.of.attributes.get(node.attr, _NOTHING)

    def call(self, node: ast.Call) -> _Values:
        given = [self.value(argument) for argument in node.args]
        named = {word.arg or "": self.value(word.value) for word in node.keywords}
        function = node.func
        if isinstance(function, ast.Attribute):
            if self.is_self(function.value) or _is_super(function.value):
                after = self.owner if _is_super(function.value) else None
                owner, method = self.of.method(function.attr, after)
                if method is not None:
                    return self.of.run(method, owner, _bound(method, given, named, skip=1))
            sections = frozenset(value for value in self.value(function.value) if isinstance(value, tuple))
            if sections:
                return self.method_of_section(sections, function.attr, node.args)
        return self.call_of(self.resolve(function), given, named)

    def method_of_section(self, sections: _Values, name: str, arguments: list[ast.expr]) -> _Values:
        """``dict``'s own methods."""
        if name in _READERS and arguments:
            return self.read_key(sections, arguments[0])
        if name in ("items", "values"):
            return frozenset((*section, ANY) for section in sections)
        return sections if name == "copy" else _NOTHING

    def resolve(self, node: ast.expr) -> Any:
        """The object that a dotted name stands for in this module, None if that is not known."""
        if isinstance(node, ast.Name):
            return self.function.__globals__.get(node.id, getattr(builtins, node.id, None))
        if isinstance(node, ast.Attribute):
            return getattr(self.resolve(node.value), node.attr, None)
        return None

    def call_of(self, target: Any, given: list[_Values], named: dict[str, _Values]) -> _Values:
        """A call of a function or class that is not the instance's own."""
        values = frozenset().union(*given, *named.values())
        if getattr(target, "__name__", None) in _COPIES:
            return values
        if self.of.follows(target) and any(isinstance(value, tuple) for value in values):
            if isinstance(target, FunctionType):
                return self.of.run(target, None, _bound(target, given, named))
            start = _function_of(inspect.getattr_static(target, "__init__")) if isinstance(target, type) else None
            if start is not None:
                inner = _ClassReader(target, self.of.packages, self.of.found)
                inner.read(_bound(start, given, named, skip=1))
        return _NOTHING


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _bound(
    function: FunctionType, given: list[_Values], named: Mapping[str, _Values], skip: int = 0
) -> dict[str, _Values]:
    """Arguments by name; those that are not given hold nothing, or their default where it is a word."""
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    bound = {
        parameter.name: frozenset({parameter.default}) if isinstance(parameter.default, str) else _NOTHING
        for parameter in parameters
    }
    return {**bound, **dict(zip(bound, given, strict=False)), **named}


def _function_of(attribute: Any) -> FunctionType | None:
    """The function behind a method, a property or a decorated one."""
    if isinstance(attribute, property):
        attribute = attribute.fget
    attribute = inspect.unwrap(getattr(attribute, "__func__", attribute)) if attribute is not None else None
    return attribute if isinstance(attribute, FunctionType) else None


@functools.cache
def _definition(function: FunctionType) -> ast.FunctionDef | None:
    """A function's source, parsed; None where there is none."""
    try:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError):
        return None
    return node if isinstance(node, ast.FunctionDef) else None
