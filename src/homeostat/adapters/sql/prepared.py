"""Statements as the driver takes them: compiled once, then run past SQLAlchemy, whose work for each run costs more
than SQLite's.

Texts, checks and conversions are those of the statement and its columns all the same, and errors are SQLAlchemy's. What
is run on is the driver's own connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import ClauseElement, Dialect, Engine, Select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from homeostat.adapters.sql.columns import Kept

# PostgreSQL's numbers and bytes need not become texts on their way.
_HOW: Final[dict[str, dict[str, bool]]] = {"sqlite": {}, "postgresql": {"binary": True}}


class Prepared:
    """A statement compiled for one dialect.

    Args:
        statement: One whose parameters are bound names.
        dialect: That of a store's engine, whose parameters have places.
    """

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self.text: Final[str] = compiled.string
        self.names: Final[tuple[str, ...]] = tuple(compiled.positiontup)
        self.types: Final[tuple[Any, ...]] = tuple(compiled.binds[name].type for name in self.names)
        self._fixed = {
            name: compiled.binds[name].value for name in self.names if not compiled.binds[name].required
        }
        self._dialect = dialect
        self._checks = [
            (place, kept.process_bind_param)
            for place, kept in enumerate(self.types)
            if isinstance(kept, Kept)
        ]
        columns = statement.selected_columns if isinstance(statement, Select) else ()
        self._reads: list[tuple[int, Callable[[Any], Any]]] = [
            (place, column.type.field_of)
            for place, column in enumerate(columns)
            if isinstance(column.type, Kept) and column.type.field_of is not None
        ]

    def bound(self, values: Mapping[str, Any]) -> list[Any]:
        """The parameters in order.

        Raises:
            BadRequest: a value is none that its column holds.
        """
        if self._fixed:
            values = {**self._fixed, **values}
        found = [values[name] for name in self.names]
        for place, check in self._checks:
            found[place] = check(found[place], self._dialect)
        return found

    def read(self, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        """Rows as the driver gives them, with the values of fields."""
        if not self._reads:
            return rows
        found = [list(row) for row in rows]
        for row in found:
            for place, field_of in self._reads:
                if row[place] is not None:
                    row[place] = field_of(row[place])
        return found


@lru_cache(maxsize=4096)
def prepared(statement: ClauseElement, dialect: Dialect) -> Prepared:
    """The statement compiled, once for each object."""
    return Prepared(statement, dialect)


@contextmanager
def connection_of(engine: Engine) -> Iterator[Any]:
    """A connection of the driver, as long as the block lasts: SQLAlchemy's around it takes as long as a read.

    Raises:
        SQLAlchemyError: the database does not answer.
    """
    try:
        pooled = engine.raw_connection()
    except engine.dialect.loaded_dbapi.Error as error:
        raise _wrapped(engine.dialect, None, error) from error
    try:
        yield pooled.dbapi_connection
    finally:
        pooled.close()


def rows(
    connection: Any, dialect: Dialect, statement: Select[Any], values: Mapping[str, Any]
) -> Sequence[Sequence[Any]]:
    """What a statement that stays finds.

    Raises:
        SQLAlchemyError: the database refuses it.
        BadRequest: a value is none that its column holds.
    """
    form = prepared(statement, dialect)
    return form.read(found(connection, dialect, form.text, form.bound(values)))


def change(connection: Any, dialect: Dialect, statement: ClauseElement, values: Mapping[str, Any]) -> int:
    """Run a statement that stays; returns how many rows it made, changed or removed. For errors see ``rows``."""
    form = prepared(statement, dialect)
    return command(connection, dialect, form.text, form.bound(values))


def command(connection: Any, dialect: Dialect, text: str, values: Sequence[Any] = ()) -> int:
    """Run a text of SQL; returns how many rows it made, changed or removed.

    Raises:
        SQLAlchemyError: the database refuses it.
    """
    return int(_run(connection, dialect, text, values).rowcount)


def found(connection: Any, dialect: Dialect, text: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
    """What a text of SQL finds, as the driver gives it. For errors see ``command``."""
    cursor = _run(connection, dialect, text, values)
    try:
        return cursor.fetchall()  # type: ignore[no-any-return]
    except dialect.loaded_dbapi.Error as error:  # SQLite reads on while it is asked for rows
        raise _wrapped(dialect, text, error) from error


def _run(connection: Any, dialect: Dialect, text: str, values: Sequence[Any]) -> Any:
    """The driver's cursor."""
    try:
        return connection.execute(text, values, **_HOW[dialect.name])
    except dialect.loaded_dbapi.Error as error:
        raise _wrapped(dialect, text, error) from error


def _wrapped(dialect: Dialect, text: str | None, error: Exception) -> SQLAlchemyError:
    return DBAPIError.instance(text, None, error, dialect.loaded_dbapi.Error, dialect=dialect)
