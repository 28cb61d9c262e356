"""A database that another program made, only read: its tables as they are found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    Connection,
    Executable,
    column,
    create_engine,
    func,
    inspect,
    select,
    table,
)
from sqlalchemy.exc import SQLAlchemyError

from homeostat.domain.errors import BadRequest, StoreUnavailable

_PAGE: Final = 1000
_BATCH: Final = 50_000


class Database:
    """Reads tables of a database, each in statements of their own.

    Args:
        url: ``sqlite`` or ``postgresql``; a password comes from ``PGPASSWORD`` or ``.pgpass``.

    Raises:
        BadRequest: the URL cannot be.
        StoreUnavailable: the database does not answer.
    """

    def __init__(self, url: URL) -> None:
        if url.password or "password" in url.query:
            raise BadRequest(
                "the database's URL holds a password",
                field="source",
                remedy="Take it out and set PGPASSWORD, or use a .pgpass file",
            )
        self.name = url.render_as_string()
        self._sqlite = url.drivername == "sqlite"
        self._engine = _sqlite(url) if self._sqlite else _postgresql(url)
        try:
            with self._reading() as connection:
                found = inspect(connection)
                self.tables = {
                    name: {str(about["name"]) for about in found.get_columns(name)}
                    for name in found.get_table_names()
                }
        except BaseException:
            self.close()
            raise

    def rows(self, name: str, /, *, order: Sequence[str] = (), **where: Any) -> list[dict[str, Any]]:
        """The rows of a table in which columns have values; none where there is no such table."""
        known = self.tables.get(name)
        if known is None:
            return []
        statement: Any = select(*map(column, sorted(known))).select_from(table(name))
        statement = statement.where(*(column(key) == value for key, value in where.items()))
        with self._reading() as connection:
            found = connection.execute(statement.order_by(*map(column, order)))
            return [dict(row) for row in found.mappings()]

    def pages(self, name: str, key: str) -> Iterator[dict[str, Any]]:
        """Every row of a table by its key, a page at a time."""
        known = self.tables.get(name)
        if known is None:
            return
        statement: Any = select(*map(column, sorted(known))).select_from(table(name)).order_by(column(key))
        last: Any = None
        while True:
            page = statement if last is None else statement.where(column(key) > last)
            with self._reading() as connection:
                found = [dict(row) for row in connection.execute(page.limit(_PAGE)).mappings()]
            yield from found
            if len(found) < _PAGE:
                return
            last = found[-1][key]

    def batches(self, statement: Executable) -> Iterator[Sequence[Any]]:
        """What a statement finds, many rows at a time."""
        with self._reading() as connection:
            options = {"stream_results": True, "max_row_buffer": _BATCH}
            with connection.execution_options(**options).execute(statement) as found:
                while rows := found.fetchmany(_BATCH):
                    yield rows

    def count(self, name: str) -> int:
        """How many rows a table has; 0 where there is none."""
        if name not in self.tables:
            return 0
        with self._reading() as connection:
            return int(connection.execute(select(func.count()).select_from(table(name))).scalar_one())

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StoreUnavailable(
                f"{self.name} cannot be read: {' '.join(str(cause).split())}", remedy="Check the URL"
            ) from error


def _sqlite(url: URL) -> Any:
    path = Path(url.database or "").absolute()
    if not path.is_file():
        raise BadRequest(f"there is no file {path}", field="source", remedy="Check the path")
    # Read only, as a URI: SQLite would make a file that is not there.
    return create_engine(f"sqlite+pysqlite:///file:{_quoted(path)}?mode=ro&uri=true")


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _postgresql(url: URL) -> Any:
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={"options": "-c default_transaction_read_only=on", "connect_timeout": 10},
        )
    except ImportError as error:
        raise StoreUnavailable(
            "reading a PostgreSQL database needs psycopg, which is not installed",
            remedy="Run: pip install 'homeostat[postgres]'",
        ) from error
