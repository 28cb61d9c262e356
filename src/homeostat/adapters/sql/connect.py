"""From a store's URL to a SQLAlchemy engine, and from a driver's errors to Homeostat's.

Every connection is in the driver's autocommit mode; a transaction says BEGIN and COMMIT itself
(``store.py``), because the two dialects need different words there. Credentials come from the environment,
never from the URL.
"""

from __future__ import annotations

import select
import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    NoSuchModuleError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from homeostat.adapters.clock import SystemClock
from homeostat.domain.errors import BadRequest, Busy, HomeostatError, StoreUnavailable

WAIT_SECONDS: Final = 30
# Bytes of an SQLite file that are read in place: a search of many runs takes a third less.
_MAPPED: Final = 256 << 20
_CACHED: Final = 8_000  # KiB: a few batches, which else are read again page by page from the write-ahead log
_STATEMENTS: Final = 512  # of SQLite that a connection keeps prepared; a turn of the loop has some 150
_FORMS: Final = (
    "Use sqlite:///path/to/file.db, or postgresql://user@host/database with PGPASSWORD in the environment"
)


def engine_of(url: str, *, wait: int = WAIT_SECONDS) -> Engine:
    """An engine for ``url``, which is checked; nothing is connected yet.

    Args:
        url: Where the store is.
        wait: For how many seconds a writer of SQLite waits for another. With 0 it waits for the disk neither: what it
            wrote to the log is brought into the file when others commit.

    Raises:
        BadRequest: the URL has another form, or holds a password.
        StoreUnavailable: the driver is not installed.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise BadRequest("the store's URL cannot be parsed", field="store", remedy=_FORMS) from error
    if parsed.password or "password" in parsed.query:
        raise BadRequest(
            f"the store's URL {shown(parsed)} holds a password",
            field="store",
            remedy="Take it out and set PGPASSWORD, or use a .pgpass file",
        )
    if parsed.drivername == "sqlite":
        return _sqlite(parsed, wait)
    if parsed.drivername in ("postgresql", "postgres"):
        return _postgresql(parsed)
    raise BadRequest(f"the store's URL begins with {parsed.drivername!r}", field="store", remedy=_FORMS)


def shown(url: URL) -> str:
    """``url`` as it may be shown: without a password, in the URL proper or among its options."""
    safe = url.difference_update_query(["password"]) if "password" in url.query else url
    return safe.render_as_string(hide_password=True)


def _sqlite(url: URL, wait: int) -> Engine:
    if not url.database or url.database == ":memory:":
        raise BadRequest("the store's URL names no file", field="store", remedy=_FORMS)
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"the folder of the store at {shown(url)} cannot be made: {error}", remedy="Choose another place"
        ) from error
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"),
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": wait, "check_same_thread": False, "cached_statements": _STATEMENTS},
        pool_size=8,
        max_overflow=56,
        pool_timeout=WAIT_SECONDS,
        pool_use_lifo=True,  # the one used last still has what it read, and its statements
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        # Some systems' SQLite writes every page that is given up once more, with zeros.
        connection.execute("PRAGMA secure_delete = FAST")
        connection.execute(f"PRAGMA cache_size = -{_CACHED}")
        connection.execute(f"PRAGMA mmap_size = {_MAPPED}")
        if not wait:
            connection.execute("PRAGMA wal_autocheckpoint = 0")

    return engine


def _postgresql(url: URL) -> Engine:
    options = {"connect_timeout": "10", "application_name": "homeostat"}
    missing = {name: value for name, value in options.items() if name not in url.query}
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg").update_query_dict(missing),
            isolation_level="AUTOCOMMIT",
            paramstyle="format",  # by place, as SQLite's
            pool_size=8,
            max_overflow=24,
            pool_timeout=WAIT_SECONDS,
        )
    except (ImportError, NoSuchModuleError) as error:
        raise StoreUnavailable(
            f"the store {shown(url)} needs psycopg, which is not installed",
            remedy="Run: pip install 'homeostat[postgres]'",
        ) from error

    @event.listens_for(engine, "checkout")
    def check(connection: Any, _record: object, _proxy: object) -> None:
        # To one that is idle the server says nothing but that it goes; asking it each time would cost a round trip.
        if connection.closed or _readable(connection.fileno()):
            raise DisconnectionError("the server closed an idle connection")

    return engine


def _readable(file: int) -> bool:
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    return bool(waiting.poll(0))


def use_wal(connection: Connection) -> None:
    """Let readers of an SQLite file go on while one writes. The file remembers it.

    SQLite does not wait for its lock here, so two processes that open a new file at once try again.
    """
    clock = SystemClock()
    for attempt in range(WAIT_SECONDS * 50):
        try:
            if connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() != "wal":
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            return
        except DBAPIError as error:
            if "locked" not in str(error.orig) or attempt == WAIT_SECONDS * 50 - 1:
                raise
            clock.sleep(0.02)


def abandon(connection: Connection) -> None:
    """Roll back; a connection that cannot even do that is closed, which does it too."""
    try:
        connection.exec_driver_sql("ROLLBACK")
    except SQLAlchemyError:
        connection.invalidate()


def meaning_of(error: SQLAlchemyError, url: URL) -> HomeostatError:
    """What a driver's error means to a caller; to be raised from ``error``."""
    cause: Any = error.orig if isinstance(error, StatementError) else None
    text = " ".join(str(cause or error).split())
    store = shown(url)
    if isinstance(cause, HomeostatError):  # a column type refused a value
        return cause
    if isinstance(error, PoolTimeout):
        return StoreUnavailable(
            f"every connection to the store {store} is in use",
            remedy="Use fewer threads, or shorter transactions",
        )
    if isinstance(error, (IntegrityError, DataError)) or (
        isinstance(error, StatementError) and error.orig is None
    ):
        return BadRequest(f"the store {store} cannot hold that: {text}")
    if getattr(cause, "sqlstate", None) in ("40001", "40P01"):
        return Busy(
            f"the transaction collided with another one in the store {store}: {text}", remedy="Do it again"
        )
    if "locked" in text and url.drivername.startswith("sqlite"):
        return Busy(
            f"the store {store} has been locked by another process for {WAIT_SECONDS} s",
            remedy="Find the process that holds a transaction open, and end it",
        )
    if "disk is full" in text or "No space left" in text:
        return StoreUnavailable(f"the store {store} failed: {text}", remedy="Free some space on its disk")
    return StoreUnavailable(f"the store {store} failed: {text}", remedy="Run: homeostat doctor")
