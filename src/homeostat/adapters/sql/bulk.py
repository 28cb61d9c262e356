"""Writing many records of one class: checked column by column, and run past SQLAlchemy.

The statement is the one of ``statements.write``. SQLite runs it for each row; PostgreSQL takes all rows at once, an
array for each column.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from operator import attrgetter
from typing import Final

from sqlalchemy import Connection

from homeostat.adapters.sql import statements
from homeostat.adapters.sql.columns import Flag, Json, Kept, Moment, Payload, Real, Whole, Words
from homeostat.adapters.sql.prepared import Prepared, prepared
from homeostat.domain.records import Record

_ARRAYS: Final[dict[type[Kept], str]] = {
    Words: "text",
    Json: "text",
    Whole: "bigint",
    Moment: "bigint",
    Real: "double precision",
    Flag: "boolean",
    Payload: "bytea",
}


def write(
    connection: Connection, records: Sequence[Record], *, replace: bool, by: tuple[str, ...] = ()
) -> int:
    """Write records of one class with different keys; returns how many rows that made or changed.

    Raises:
        BadRequest: a value is none that its column holds.
    """
    dialect = connection.dialect
    form = prepared(statements.write(type(records[0]), dialect.name, replace, by), dialect)
    columns = [
        kept.bind_all(list(map(attrgetter(field), records)), dialect)
        for field, kept in zip(form.names, form.types, strict=True)
    ]
    if dialect.name == "sqlite":
        return connection.exec_driver_sql(form.text, list(zip(*columns, strict=True))).rowcount
    return connection.exec_driver_sql(_of_arrays(form), tuple(columns)).rowcount


def distinct(records: Sequence[Record]) -> bool:
    """Whether no two records have the same key."""
    names = records[0].KEY
    if len(names) == 1:
        return len(set(map(attrgetter(names[0]), records))) == len(records)
    return len(set(map(attrgetter(*names), records))) == len(records)


@cache
def _of_arrays(form: Prepared) -> str:
    """The statement with an array for each column in place of a row."""
    head, _, rest = form.text.partition(" VALUES ")
    arrays = ", ".join(f"%s::{_ARRAYS[type(kept)]}[]" for kept in form.types)
    return f"{head} SELECT * FROM unnest({arrays}) ON CONFLICT {rest.partition(' ON CONFLICT ')[2]}"
