"""Contracts: the columns of a dataset, their types and the values they may hold.

A contract is a class of annotated fields. The same class checks columns of a table and the fields of a request,
so what training accepts and what serving accepts cannot differ::

    class Weather(hs.Contract):
        origin: Literal["EWR", "JFK", "LGA"]
        observed_at: datetime
        temp: Annotated[float, hs.Check(ge=-30, le=120, unit="°F")] | None     # None: may be missing
"""

from __future__ import annotations

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
) -> msgspec.Meta:
    """What the values of a column may be, for ``Annotated``.

    Args:
        ge: At least this.
        gt: More than this.
        le: At most this.
        lt: Less than this.
        pattern: A regular expression that is found in the text.
        unit: What a number counts, as ``"°F"`` or ``"min"``; told to people, and not checked.
    """
    said: dict[str, Any] = {"ge": ge, "gt": gt, "le": le, "lt": lt, "pattern": pattern}
    return msgspec.Meta(**said, extra={"unit": unit} if unit else None)


class Contract(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of contracts. Fields may be ``str``, ``float``, ``int``, ``bool``, ``datetime`` (UTC) or a ``Literal``."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a contract: its type and which values it may hold; bounds are in the column's own unit."""

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


def columns_of(contract: type[Contract]) -> tuple[Column, ...]:
    """The columns that ``contract`` declares, in order.

    Raises:
        DeclarationError: a field has a type that no column can hold.
    """
    info = types.type_info(contract)
    assert isinstance(info, types.StructType)
    return tuple(_column(contract.__name__, field) for field in info.fields)


def _column(contract: str, field: types.Field) -> Column:
    inner, units = field.type, _units(field.type)
    inner = inner.type if isinstance(inner, types.Metadata) else inner
    nullable = False
    if isinstance(inner, types.UnionType):
        members = [t for t in inner.types if not isinstance(t, types.NoneType)]
        nullable = len(members) < len(inner.types)
        inner = members[0] if len(members) == 1 else inner
        units += _units(inner)
    if isinstance(inner, types.Metadata):
        inner = inner.type
    bounds: dict[str, Any] = {
        name: getattr(inner, name) for name in ("ge", "gt", "le", "lt", "pattern") if hasattr(inner, name)
    }
    if isinstance(inner, types.LiteralType):
        kind: ColumnType = "string" if isinstance(inner.values[0], str) else "integer"
        return Column(
            name=field.name,
            type=kind,
            nullable=nullable,
            choices=tuple(v for v in inner.values if v is not None and not isinstance(v, bool)),
            unit=units[0] if units else None,
        )
    if type(inner) not in _TYPES:
        raise DeclarationError(
            f"field {field.name!r} has a type that a column cannot hold",
            remedy="Use str, float, int, bool, datetime or a Literal, each alone or with None",
            declaration=f"contract {contract}",
        )
    unit = units[0] if units else None
    return Column(name=field.name, type=_TYPES[type(inner)], nullable=nullable, unit=unit, **bounds)


def _units(given: types.Type) -> list[str]:
    """The unit that a part of an annotation names, if it does."""
    extra = given.extra if isinstance(given, types.Metadata) else None
    return [extra["unit"]] if extra and "unit" in extra else []


_PYTHON: dict[ColumnType, Any] = {
    "string": str,
    "float": float,
    "integer": int,
    "boolean": bool,
    "datetime": datetime,
}


def request_type(name: str, columns: tuple[Column, ...]) -> type[msgspec.Struct]:
    """A struct that accepts exactly what ``columns`` accept; nullable columns may be left out."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for column in columns:
        base: Any = Literal[column.choices] if column.choices else _PYTHON[column.type]
        bounds = {k: v for k in ("ge", "gt", "le", "lt", "pattern") if (v := getattr(column, k)) is not None}
        if column.type == "integer" and not column.choices:
            bounds = _integral(bounds)
        if column.type == "datetime":
            bounds["tz"] = True
        kind = Annotated[base, msgspec.Meta(**bounds)] if bounds else base
        fields.append((column.name, kind | None, None) if column.nullable else (column.name, kind))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _integral(bounds: dict[str, Any]) -> dict[str, Any]:
    """The bounds of a 64-bit integer: msgspec refuses floats there, and read back from a store they are."""
    least = max(ceil(bounds.get("ge", _LEAST)), floor(bounds["gt"]) + 1 if "gt" in bounds else _LEAST)
    most = min(floor(bounds.get("le", _MOST)), ceil(bounds["lt"]) - 1 if "lt" in bounds else _MOST)
    return {"ge": max(least, _LEAST), "le": min(most, _MOST)}
