"""Contracts: the columns of a dataset, their types and the values they may hold.

A contract is a class of annotated fields. The same class checks columns of a table and the fields of a request,
so what training accepts and what serving accepts cannot differ::

    class Weather(hs.Contract):
        origin: Literal["EWR", "JFK", "LGA"]
        observed_at: datetime
        temp: Annotated[float, hs.Check(ge=-30, le=120, unit="°F")] | None     # None: may be missing
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from math import ceil, floor
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import inspect as types

from homeostat.domain.errors import DeclarationError

SEQ: Final = "_seq"
"""The column in which every stored row carries the seq of the batch it came in."""

_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1

ColumnType = Literal["string", "float", "integer", "boolean", "datetime"]

_TYPES: dict[type, ColumnType] = {
    types.StrType: "string",
    types.FloatType: "float",
    types.IntType: "integer",
    types.BoolType: "boolean",
    types.DateTimeType: "datetime",
}


def Check(
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    pattern: str | None = None,
    unit: str | None = None,
    size: int | None = None,
) -> msgspec.Meta:
    """What the values of a column may be, for ``Annotated``.

    Args:
        ge: At least this.
        gt: More than this.
        le: At most this.
        lt: Less than this.
        pattern: A regular expression that is found in the text, as Python's ``re.search`` finds it, in tables too:
            ``$`` is also found before a last line break, and ``\\Z`` at the very end alone.
        unit: What a number counts, as ``"°F"`` or ``"min"``; told to people, and not checked.
        size: How many numbers a vector has, of ``list[float]``.
    """
    said: dict[str, Any] = {"ge": ge, "gt": gt, "le": le, "lt": lt, "pattern": pattern}
    said |= {"min_length": size, "max_length": size}
    return msgspec.Meta(**said, extra={"unit": unit} if unit else None)


class Contract(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of contracts. Fields may be ``str``, ``float``, ``int``, ``bool``, ``datetime`` (UTC) or a ``Literal``.

    ``Annotated[list[float], hs.Check(size=8)]`` is a vector, as an embedding. It is kept as a column for each of its
    numbers, ``name__0`` to ``name__7``; tables and requests may hold it as a list, or as those columns. Bounds of its
    numbers stand inside, as in ``list[Annotated[float, hs.Check(ge=0)]]``.
    """


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a contract: its type and which values it may hold; bounds are in the column's own unit.

    ``vector`` is the name of the vector that it is a number of.
    """

    name: str
    type: ColumnType
    nullable: bool = False
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    pattern: str | None = None
    choices: tuple[str | int, ...] | None = None
    unit: str | None = None
    vector: str | None = None


def columns_of(contract: type[Contract]) -> tuple[Column, ...]:
    """The columns that ``contract`` declares, in order.

    Raises:
        DeclarationError: a field has a type that no column can hold.
    """
    info = types.type_info(contract)
    assert isinstance(info, types.StructType)
    return tuple(column for field in info.fields for column in _columns(contract.__name__, field))


def vectors(columns: Iterable[Column]) -> dict[str, list[str]]:
    """The columns of each vector, in the order of its numbers."""
    found: dict[str, list[str]] = {}
    for column in columns:
        if column.vector is not None:
            found.setdefault(column.vector, []).append(column.name)
    return found


def _columns(contract: str, field: types.Field) -> Iterator[Column]:
    inner, nullable = _plain(field.type)
    if not isinstance(inner, types.ListType):
        yield _column(contract, field)
        return
    number, missing = _plain(inner.item_type)
    if not isinstance(number, types.FloatType) or missing or not inner.max_length:
        raise DeclarationError(
            f"field {field.name!r} is a list that no column can hold",
            remedy="Write a vector like Annotated[list[float], hs.Check(size=8)]",
            declaration=f"contract {contract}",
        )
    bounds = {name: getattr(number, name) for name in ("ge", "gt", "le", "lt")}
    units = _units(field.type) + _units(inner.item_type)
    unit, vector = units[0] if units else None, field.encode_name
    for place in range(inner.max_length):
        name = f"{vector}__{place}"
        yield Column(name=name, type="float", nullable=nullable, vector=vector, unit=unit, **bounds)


def _plain(given: types.Type) -> tuple[types.Type, bool]:
    """A field's type without annotations and None, and whether it may be None."""
    inner, nullable = given.type if isinstance(given, types.Metadata) else given, False
    if isinstance(inner, types.UnionType):
        members = [one for one in inner.types if not isinstance(one, types.NoneType)]
        nullable = len(members) < len(inner.types)
        inner = members[0] if len(members) == 1 else inner
    return (inner.type if isinstance(inner, types.Metadata) else inner), nullable


