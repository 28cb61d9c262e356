"""Records and events in one transaction.

Reads outside a transaction are single statements on what is committed. A write transaction begins with BEGIN
IMMEDIATE on SQLite, whose one writer others wait for, and with READ COMMITTED on PostgreSQL; at its end the
buffered events are chained to the ledger and all is committed together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import URL, ClauseElement, Connection, Executable, Select
from sqlalchemy.exc import SQLAlchemyError

from homeostat.adapters.sql import bulk, connect, ledger, prepared, schema, statements
from homeostat.domain.errors import BadRequest, Busy, Conflict, HomeostatError
from homeostat.domain.events import Event
from homeostat.domain.records import Record
from homeostat.ports.meta import Where

R = TypeVar("R", bound=Record)

_BEGIN: Final = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN ISOLATION LEVEL READ COMMITTED"}
# One state for a reader that takes many statements.
_SNAPSHOT: Final = {"sqlite": "BEGIN", "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}


class _Reading:
    """What the store and a transaction share: reading through some connection."""

    def standing(self, statement: Select[Any], values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        """What a statement finds that is built once and stays."""
        raise NotImplementedError

    def get(self, kind: type[R], *key: Any) -> R | None:
        """The record with this key; see the port."""
        return self._one(kind, key)

    def find(
        self, kind: type[R], *where: Where, order: Sequence[str] = (), limit: int | None = None
    ) -> list[R]:
        """Records that meet every condition; see the port."""
        shape, values = statements.shape_of(kind, where)
        if limit is not None:
            if limit < 0:
                raise BadRequest(
                    f"the limit is {limit}", field="limit", remedy="Use 0 or more, or None for all"
                )
            values["limit"] = limit
        rows = self.standing(statements.find(kind, shape, tuple(order), limit is not None), values)
        names = kind.__struct_fields__
        return [kind(**dict(zip(names, row, strict=True))) for row in rows]

    def pick(self, kind: type[R], fields: Sequence[str], *where: Where) -> Sequence[Sequence[Any]]:
        """Some fields of the records that meet every condition; see the port."""
        shape, values = statements.shape_of(kind, where)
        return self.standing(statements.pick(kind, tuple(fields), shape), values)

    def count(self, kind: type[R], *where: Where) -> int:
        """How many records meet every condition."""
        shape, values = statements.shape_of(kind, where)
        return int(self.standing(statements.count(kind, shape), values)[0][0])

    def _one(self, kind: type[R], key: tuple[Any, ...], lock: statements.Lock = "") -> R | None:
        rows = self.standing(statements.get(kind, lock), statements.key_of(kind, key))
        return kind(**dict(zip(kind.__struct_fields__, rows[0], strict=True))) if rows else None


class _Thread(threading.local):
    """What a thread is about: it has a transaction open, it is in a hurry."""

    busy = False
    hurried = False


class _Watch:
    """Gives errors their meaning, and remembers: PostgreSQL answers COMMIT after one by silently rolling back."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self.failed: HomeostatError | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, HomeostatError):  # a value that no column holds
            self.failed = error
        elif isinstance(error, SQLAlchemyError):
            self.failed = connect.meaning_of(error, self._url)
            raise self.failed from error


