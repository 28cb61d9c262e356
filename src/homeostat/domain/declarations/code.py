"""The digest of code: what a function does, as far as its project says it. Equal digests, equal doings.

A function is its text, what it closes over and, followed through the names that it uses, every function, class, module
and statement of the same project: what a snapshot of it keeps. Libraries are not followed: their versions are in the
environment lock. Texts tell code apart, as nothing changes them while it runs: a dictionary that is filled, a lock or a
logger is the statement that makes it. Where results are to follow what was read when the module was loaded too, the
caller says how values are encoded. What is found by a name that is put together (``globals()[…]``) is not seen.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from enum import Enum
from functools import partial
from inspect import getattr_static
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, Final

from homeostat.domain.declarations.base import PROJECT_MODULE, Declaration
from homeostat.domain.declarations.objects import (
    cell_of,
    compiled,
    content,
    defaults,
    functions,
    is_below,
    is_named,
    names_of,
    of_python,
    order,
    ordered,
    state_of,
    wrapped,
    wrapped_by,
)
from homeostat.domain.declarations.sources import Names, Sources
from homeostat.domain.declarations.texts import (
    Definition,
    Dotted,
    Import,
    changed,
    imports,
    names,
    outside,
    shown,
)
from homeostat.domain.digests import digest_bytes, digest_of

Encode = Callable[[Any], bytes | None]

_PLAIN: Final = (type(None), bool, int, float, str, bytes, date, datetime, timedelta)
_HOLD: Final = (list, dict, set)


class NoDigest(TypeError):
    """A closure over a value that cannot be told from others like it; the message names it."""


def code_digest(function: Callable[..., Any], encode: Encode | None = None) -> str:
    """The digest of what ``function`` does: the same in every folder and process, whatever has run.

    Args:
        function: Anything that can be called.
        encode: Gives the content of a value that is no code, None where it has none. With it values of the module's
            names count beside their texts, and what is closed over must have a content.

    Raises:
        NoDigest: with ``encode``, it closes over a value without a content.
    """
    start = of_python(function)
    walk = _Walk(start, encode)
    said = [walk.text(start), walk.made_with(start)] if start else []
    return digest_of([walk.held(function), *said, *walk.told()])


def _of_project(function: FunctionType) -> FunctionType:
    """The function that is of a project: a library's decorator may have wrapped it in one of its own."""
    seen = [function]
    for one in seen:
        if Sources(one.__globals__).holds(one.__globals__):
            return one
        inner = [*wrapped_by(one), *map(cell_of, one.__closure__ or ())]
        seen += [each for each in inner if isinstance(each, FunctionType) and each not in seen]
    return function


