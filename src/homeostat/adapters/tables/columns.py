"""Columns as Delta Lake can hold them.

Times become microseconds in UTC (a naive one is taken for UTC), categories become text, unsigned integers
become the signed type that holds them. A column of nothing but nulls has no type yet: it is left out, reads
as null once a later version gives it a type, and never forbids one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from homeostat.domain.errors import BadRequest, Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl


def conformed(name: str, rows: pl.DataFrame, table: Mapping[str, Any]) -> pl.DataFrame:
    """``rows`` with the types of ``table`` (column to polars type; empty for a new table), or storable ones.

    Raises:
        Conflict: a column has a type whose values the table's column cannot hold.
        BadRequest: no column has a type, or one has a type that Delta Lake does not know.
    """
    import polars as pl

    types: dict[str, Any] = {}
    for column, found in rows.schema.items():
        wanted = table.get(column) or _storable(name, column, found)
        if wanted is None:
            continue
        if not _fits(found, wanted):
            raise Conflict(
                f"column {column!r} of table {name} is {wanted}, and the new rows have {found}",
                remedy="Cast the rows, or give the changed column another name",
            )
        types[column] = wanted
    if not types and not table:
        raise BadRequest(f"the rows for table {name} have no column with a type")
    if types == rows.schema:
        return rows
    try:
        return rows.select(pl.col(column).cast(wanted) for column, wanted in types.items())
    except pl.exceptions.InvalidOperationError as error:
        raise Conflict(f"table {name} cannot hold a value: {error}", remedy="Check the rows") from error


def _fits(found: Any, wanted: Any) -> bool:
    """Whether every value of ``found`` either is one of ``wanted`` or makes the cast fail."""
    import polars as pl

    if found == wanted or found == pl.Null or (found.is_integer() and wanted.is_numeric()):
        return True
    if found.is_float() and wanted.is_float():
        return bool(wanted == pl.Float64)
    if isinstance(found, pl.Enum | pl.Categorical):
        return bool(wanted == pl.String)
    if found.is_nested():
        return type(wanted) is type(found) or (isinstance(found, pl.Array) and isinstance(wanted, pl.List))
    return isinstance(found, pl.Datetime) and isinstance(wanted, pl.Datetime)


def _storable(name: str, column: str, found: Any) -> Any:
    """The type to store ``found`` as; None where it is not known yet."""
    import polars as pl

    if isinstance(found, pl.Null):
        return None
    if isinstance(found, pl.Datetime):
        return pl.Datetime("us", "UTC")
    if isinstance(found, pl.Enum | pl.Categorical):
        return pl.String()
    if found.is_unsigned_integer():
        return {pl.UInt8: pl.Int16(), pl.UInt16: pl.Int32()}.get(type(found), pl.Int64())
    if isinstance(found, pl.List | pl.Array):
        inner = _storable(name, column, found.inner)
        return None if inner is None else pl.List(inner)
    if isinstance(found, pl.Struct):
        fields = {field.name: _storable(name, column, field.dtype) for field in found.fields}
        return None if None in fields.values() else pl.Struct(fields)
    if isinstance(found, pl.Duration | pl.Time | pl.Object):
        raise BadRequest(
            f"column {column!r} of table {name} is {found}, which Delta Lake cannot hold",
            field=column,
            remedy="Store it as a number or a text",
        )
    return found
