"""The key of an execution: a digest of the code and of what it is given. Equal keys, equal results.

The code of a step is its function and, followed through the names it uses, every function and class of the
same project (the folder of its file and below) and every constant. Libraries are not followed: their
versions are in the environment lock, and a new one makes no step run again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from homeostat.domain.declarations.base import PROJECT_MODULE
from homeostat.domain.declarations.pipelines import Step
from homeostat.domain.digests import digest_bytes, digest_of, source_of
from homeostat.engine.pipelines import codec


def key_of(step: Step, arguments: dict[str, str]) -> str:
    """The key of executing ``step`` with arguments of these digests, by name."""
    return digest_of({"code": code_digest(step.function), "arguments": arguments})


def code_digest(function: Callable[..., Any]) -> str:
    """The digest of what ``function`` does, as far as its project says it.

    Raises:
        NotKept: it closes over a value that has no digest.
    """
    root = Path(inspect.getfile(function)).resolve().parent
    parts: dict[str, str] = {}
    _follow(function.__qualname__, function, root, parts, set())
    return digest_of(parts)


def _follow(name: str, function: Any, root: Path, parts: dict[str, str], seen: set[int]) -> None:
    if id(function) in seen:
        return
    seen.add(id(function))
    parts[name] = digest_bytes(_text(function).encode())
    for used, value in _enclosed(function).items():
        if not _follow_value(f"{name}.{used}", value, root, parts, seen):
            # Closures made twice from one text differ only in these, so none may be passed over.
            raise codec.NotKept(f"{used!r}, which it closes over, is a {type(value).__qualname__}")
    for used, value in _globals(function).items():
        _follow_value(f"{_module(function)}.{used}", value, root, parts, seen)


def _module(function: Any) -> str:
    """The module of a function; a project's own is named after the folder it lies in, which is no part of its code."""
    name: str = function.__module__
    return "project" if name.startswith(PROJECT_MODULE) else name


def _follow_value(name: str, value: Any, root: Path, parts: dict[str, str], seen: set[int]) -> bool:
    """Note ``value`` in ``parts``; False when nothing can be said about it."""
    value = value.function if isinstance(value, Step) else value
    if isinstance(value, ModuleType):
        return True
    if isinstance(value, FunctionType | type):
        if _is_own(value, root):
            _follow(name, value, root, parts, seen)
        return True
    try:
        parts[name] = digest_bytes(codec.encode(value))
    except codec.NotKept:
        return callable(value)
    return True


def _text(function: Any) -> str:
    """The source; for a lambda, whose line need not parse alone, its compiled code."""
    try:
        return source_of(function)
    except (OSError, SyntaxError) as error:
        if not isinstance(function, FunctionType):
            raise codec.NotKept(f"the source of {function.__qualname__} cannot be read") from error
        return _compiled(function.__code__)


def _compiled(code: CodeType) -> str:
    constants = [_compiled(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return repr((code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, constants))


def _is_own(value: Any, root: Path) -> bool:
    try:
        file = Path(inspect.getfile(value)).resolve()
    except (TypeError, OSError):
        return False  # a builtin
    return file.is_relative_to(root) and "site-packages" not in file.parts


def _enclosed(function: Any) -> dict[str, Any]:
    if not isinstance(function, FunctionType) or function.__closure__ is None:
        return {}
    cells = zip(function.__code__.co_freevars, function.__closure__, strict=True)
    return {name: cell.cell_contents for name, cell in cells if name != "__class__"}


def _globals(function: Any) -> dict[str, Any]:
    """The module's names that a function, or a method of a class, uses."""
    members = vars(function).values() if isinstance(function, type) else [function]
    found: dict[str, Any] = {}
    for member in members:
        plain = inspect.unwrap(member) if callable(member) else getattr(member, "__func__", None)
        if isinstance(plain, FunctionType):
            names = _names(plain.__code__)
            found |= {name: value for name, value in plain.__globals__.items() if name in names}
    return found


def _names(code: CodeType) -> set[str]:
    """The names in a function, and in those that stand inside it."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*(_names(one) for one in inner))
