"""What Python tells of objects: which functions they are made of, and what these and other objects hold."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import time
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, partial, partialmethod, singledispatchmethod
from inspect import getattr_static, unwrap
from re import Pattern
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, Final
from uuid import UUID

_DESCRIPTORS: Final = (
    classmethod,
    staticmethod,
    property,
    cached_property,
    partialmethod,
    singledispatchmethod,
)
_FIXED: Final = (complex, range, Decimal, Fraction, UUID)
_GENERATED: Final = ("<string", "<attrs")
_PARTS: Final = ("__func__", "fget", "fset", "fdel", "func", "dispatcher")


def of_python(value: Any) -> FunctionType | None:
    """The function inside of wrappers, partials and methods, or that an object has when it is called."""
    if isinstance(value, FunctionType):
        return value
    inner = value.func if isinstance(value, partial) else getattr_static(value, "__wrapped__", None)
    if isinstance(value, MethodType) or callable(inner):
        return of_python(inner or value.__func__)
    called = getattr_static(type(value), "__call__", None)
    return called if isinstance(called, FunctionType) else None


def functions(member: Any) -> list[FunctionType]:
    """The functions that a member of a class is made of, but for those that the class' decorator generated."""
    look = getattr if isinstance(member, _DESCRIPTORS) else getattr_static
    found = map(of_python, [member, *(look(member, part, None) for part in _PARTS)])
    return [one for one in found if one and not _is_generated(unwrap(one))]


def _is_generated(function: Any) -> bool:
    code = getattr(function, "__code__", None)  # a function of C has none
    return code is not None and code.co_filename.startswith(_GENERATED)


def wrapped(value: Any) -> bool:
    """Whether a value is called in place of another one."""
    return callable(value) and callable(getattr_static(value, "__wrapped__", None))


def wrapped_by(function: FunctionType) -> list[Any]:
    """What a function says that it wraps."""
    return [vars(function)["__wrapped__"]] if wrapped(function) else []


def is_named(one: Any) -> bool:
    """Whether a function or class is found by its name, and not made when something runs."""
    return "<locals>" not in one.__qualname__


def is_below(one: type, given: type) -> bool:
    """Whether a class is defined in the body of another."""
    return one.__qualname__.startswith(f"{given.__qualname__}.")


def defaults(function: FunctionType) -> dict[str, Any]:
    """The defaults of a function's arguments, by name."""
    code, given = function.__code__, function.__defaults__ or ()
    last = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
    return dict(zip(last, given, strict=True)) | (function.__kwdefaults__ or {})


def cell_of(cell: CellType) -> Any:
    """What a function closes over."""
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not there yet


def names_of(code: CodeType) -> set[str]:
    """The names of its module and of attributes that are in a function, and in those that stand inside it."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(names_of, inner))


def content(value: Any) -> bytes | None:
    """What a value of a library that never changes is; None of any other, which counts by its type."""
    if type(value) in _FIXED:
        return repr(value).encode()
    if isinstance(value, time):
        return value.isoformat().encode()
    if isinstance(value, Pattern):
        return repr((value.pattern, value.flags)).encode()
    numpy = sys.modules.get("numpy")  # a value of a library that nobody imported does not exist
    if numpy is not None and isinstance(value, numpy.generic) and not isinstance(value, numpy.void):
        return f"{value.dtype} {value!s}".encode()
    polars = sys.modules.get("polars")
    if polars is None or not isinstance(value, (polars.Expr, polars.DataType)):
        return None
    if isinstance(value, polars.DataType):
        return repr(value).encode()
    # One with a function of Python, which names its file, how it reads.
    said: bytes = str(value).encode() if "python_udf" in str(value) else value.meta.serialize()
    return said


def state_of(value: Any) -> Any:
    """What an object of a class of the project keeps, in its dictionary and in slots."""
    try:
        return object.__getstate__(value)
    except TypeError:
        return None


def order(value: Any) -> str:
    """By what the parts of a set are ordered, in every process alike."""
    if isinstance(value, tuple | frozenset):
        return repr(sorted(map(order, value)))
    return f"{type(value).__name__} {getattr(value, '__qualname__', '') or repr(value)}"


def ordered(value: Iterable[Any]) -> Iterable[Any]:
    """What a list, tuple or set holds, in an order that is the same in every process."""
    return sorted(value, key=order) if isinstance(value, set | frozenset) else value


def compiled(code: CodeType) -> str:
    """What code does, where no text of it alone is to be had: of a lambda, whose line may hold others."""
    constants = [_constant(one) for one in code.co_consts]
    return repr((code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, constants))


def _constant(one: Any) -> str:
    if isinstance(one, CodeType):
        return compiled(one)
    return repr(sorted(map(repr, one))) if isinstance(one, frozenset) else repr(one)
