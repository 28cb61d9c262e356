"""Requests and what became of them, as frames: made of Python's values in the way that costs least."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from homeostat.domain.contracts import Column, attribute, request_type

if TYPE_CHECKING:
    import polars as pl

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def frame_of(rows: Sequence[msgspec.Struct], schema: pl.Schema) -> pl.DataFrame:
    """Requests as a frame.

    Few go by rows, since what a column of its own costs is more than its values do.
    """
    import polars as pl

    names = schema.names()
    if not names:
        return pl.DataFrame(height=len(rows))
    own = list(map(attribute, names))
    if len(rows) < len(names):
        return pl.DataFrame(list(map(attrgetter(*own), rows)), schema=schema, orient="row")
    columns = [list(map(attrgetter(one), rows)) for one in own]
    return pl.DataFrame([series(*each) for each in zip(names, columns, schema.values(), strict=True)])


def rows_of(frame: pl.DataFrame, columns: Sequence[Column]) -> list[Any]:
    """The rows of a frame as requests of these columns; nobody checks them."""
    kind = request_type("Request", tuple(columns), whole=True)
    return list(map(kind, *(values(frame[column.name]) for column in columns)))


def series(name: str, values: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    """A column of Python's values, those with a zone of any zone."""
    import polars as pl

    if dtype == pl.Datetime("us", "UTC"):
        return pl.Series(name, _micros(values), pl.Int64()).cast(dtype)
    return pl.Series(name, values, dtype)


def values(column: pl.Series) -> list[Any]:
    """A column as Python's values, times in UTC."""
    import polars as pl

    if not isinstance(column.dtype, pl.Datetime):
        return column.to_list()
    micros = column.dt.epoch("us").to_list()
    return [None if at is None else _EPOCH + timedelta(0, 0, at) for at in micros]


def _micros(times: Iterable[datetime | None]) -> list[int | None]:
    """Times as Polars keeps them: what it makes of them itself takes many times as long."""
    return [None if at is None else (at - _EPOCH) // _MICROSECOND for at in times]
