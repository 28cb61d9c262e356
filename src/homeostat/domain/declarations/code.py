"""The digest of code: what a function does, as far as its project says it. Equal digests, equal doings.

A function is its text, its defaults, what it closes over and, followed through the names that it uses, every function,
class, module and value of the same project: what lies in the folder that its module was imported from, and below.
Libraries are not followed: their versions are in the environment lock. Values count by the content that they have when
the digest is asked for, as pickle writes it; nothing is ever read back. What has none (a lock, a connection) is refused
rather than passed over. What a function finds by a name that it puts together (``globals()[…]``) is not seen.
"""

from __future__ import annotations

import ast
import builtins
import dis
import importlib.util
import inspect
import io
import pickle
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from homeostat.domain.declarations.base import Declaration
from homeostat.domain.digests import canonical, digest_bytes

_LOADS: Final = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_ATTRIBUTES: Final = ("LOAD_ATTR", "LOAD_METHOD")
_SILENT: Final = ("EXTENDED_ARG", "CACHE", "PUSH_NULL")
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_LIBRARIES: Final = frozenset({"homeostat", *sys.stdlib_module_names})
_Cached: Final = type(lru_cache(len))


class NoDigest(TypeError):
    """Code that stands on something which cannot be told from others like it; the message names it."""


def code_digest(function: Callable[..., Any]) -> str:
    """The digest of what ``function`` does.

    Raises:
        NoDigest: it uses a value that has no content, or its source cannot be read.
    """
    name = getattr(function, "__name__", type(function).__name__)
    return _Reader(_of_python(function)).content(function, name, "is")


def _of_python(function: Any) -> FunctionType:
    """The function inside of wrappers, partials and methods, or that an object has when it is called."""
    inner = [
        getattr(function, name) for name in ("__wrapped__", "func", "__func__") if hasattr(function, name)
    ]
    called = getattr(type(function), "__call__", None)  # noqa: B004 - which function it is, not whether there is one
    if inner:
        return _of_python(inner[0])
    found = next((one for one in (function, called) if isinstance(one, FunctionType)), None)
    if found is None:
        raise NoDigest(f"{function!r} is no function of Python")
    return found