def _column(contract: str, field: types.Field) -> Column:
    (inner, nullable), units = _plain(field.type), _units(field.type)
    bounds: dict[str, Any] = {
        name: getattr(inner, name) for name in ("ge", "gt", "le", "lt", "pattern") if hasattr(inner, name)
    }
    if isinstance(inner, types.LiteralType):
        kind: ColumnType = "string" if isinstance(inner.values[0], str) else "integer"
        return Column(
            name=field.encode_name,
            type=kind,
            nullable=nullable,
            choices=tuple(v for v in inner.values if v is not None and not isinstance(v, bool)),
            unit=units[0] if units else None,
        )
    if type(inner) not in _TYPES:
        raise DeclarationError(
            f"field {field.name!r} has a type that a column cannot hold",
            remedy="Use str, float, int, bool, datetime, a Literal or list[float], each alone or with None",
            declaration=f"contract {contract}",
        )
    unit = units[0] if units else None
    return Column(name=field.encode_name, type=_TYPES[type(inner)], nullable=nullable, unit=unit, **bounds)


def _units(given: types.Type) -> list[str]:
    """The units that an annotation names, of the field or of what it is where it is not None."""
    if isinstance(given, types.UnionType):
        return [unit for one in given.types for unit in _units(one)]
    if not isinstance(given, types.Metadata):
        return []
    own = [given.extra["unit"]] if given.extra and "unit" in given.extra else []
    return own + _units(given.type)


_PYTHON: dict[ColumnType, Any] = {
    "string": str,
    "float": float,
    "integer": int,
    "boolean": bool,
    "datetime": datetime,
}


def attribute(name: str) -> str:
    """How Python calls the column ``name`` of a request: as it is called, unless no attribute can be.

    The columns of a contract are attributes already; those of a file, or of a frame that a model was fitted on, are any
    texts.
    """
    if name.isidentifier() and not name.startswith("__"):
        return name
    return f"__{name.encode().hex()}__"  # no column that keeps its name begins so


def request_type(name: str, columns: tuple[Column, ...], *, whole: bool = False) -> type[msgspec.Struct]:
    """A struct that accepts exactly what ``columns`` accept.

    Args:
        name: What it is called.
        columns: What it holds; see ``attribute`` for where.
        whole: Whether nullable columns must be there; else they may be left out. Where none may, values
            can be given in order, without names.

    Raises:
        DeclarationError: a column has a name that cannot be read from JSON.
    """
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    for column in columns:
        base: Any = Literal[column.choices] if column.choices else _PYTHON[column.type]
        bounds = {k: v for k in ("ge", "gt", "le", "lt", "pattern") if (v := getattr(column, k)) is not None}
        if column.type == "integer" and not column.choices:
            bounds = _integral(bounds)
        if column.type == "datetime":
            bounds["tz"] = True
        kind = Annotated[base, msgspec.Meta(**bounds)] if bounds else base
        own = attribute(column.name)
        if own != column.name:
            names[own] = column.name
        if column.nullable:
            fields.append((own, kind | None) if whole else (own, kind | None, None))
        else:
            fields.append((own, kind))
    try:
        return msgspec.defstruct(
            name, fields, kw_only=not whole, forbid_unknown_fields=True, rename=names or None
        )
    except ValueError as error:
        raise DeclarationError(
            f"no request can hold a column of such a name: {error}",
            remedy="Name the columns without quotes, backslashes and control characters",
        ) from error


def _integral(bounds: dict[str, Any]) -> dict[str, Any]:
    """The bounds of a 64-bit integer: msgspec refuses floats there, and read back from a store they are."""
    least = max(ceil(bounds.get("ge", _LEAST)), floor(bounds["gt"]) + 1 if "gt" in bounds else _LEAST)
    most = min(floor(bounds.get("le", _MOST)), ceil(bounds["lt"]) - 1 if "lt" in bounds else _MOST)
    return {"ge": max(least, _LEAST), "le": min(most, _MOST)}
