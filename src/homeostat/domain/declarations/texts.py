"""The texts of a project: its files and the cells of notebooks, parsed once, without comments and layout.

A text says which definition some code was compiled from, which statements give a name its value, which names they use
in turn, and which files it imports. It knows no values: it is the same in every process, whatever has run.
"""

from __future__ import annotations

import ast
import linecache
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from types import CodeType
from typing import Final

from homeostat.domain.digests import digest_bytes

_CHANGE: Final = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft"}
    | {"remove", "reverse", "setdefault", "sort", "update"}
)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef
Import = ast.Import | ast.ImportFrom
Dotted = tuple[str, ...]


class Text:
    """One file, or one cell; of what Python does not read, as a compiled module, only the whole is known."""

    def __init__(self, written: bytes) -> None:
        self._unread = ""
        try:
            self._tree = ast.parse(written)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self._tree, self._unread = ast.parse(""), digest_bytes(written)

    @cached_property
    def whole(self) -> str:
        """All of it."""
        return self._unread or shown(self._tree)

    @cached_property
    def imports(self) -> list[Import]:
        """What it imports anywhere, also in functions."""
        return imports(self._tree)

    @cached_property
    def definitions(self) -> dict[str, list[Definition]]:
        """The functions and classes by their qualified names; one that is defined again stands there again."""
        found: dict[str, list[Definition]] = defaultdict(list)
        below: list[tuple[str, ast.AST]] = [("", self._tree)]
        while below:
            before, node = below.pop()
            for child in ast.iter_child_nodes(node):
                if isinstance(child, Definition):
                    found[before + child.name].append(child)
                    inside = "." if isinstance(child, ast.ClassDef) else ".<locals>."
                    below.append((before + child.name + inside, child))
                else:
                    below.append((before, child))
        return dict(found)

    @cached_property
    def bindings(self) -> dict[str, list[ast.stmt]]:
        """By name, the statements of the module that give it its value, or may change what it holds.

        A statement is taken whole: what an ``if`` asks decides about what is bound below it. Definitions and imports
        bind by themselves, and are no part of this, but for what is registered: ``@area.register`` changes ``area``.
        """
        found: dict[str, list[ast.stmt]] = defaultdict(list)
        for statement in self._tree.body:
            for name in sorted(set(_bound(statement))):
                found[name].append(statement)
        return dict(found)

    @cached_property
    def imported(self) -> dict[str, list[Import]]:
        """By name, the imports outside of functions that may bind it; ``*`` binds any."""
        found: dict[str, list[Import]] = defaultdict(list)
        for node in _outside(self._tree):
            if isinstance(node, Import):
                for alias in node.names:
                    found[alias.asname or alias.name.split(".")[0]].append(node)
        return dict(found)

    @cached_property
    def rebound(self) -> dict[str, list[ast.stmt]]:
        """By name, the definitions in which it is ``global``, as they bind it when they run, and those of this name."""
        found: dict[str, list[ast.stmt]] = defaultdict(list)
        for statement in self._tree.body:
            for node in ast.walk(statement):
                for name in node.names if isinstance(node, ast.Global) else ():
                    found[name].append(statement)
        return {name: [*given, *self.definitions.get(name, ())] for name, given in found.items()}

    def function(self, code: CodeType) -> Function | None:
        """The definition that ``code`` was compiled from; None of a lambda, and of what stands elsewhere."""
        for node in self.definitions.get(code.co_qualname, ()):
            first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
            if isinstance(node, Function) and first == code.co_firstlineno:
                return node
        return None


def text_of(file: str) -> Text:
    """What is written in a file or cell; nothing where there is none."""
    try:
        return _parsed(Path(file).read_bytes())
    except (OSError, ValueError):
        return _parsed("".join(linecache.getlines(file)).encode())  # of a cell


_parsed = lru_cache(maxsize=32)(Text)


def shown(node: ast.AST) -> str:
    """The text of a node; what nests too deeply to be written out counts by its tokens and their places."""
    try:
        return ast.unparse(node)
    except RecursionError:
        return repr([(type(one).__name__, *_fields(one)) for one in ast.walk(node)])


def _fields(node: ast.AST) -> Iterator[str]:
    for name, value in ast.iter_fields(node):
        if not isinstance(value, ast.AST | list):
            yield f"{name}={value!r}"


def names(*nodes: ast.AST) -> set[Dotted]:
    """The dotted names that texts use, as far as they are attributes of attributes of a name."""
    found: set[Dotted] = set()
    for node in chain.from_iterable(map(ast.walk, nodes)):
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            found.add((node.id, *reversed(attributes)))
    return found


def outside(definition: Definition) -> list[ast.AST]:
    """The parts of a definition that run when it is defined, but for its decorators: defaults, the body of a class."""
    if not isinstance(definition, ast.ClassDef):
        return [definition.args, *filter(None, [definition.returns])]
    found: list[ast.AST] = [*definition.bases, *definition.keywords]
    for node in definition.body:
        found += [*node.decorator_list, *outside(node)] if isinstance(node, Definition) else [node]
    return found


def imports(node: ast.AST) -> list[Import]:
    """The imports that stand in a text."""
    return [one for one in ast.walk(node) if isinstance(one, Import)]


def changed(node: ast.AST) -> set[str]:
    """The names that a function binds or changes when it runs, of those that are not its own."""
    found: set[str] = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Nonlocal | ast.Global):
            found.update(one.names)
        elif isinstance(one, ast.Subscript | ast.Attribute) and not isinstance(one.ctx, ast.Load):
            found.update(_base(one))
        elif isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in _CHANGE:
            found.update(_base(one.func))
    return found


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, Definition):
        for decorator in statement.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if isinstance(called, ast.Attribute):
                yield from _base(called)
        return
    for node in _outside(statement):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
            yield from _base(node)
        elif isinstance(node, ast.Expr):  # it is there for what it does, as in CODES.update(…) or fill(CODES)
            yield from (name[0] for name in names(node))


def _outside(node: ast.AST) -> Iterator[ast.AST]:
    """What is in a statement, but for what is defined in it."""
    below = [node]
    while below:
        one = below.pop()
        yield one
        below += [child for child in ast.iter_child_nodes(one) if not isinstance(child, Definition)]


def _base(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id