class _Reader:
    """Says what things are in terms that JSON can hold; what was said once is named by its number."""

    def __init__(self, function: FunctionType) -> None:
        name = function.__globals__.get("__name__", "")
        file = Path(function.__globals__.get("__file__") or function.__code__.co_filename).resolve()
        self._root = file.parents[name.count(".") + (file.name == "__init__.py")]  # that it was imported from
        self._said: dict[int, tuple[int, Any]] = {}  # with the things: an id counts as long as they live
        self._files: dict[str, Path] = {name: file}  # of modules that may be gone from sys.modules by now

    def say(self, value: Any) -> Any:
        """What ``value`` is. Code may call itself, and cycles of it end: here and nowhere else."""
        if id(value) in self._said:
            return self._said[id(value)][0]
        self._said[id(value)] = (len(self._said), value)
        if isinstance(value, Declaration):
            function = getattr(value, "function", None)  # of a step, which calls it
            return self.say(function) if function is not None else ["declared", str(value.ref)]
        if isinstance(value, ModuleType):
            file = self._file(value.__name__, value.__dict__.get("__file__"))
            return ["module", self._texts(file)] if file else ["library", value.__name__]
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        return ["wraps", self.say(value.__wrapped__)]

    def content(self, value: Any, name: str, how: str) -> str:
        """The digest of a value, with code in it as it is said."""
        sink = io.BytesIO()
        try:
            _Pickler(sink, self).dump(value)
        except NoDigest as error:
            raise NoDigest(f"{error}, in {name!r}, which it {how}") from error
        except Exception as error:
            raise NoDigest(f"{name!r}, which it {how}, is a {type(value).__qualname__}") from error
        return digest_bytes(sink.getvalue())

    def _function(self, function: FunctionType) -> Any:
        module = function.__globals__.get("__name__", "")
        file = self._file(module, function.__globals__.get("__file__"))
        inner = getattr(function, "__wrapped__", None)
        code, cells = function.__code__, {}
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                try:
                    cells[name] = self.content(cell.cell_contents, name, "closes over")
                except NoDigest:
                    if file is not None or inner is None:
                        raise  # else a library's decorator, whose own state is its own business
        if file is None:
            return ["library", module, code.co_qualname, cells, inner and self.say(inner)]
        text = _text(code)
        defaults = [function.__defaults__, function.__kwdefaults__]
        return [
            "function",
            text,
            self.content(defaults, "defaults", "is declared with"),
            cells,
            self._uses(code, function.__globals__),
            self._decorators(text, function.__globals__),
        ]

    def _class(self, given: type) -> Any:
        file = self._file(given.__module__)
        if file is None:
            return ["library", given.__module__, given.__qualname__]
        text = _class_text(file, given.__qualname__)
        members: dict[str, Any] = {}
        space: dict[str, Any] = {}
        for name, member in sorted(vars(given).items()):
            for number, part in enumerate(_parts(member)):
                if isinstance(part, FunctionType):
                    members[f"{name} {number}"] = self.say(part)
                    space = part.__globals__
                elif not name.startswith("__"):
                    try:
                        members[f"{name} {number}"] = self.content(part, name, "holds")
                    except NoDigest:
                        continue  # the text of the class says how it is made
        bases = [self.say(base) for base in (*given.__mro__[1:], type(given))]
        return ["class", given.__qualname__, text, members, bases, self._decorators(text, space)]

    def _uses(self, code: CodeType, space: dict[str, Any]) -> dict[str, Any]:
        """What the names stand for that code uses: those of its module, and what it imports itself."""
        found: dict[str, Any] = {}
        for names in sorted(set(_names(code))):
            if names[0] == "import":
                found[" ".join(names)] = self._imported(names[1], names[2:], space)
            elif names[0] in space:
                value, rest = space[names[0]], list(names[1:])
                while isinstance(value, ModuleType) and rest and self._is_own(value):
                    value = getattr(value, rest.pop(0), value)
                found[".".join(names)] = self.content(value, ".".join(names), "uses")
            elif not hasattr(builtins, names[0]):
                found[names[0]] = None  # not there yet
        return found

    def _decorators(self, text: str, space: dict[str, Any]) -> list[Any]:
        """What stands above a function or class: it made of it what it is."""
        above = getattr(ast.parse(text).body[0], "decorator_list", []) if text else []
        return [self._uses(compile(ast.Expression(node), "", "eval"), space) for node in above]

    def _imported(self, level: str, names: tuple[str, ...], space: dict[str, Any]) -> list[str]:
        """The texts of a module that a function imports when it runs."""
        base = "." * int(level) + names[0]
        try:
            module = importlib.util.resolve_name(base, space.get("__package__") or space.get("__name__", ""))
        except ImportError:
            return []
        files = [self._file(one) for one in (module, *(f"{module}.{name}" for name in names[1:]))]
        return [text for file in files if file for text in self._texts(file)]

    def _is_own(self, module: ModuleType) -> bool:
        return self._file(module.__name__, module.__dict__.get("__file__")) is not None

    def _file(self, module: str | None, known: str | None = None) -> Path | None:
        """The file of a module, if the project has it."""
        name = module or ""
        if name not in self._files:
            if name.split(".")[0] in _LIBRARIES:
                return None
            path = self._root.joinpath(*name.split("."))
            places = [Path(known)] if known else [path.with_suffix(".py"), path / "__init__.py"]
            file = next((place.resolve() for place in places if known or place.is_file()), None)
            if file is None or not file.is_relative_to(self._root) or _INSTALLED & set(file.parts):
                return None
            self._files[name] = file
        return self._files[name]

    def _texts(self, file: Path) -> list[str]:
        """The text of a whole module of the project, and of those that it imports."""
        if id(file) in self._said:
            return []
        self._said[id(file)] = (len(self._said), file)
        tree = _parsed(str(file), file.stat().st_mtime_ns)
        found = [ast.unparse(tree)]
        for node in ast.walk(tree):
            names = [one.name for one in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                above = file.relative_to(self._root).parent.parts
                base = [
                    *(above[: len(above) + 1 - node.level] if node.level else ()),
                    *(node.module or "").split("."),
                ]
                start = ".".join(filter(None, base))
                names = [start, *(f"{start}.{name}".lstrip(".") for name in names)]
            for inner in filter(None, map(self._file, filter(None, names))):
                found.extend(self._texts(inner))
        return found


class _Pickler(pickle.Pickler):
    """Writes values; code in them is written as a reader says it, sets in an order, and nothing by identity."""

    def __init__(self, sink: io.BytesIO, reader: _Reader) -> None:
        super().__init__(sink, protocol=4)
        self.fast = True  # equal values give equal bytes, whichever of their parts are one object
        self._reader = reader

    def persistent_id(self, obj: Any) -> bytes | None:
        kind = type(obj)
        if kind in (set, frozenset):
            return canonical([kind.__name__, sorted(self._reader.content(one, "it", "holds") for one in obj)])
        if isinstance(obj, FunctionType | type | ModuleType | Declaration) or kind is _Cached:
            return canonical(self._reader.say(obj))
        return None


def _parts(member: Any) -> list[Any]:
    """What a member of a class is made of: the functions of a property or a class method, or itself."""
    parts = [getattr(member, part, None) for part in ("__func__", "fget", "fset", "fdel", "func")]
    return [part for part in parts if part is not None] or [member]


def _names(code: CodeType) -> Iterator[tuple[str, ...]]:
    """The dotted names that code loads from its module, and ``("import", level, module, …)``."""
    steps = [one for one in dis.get_instructions(code) if one.opname not in _SILENT]
    for index, one in enumerate(steps):
        if one.opname in _LOADS:
            names = [one.argval]
            for following in steps[index + 1 :]:
                if following.opname not in _ATTRIBUTES:
                    break
                names.append(following.argval)
            yield tuple(names)
        elif one.opname == "IMPORT_NAME":
            level, members = steps[index - 2].argval, steps[index - 1].argval
            yield ("import", str(level), one.argval, *(members or ()))
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _text(code: CodeType) -> str:
    """The source without comments and layout; of a lambda, whose line may hold others, its compiled code."""
    if code.co_name == "<lambda>":
        return _compiled(code)
    try:
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(code))))
    except (OSError, SyntaxError):
        return _compiled(code)


def _compiled(code: CodeType) -> str:
    constants = [_constant(one) for one in code.co_consts]
    return repr((code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, constants))


def _constant(one: Any) -> str:
    if isinstance(one, CodeType):
        return _compiled(one)
    return repr(sorted(map(repr, one))) if isinstance(one, frozenset) else repr(one)


def _class_text(file: Path, qualname: str) -> str:
    """The statement that makes a class, without comments and layout; empty where a call made it."""
    node: Any = _parsed(str(file), file.stat().st_mtime_ns) if file.is_file() else None
    for name in qualname.split("."):
        if name != "<locals>" and node is not None:
            inside = (one for one in ast.walk(node) if getattr(one, "name", None) == name)
            node = next((one for one in inside if isinstance(one, ast.ClassDef | ast.FunctionDef)), None)
    return ast.unparse(node) if node is not None else ""


@lru_cache(maxsize=64)
def _parsed(file: str, _changed: int) -> ast.Module:
    return ast.parse(Path(file).read_bytes())
