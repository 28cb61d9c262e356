"""Writing many records of one class, past SQLAlchemy, whose work for each row costs more than SQLite's.

The statement is the one of ``statements.write``, compiled once. SQLite runs it for each row; PostgreSQL takes all rows
at once, an array for each column.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from homeostat.adapters.sql import statements
from homeostat.adapters.sql.columns import Flag, Json, Kept, Moment, Payload, Real, Whole, Words
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


class _Form(NamedTuple):
    """A statement, and the fields whose values are its parameters, with the types that check and convert them."""

    text: str
    fields: tuple[str, ...]
    types: tuple[Kept, ...]


def write(
    connection: Connection, records: Sequence[Record], *, replace: bool, by: tuple[str, ...] = ()
) -> int:
    """Write records of one class with different keys; returns how many rows that made or changed.

    Raises:
        BadRequest: a value is none that its column holds.
    """
    dialect = connection.dialect.name
    form = _form(type(records[0]), dialect, replace, by)
    columns = [
        kept.bind_all(list(map(attrgetter(field), records)), connection.dialect)
        for field, kept in zip(form.fields, form.types, strict=True)
    ]
    values: Any = list(zip(*columns, strict=True)) if dialect == "sqlite" else tuple(columns)
    return connection.exec_driver_sql(form.text, values).rowcount


def distinct(records: Sequence[Record]) -> bool:
    """Whether no two records have the same key."""
    names = records[0].KEY
    if len(names) == 1:
        return len(set(map(attrgetter(names[0]), records))) == len(records)
    return len(set(map(attrgetter(*names), records))) == len(records)


@cache
def _form(kind: type[Record], dialect: str, replace: bool, by: tuple[str, ...]) -> _Form:
    statement = statements.write(kind, dialect, replace, by)
    table = statements.table_of(kind)
    if dialect == "sqlite":
        compiled = statement.compile(dialect=sqlite.dialect())
        fields = tuple(compiled.positiontup or ())
        return _Form(str(compiled), fields, tuple(cast(Kept, table.c[name].type) for name in fields))
    fields = tuple(column.name for column in table.c)
    kinds = tuple(cast(Kept, column.type) for column in table.c)
    text = str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    head, tail = text.partition(" VALUES ")[0], text.partition(" ON CONFLICT ")[2]
    arrays = ", ".join(f"%s::{_ARRAYS[type(one)]}[]" for one in kinds)
    return _Form(f"{head} SELECT * FROM unnest({arrays}) ON CONFLICT {tail}", fields, kinds)