class _Walk:
    """Says what things are in terms that JSON can hold. Code has a number, and is told once: it may call itself."""

    def __init__(self, start: FunctionType | None, encode: Encode | None) -> None:
        self._encode = encode
        self._sources = Sources(_of_project(start).__globals__ if start else {})
        self._numbers: dict[Any, int] = {}
        self._alive: list[Any] = []  # an id counts as long as what has it
        self._waiting: deque[Callable[[], Any]] = deque()
        self._spaces: dict[str, Names] = {}  # of modules that may be gone from sys.modules

    def told(self) -> Iterator[Any]:
        """What everything is that has a number, in the order of the numbers."""
        while self._waiting:
            yield self._waiting.popleft()()

    def _number(self, key: Any, tell: Callable[[], Any], alive: Any = None) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._alive.append(alive)
            self._waiting.append(tell)
        return self._numbers[key]

    def text(self, function: FunctionType) -> str:
        """What a function says itself, of a library's too."""
        code = function.__code__
        node = self._sources.text(function.__globals__, code).function(code)
        return _mark(shown(node) if node else compiled(code))

    def made_with(self, function: FunctionType) -> dict[str, Any]:
        """What a function of a library, which is followed no further, was given to be made, as far as it is plain."""
        if self._sources.holds(function.__globals__):
            return {}
        node = self._sources.text(function.__globals__, function.__code__).function(function.__code__)
        moving = changed(node) if node else set()
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        given = {name: cell_of(cell) for name, cell in cells if name not in moving}
        return {
            name: self.held(one)
            for name, one in given.items()
            if type(one) in _PLAIN or content(one) is not None
        }

    def held(self, value: Any, name: str = "", *, closed: bool = False) -> Any:
        """What ``value`` is; a NoDigest names it as ``name`` where it is ``closed`` over and must have a content."""
        if isinstance(value, FunctionType):
            return self._number(id(value), lambda: self._function(value), value)
        if isinstance(value, type):
            return self._number(id(value), lambda: self._class(value), value)
        if isinstance(value, ModuleType):
            file = self._sources.file(vars(value))
            return ["module", self._whole(file) if file else value.__name__]
        if isinstance(value, Declaration):
            function = getattr(value, "function", None) or getattr(value, "transform", None)
            said = value.spec() if value.kind == "dataset" else str(value.ref)
            return ["declared", self.held(function) if function else said]
        if isinstance(value, Enum):
            return ["member", self.held(type(value)), value.name]
        if type(value) in _PLAIN:
            return [type(value).__name__, self._plain(value)]
        inside = partial(self.held, name=name, closed=closed)
        if isinstance(value, partial):
            return ["partial", inside(value.func), inside(value.args), inside(value.keywords)]
        if isinstance(value, MethodType):
            return ["method", inside(value.__func__), inside(value.__self__)]
        if wrapped(value):
            return ["wraps", self.held(type(value)), inside(value.__wrapped__)]
        if callable(value) and isinstance(getattr(value, "__qualname__", None), str):
            return ["library", getattr(value, "__module__", None), value.__qualname__]
        return self._content(value, inside, name, closed)

    def _content(self, value: Any, inside: Callable[[Any], Any], name: str, closed: bool) -> Any:
        if (said := self._encode(value) if self._encode else content(value)) is not None:
            return digest_bytes(said)
        kind = type(value)
        if kind in (tuple, frozenset):
            return [kind.__name__, list(map(inside, ordered(value)))]
        if kind in _HOLD or (not self._encode and self._space(kind) is not None):
            return self._number((id(value), closed), lambda: self._object(value, inside), value)
        if closed and self._encode:
            raise NoDigest(f"{name!r}, which it closes over, is a {kind.__qualname__}")
        return ["a", self.held(kind)]

    def _object(self, value: Any, inside: Callable[[Any], Any]) -> Any:
        """What may hold itself: a container, or an object of a class of the project."""
        parts: Any = ordered(value) if isinstance(value, list | tuple | set | frozenset) else ()
        parts = value.items() if isinstance(value, dict) else parts
        state = None if type(value) in _HOLD else inside(state_of(value))
        return [self.held(type(value)), list(map(inside, parts)), state]

    def _plain(self, value: Any) -> str:
        """A text of the value, without the folder of the project and the module's name, which follows from it."""
        if isinstance(value, datetime):
            return value.isoformat()  # what a time zone shows of itself may be where it lies in memory
        text = self._sources.without_folder(repr(value)) if isinstance(value, str) else repr(value)
        return re.sub(PROJECT_MODULE + "[0-9a-f]+", PROJECT_MODULE, text)

    def _function(self, function: FunctionType) -> Any:
        code, space = function.__code__, function.__globals__
        if not self._sources.holds(space):
            return self._library(function)
        self._spaces[space.get("__name__", "")] = space
        node = self._sources.text(space, code).function(code)
        used: set[Dotted] = {(name,) for name in names_of(code)}
        if node is None:
            above, moving, lazy = set(), set(), []
        else:
            moving, lazy = changed(node), self._imported(imports(node), space)
            used = {one for one in names(node) if one[:1] in used} | names(*outside(node))
            above = names(*node.decorator_list)
            above = {one for one in above if not isinstance(space.get(one[0]), Declaration)}
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        closed = {name: cell_of(cell) for name, cell in cells if name != "__class__"}
        return [
            "function",
            self.text(function),
            {name: self._kept(one, name, moving, closed=True) for name, one in closed.items()},
            {name: self._kept(one, name, moving) for name, one in defaults(function).items()},
            self._used(space, used | above),
            lazy,
            [self.held(one) for one in wrapped_by(function)],
        ]

    def _kept(self, value: Any, name: str, moving: set[str], *, closed: bool = False) -> Any:
        """A value that a function keeps; one that the function changes is only of its type, unless all values count."""
        is_code = isinstance(value, FunctionType | type | partial | MethodType) or wrapped(value)
        if name in moving and not self._encode and not is_code and content(value) is None:
            return ["a", self.held(type(value))]
        return self.held(value, name, closed=closed)

    def _library(self, function: FunctionType) -> Any:
        """A function that is followed no further, but for those of the project that it was given to wrap."""
        inner = [cell_of(cell) for cell in function.__closure__ or ()]
        inner = [
            one for one in inner if isinstance(one, FunctionType) and self._sources.holds(one.__globals__)
        ]
        registry = getattr_static(function, "registry", {})  # of functools.singledispatch
        inner += sorted(registry.values(), key=order) if isinstance(registry, MappingProxyType) else []
        said = [self.held(one) for one in (*inner, *wrapped_by(function))]
        module = self._plain(function.__globals__.get("__name__"))
        return ["library", module, function.__code__.co_qualname, said]

    def _class(self, given: type) -> Any:
        space = self._space(given)
        if space is None:
            return ["library", self._plain(given.__module__), given.__qualname__]
        members = [one for member in vars(given).values() for one in functions(member)]
        members = [one for one in members if wrapped(one) or self._sources.holds(one.__globals__)]
        text = self._sources.text(space, next((one.__code__ for one in members), None))
        nodes = text.definitions.get(given.__qualname__, [])
        below = [one for one in vars(given).values() if isinstance(one, type) and is_below(one, given)]
        values = {} if nodes else {key: one for key, one in vars(given).items() if type(one) in _PLAIN}
        used = {one for node in nodes for one in names(*node.decorator_list, *outside(node))}
        return [
            "class",
            given.__qualname__,
            [_mark(shown(node)) for node in nodes],
            {key: self._plain(one) for key, one in values.items() if not key.startswith("__")},
            [self.held(one) for one in sorted([*members, *below], key=order)],
            [self.held(base) for base in (*given.__mro__[1:], type(given))],
            self._used(space, used),
            self._whole(space["__file__"]) if space.get("__file__") and "__name__" not in space else None,
        ]

    def _space(self, given: type) -> Names | None:
        """The names of the module of a class, as far as they are known; None where it is not of the project."""
        name = given.__module__
        methods = (one.__globals__ for one in vars(given).values() if isinstance(one, FunctionType))
        space = self._spaces.get(name) or next((one for one in methods if one.get("__name__") == name), None)
        if space is None:
            file = self._sources.search(name)
            return {"__file__": file} if file else {} if name.startswith(PROJECT_MODULE) else None
        return space if self._sources.holds(space) else None

    def _used(self, space: Names, used: set[Dotted]) -> dict[str, int]:
        """What the names of a module stand for; of a module of the project also what its attributes do."""
        found: dict[str, int] = {}
        for one in sorted(used):
            place = space
            for depth, name in enumerate(one, start=1):
                if name not in self._sources.text(place).bindings and (
                    name not in place or (name.startswith("__") and name.endswith("__"))
                ):
                    break
                said = partial(self._name, place, name)
                found[".".join(one[:depth])] = self._number((id(place), name), said, place)
                value = place.get(name)
                if not isinstance(value, ModuleType) or not self._sources.packs(vars(value)):
                    break
                place = vars(value)
        return found

    def _name(self, space: Names, name: str) -> Any:
        """A name of a module of the project: by the statements that bind it, and by what it stands for."""
        value, text = space.get(name), self._sources.text(space)
        is_code = isinstance(value, FunctionType | type | ModuleType | Declaration) or wrapped(value)
        moving = text.rebound.get(name, [])
        statements = [*text.bindings.get(name, []), *moving]
        if isinstance(value, ModuleType):  # it has no part in what its decorators made
            own = self._sources.packs(vars(value))
            statements = [one for one in statements if own and not isinstance(one, Definition)] + moving
        elif not is_code:  # what a decorator made of a function is not seen
            statements += text.definitions.get(name, [])
        used = {one for one in names(*statements) if one[0] != name}
        said = [[_mark(shown(one)) for one in statements], self._used(space, used)]
        if moving:
            return said  # what it stands for changes when they run
        if is_code:
            return [*said, self.held(value)]
        nodes = [] if statements else text.imported.get(name) or text.imported.get("*", [])
        files = self._imported(nodes, space)
        plain = isinstance(value, (*_PLAIN, tuple, frozenset, Enum))
        if self._encode or (plain and not statements and not files):
            return [*said, files, self.held(value)]
        inside: Any = value if type(value) in (*_HOLD, tuple, frozenset) else ()
        inside = value.values() if type(value) is dict else inside
        registered = [one for one in inside if isinstance(one, FunctionType | type) and is_named(one)]
        return [*said, files, [self.held(one) for one in sorted(registered, key=order)]]

    def _whole(self, file: str) -> int:
        """A file of the project with those that it imports: where what is used of it is not told apart."""

        def tell() -> Any:
            text = self._sources.text({"__file__": file})
            return [place, _mark(text.whole), self._imported(text.imports, {"__file__": file})]

        place = self._sources.place(file)
        return self._number(place, tell)

    def _imported(self, nodes: list[Import], module: Names) -> list[int]:
        return [self._whole(file) for file in self._sources.imported(nodes, module)]


def _mark(text: str) -> str:
    return digest_bytes(text.encode("utf-8", "surrogatepass"))