class SqlTransaction(_Reading):
    """One unit of work on one connection; made by ``SqlMetaStore.begin``."""

    def __init__(self, store: SqlMetaStore, connection: Connection) -> None:
        self._store = store
        self._connection = connection
        self._driver: Final = (connection.connection.dbapi_connection, connection.dialect)
        self._dialect = store.dialect
        self._events: list[Event] = []
        self._watched = _Watch(store.url)

    def insert(self, *records: Record) -> None:
        """Add records: all, or none when there is a Conflict."""
        if len(records) == 1:
            if self._write(records, replace=False) == 0:
                raise _taken(records[0])
            return
        self._run("SAVEPOINT adding")
        written = sum(self._write(same, replace=False) for same in _alike(records))
        if written < len(records):
            self._run("ROLLBACK TO SAVEPOINT adding")
            raise _taken(self._first_taken(records))
        self._run("RELEASE SAVEPOINT adding")

    def put(self, *records: Record, by: Sequence[str] = ()) -> None:
        """Add or replace records; with ``by``, only lesser ones are replaced."""
        for same in _alike(records):
            self._write(same, replace=True, by=tuple(by))

    def update(self, kind: type[R], values: Mapping[str, Any], *where: Where) -> int:
        """Set fields of the records that meet every condition; returns how many."""
        shape, compared = statements.shape_of(kind, where)
        statement = statements.update(kind, tuple(values), shape)
        return self._change(statement, compared | {f"to_{name}": value for name, value in values.items()})

    def delete(self, kind: type[R], *where: Where) -> int:
        """Remove the records that meet every condition; returns how many."""
        shape, values = statements.shape_of(kind, where)
        return self._change(statements.remove(kind, shape), values)

    def lock(self, kind: type[R], *key: Any, shared: bool = False) -> R | None:
        """Read a record that nobody else changes, or makes, until this transaction ends; see the port."""
        if self._dialect == "sqlite":
            return self._one(kind, key)
        lock: statements.Lock = "shared" if shared else "alone"
        found = self._one(kind, key, lock)
        if found is None:  # no row to lock: its name is, and who waited for that sees what was made meanwhile
            self.standing(statements.HOLD, {"name": f"{kind.__name__} {key!r}"})
            found = self._one(kind, key, lock)
        return found

    def run(self, text: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """What a text of SQL finds, as the driver gives it; for the points."""
        with self._watched:
            return prepared.found(*self._driver, text, values)

    def append(self, *events: Event) -> None:
        """Add events to the ledger when this transaction commits."""
        self._events += map(ledger.settled, events)

    def start(self) -> None:
        """Begin; for the store."""
        self._run(_BEGIN[self._dialect])

    def finish(self) -> None:
        """Write the events and commit; for the store.

        Raises:
            Conflict: a statement failed, and the block went on as if it had not.
        """
        failed = self._watched.failed
        if failed is not None:
            raise Conflict(
                f"the transaction cannot be committed, for a statement in it failed: {failed.message}",
                remedy="Let the error end the block, and begin again",
            ) from failed
        if self._events:
            with self._watched:
                ledger.append(self._connection, self._events)
        self._run("COMMIT")

    def _write(self, records: Sequence[Record], *, replace: bool, by: tuple[str, ...] = ()) -> int:
        """Write records of one class; returns how many rows that made."""
        if len(records) > 1 and (self._dialect == "sqlite" or not replace or bulk.distinct(records)):
            with self._watched:
                return bulk.write(self._connection, records, replace=replace, by=by)
        # PostgreSQL does not replace a row twice in one statement.
        statement = statements.write(type(records[0]), self._dialect, replace, by)
        if len(records) == 1:
            return self._change(statement, msgspec.structs.asdict(records[0]))
        return sum(self._change(statement, msgspec.structs.asdict(record)) for record in records)

    def _first_taken(self, records: Sequence[Record]) -> Record:
        seen: set[tuple[Any, ...]] = set()
        for record in records:
            key = _key(record)
            if (type(record), *key) in seen or self.get(type(record), *key) is not None:
                return record
            seen.add((type(record), *key))
        return records[0]  # its rival was removed meanwhile

    def standing(self, statement: Select[Any], values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        """What a statement finds in this transaction; see ``_Reading``."""
        with self._watched:
            return prepared.rows(*self._driver, statement, values)

    def _change(self, statement: ClauseElement, values: dict[str, Any]) -> int:
        with self._watched:
            return prepared.change(*self._driver, statement, values)

    def _run(self, text: str) -> None:
        with self._watched:
            prepared.command(*self._driver, text)


class SqlMetaStore(_Reading):
    """The MetaStore in SQLite or PostgreSQL, safe to share between threads. Opening it upgrades its tables.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user@host/database``. A password comes from
            ``PGPASSWORD`` or ``.pgpass``; a URL that holds one is refused.

    Raises:
        BadRequest: the URL has another form.
        StoreUnavailable: the database does not answer, or was made by a newer Homeostat.
    """

    def __init__(self, url: str) -> None:
        self._place = url
        self.engine = connect.engine_of(url)
        self.url = self.engine.url
        self.dialect = self.engine.dialect.name
        self._mine = _Thread()
        # SQLite's waiting for its lock is polling; threads of this process queue here instead.
        self._writer = threading.Lock() if self.dialect == "sqlite" else None
        self._own: Connection | None = None
        try:
            with self._connected() as connection:
                schema.ensure(connection)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def begin(self) -> Iterator[SqlTransaction]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        if self._mine.busy:
            raise Conflict(
                "this thread has a transaction open already",
                remedy="Pass the open transaction on, and use that",
            )
        self._mine.busy = True
        try:
            with self._turn() as connection:
                transaction = SqlTransaction(self, connection)
                transaction.start()
                try:
                    yield transaction
                    transaction.finish()
                except BaseException:
                    connect.abandon(connection)
                    raise
        except SQLAlchemyError as error:
            raise connect.meaning_of(error, self.url) from error
        finally:
            self._mine.busy = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """While the block lasts, transactions of this thread raise Busy where they would wait; see the port."""
        if self._writer is None:
            raise Busy("PostgreSQL is asked over a connection", remedy="Begin where waiting holds up nobody")
        self._mine.hurried = True
        try:
            yield
        finally:
            self._mine.hurried = False

    @contextmanager
    def _turn(self) -> Iterator[Connection]:
        """A connection to write on; of SQLite once no other thread of this process does."""
        if self._writer is None:
            with self.engine.connect() as connection:
                yield connection
            return
        hurried = self._mine.hurried
        if not self._writer.acquire(timeout=0 if hurried else connect.WAIT_SECONDS):
            raise Busy(
                f"another thread has written to {connect.shown(self.url)} for {connect.WAIT_SECONDS} s",
                remedy="Keep transactions short: compute first, then begin",
            )
        try:
            if hurried:
                yield self._kept()
            else:
                with self.engine.connect() as connection:
                    yield connection
        finally:
            self._writer.release()

    def _kept(self) -> Connection:
        """The connection of those in a hurry, of whom one writes at a time."""
        if self._own is None or self._own.invalidated:
            self._own = connect.engine_of(self._place, wait=0).connect()
        return self._own

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection that sees one state for as long as the block lasts; for the ledger."""
        with self._connected() as connection:
            connection.exec_driver_sql(_SNAPSHOT[self.dialect])
            try:
                yield connection
            finally:
                connect.abandon(connection)

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()
        if self._own is not None:
            self._own.close()
            self._own.engine.dispose()

    def rows(self, statement: Executable, values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        """What any ``statement`` finds in the committed state; for the ledger and the search."""
        with self._connected() as connection:
            return connection.execute(statement, values).fetchall()

    def kept(self, statement: Executable, values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        """As ``rows``, the values as they are kept, of which the reader makes those of fields."""
        with self._connected() as connection:
            cursor: Any = connection.execute(statement, values).cursor
            found: Sequence[Sequence[Any]] = cursor.fetchall()
            return found

    def standing(self, statement: Select[Any], values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        """What a statement finds in the committed state; see ``_Reading``."""
        try:
            with prepared.connection_of(self.engine) as connection:
                return prepared.rows(connection, self.engine.dialect, statement, values)
        except SQLAlchemyError as error:
            raise connect.meaning_of(error, self.url) from error

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise connect.meaning_of(error, self.url) from error


def _alike(records: Sequence[Record]) -> Iterable[Sequence[Record]]:
    """Runs of records of one class, in order."""
    if len(records) == 1:
        return (records,)
    return (list(same) for _, same in groupby(records, key=type))


def _key(record: Record) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in record.KEY)


def _taken(record: Record) -> Conflict:
    key = ", ".join(f"{name}={getattr(record, name)!r}" for name in record.KEY)
    return Conflict(f"there is a {type(record).__name__} with {key} already")
