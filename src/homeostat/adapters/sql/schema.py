"""Bringing a database's tables up to date, and refusing one that is ahead of this package.

Revisions are numbered ``0001``, ``0002``, … so that "behind" and "ahead" need no look at the migrations:
importing Alembic takes a third of a second, which only an opening that has something to do may cost.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import Connection, inspect

from homeostat.adapters.sql import connect
from homeostat.domain.errors import StoreUnavailable

REVISION: Final = "0001"
# Not Alembic's default name, so that a database shared with another of its users is not mistaken for ours.
VERSION_TABLE: Final = "homeostat_schema"

# "hs-schma" in ASCII: only one process at a time upgrades a PostgreSQL database.
_LOCK: Final = int.from_bytes(b"hs-schma", "big")
_BEGIN: Final = {
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": ("BEGIN ISOLATION LEVEL READ COMMITTED", f"SELECT pg_advisory_xact_lock({_LOCK})"),
}


def ensure(connection: Connection) -> None:
    """Make ``connection``'s database have the tables of this package, whoever else tries at the same time.

    Raises:
        StoreUnavailable: a newer Homeostat made it.
    """
    if connection.dialect.name == "sqlite":
        connect.use_wal(connection)
    if _current(connection):
        return
    for statement in _BEGIN[connection.dialect.name]:
        connection.exec_driver_sql(statement)
    try:
        if not _current(connection):  # nobody did it while we waited
            upgrade(connection)
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        connect.abandon(connection)
        raise


def upgrade(connection: Connection) -> None:
    """Run the migrations that the database lacks, in the transaction that is open."""
    from alembic import command

    command.upgrade(configuration(connection), "head")


def configuration(connection: Connection) -> Any:
    """Alembic's configuration, for this package's migrations on ``connection``."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "homeostat.adapters.sql:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _current(connection: Connection) -> bool:
    """Whether the database is up to date; it is not when it is empty or behind."""
    found = ""
    if inspect(connection).has_table(VERSION_TABLE):
        found = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() or ""
    if found > REVISION or (found and not re.fullmatch(r"\d{4}", found)):
        raise StoreUnavailable(
            f"the store {connect.shown(connection.engine.url)} has tables of version {found}, made by a newer"
            f" Homeostat; this one knows version {REVISION}",
            remedy="Run: pip install --upgrade homeostat",
        )
    return found == REVISION
