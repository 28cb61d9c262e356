"""Contract columns as Polars types, and columns inferred from a frame that has no contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from homeostat.domain.contracts import Column, ColumnType
from homeostat.domain.errors import ContractBroken

TYPES: Final[dict[ColumnType, pl.DataType]] = {
    "string": pl.String(),
    "float": pl.Float64(),
    "integer": pl.Int64(),
    "boolean": pl.Boolean(),
    "datetime": pl.Datetime("us", "UTC"),
}


def schema_of(columns: Sequence[Column]) -> pl.Schema:
    """The Polars schema of rows that meet the contract."""
    return pl.Schema({column.name: TYPES[column.type] for column in columns})


def infer(frame: pl.DataFrame, keys: Sequence[str] = ()) -> tuple[Column, ...]:
    """Columns that accept ``frame``; all but the keys may be missing.

    Raises:
        ContractBroken: a column has a type that no contract column has.
    """
    return tuple(
        Column(name=name, type=_inferred(name, dtype), nullable=name not in keys)
        for name, dtype in frame.schema.items()
    )


def _inferred(name: str, dtype: pl.DataType) -> ColumnType:
    if dtype.is_integer():
        return "integer"
    if dtype.is_float() or dtype.is_decimal():
        return "float"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_temporal() and dtype != pl.Duration and dtype != pl.Time:
        return "datetime"
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return "string"
    raise ContractBroken(
        f"column {name!r} has type {dtype}, which no contract column has",
        remedy="Turn it into text, a number, a boolean or a datetime, or drop it",
    )
