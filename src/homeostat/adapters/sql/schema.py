"""Bringing a database's tables up to date, and refusing one that is ahead of this package.

Importing Alembic takes a third of a second, which only a database that is behind costs: an empty one gets the tables as
they are, and revisions are numbered ``0001``, ``0002``, … so that "behind" and "ahead" need no look at the migrations.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect

from homeostat.adapters.sql import connect
from homeostat.adapters.sql.tables import ledger_head, metadata
from homeostat.domain.errors import StoreUnavailable
from homeostat.domain.events import GENESIS

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
    if _version(connection) == REVISION:
        return
    for statement in _BEGIN[connection.dialect.name]:
        connection.exec_driver_sql(statement)
    try:
        found = _version(connection)  # somebody may have done it while we waited
        if not found:
            create(connection)
        elif found != REVISION:
            upgrade(connection)
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        connect.abandon(connection)
        raise


def create(connection: Connection) -> None:
    """Make every table and the head of an empty ledger, as all migrations would, in the transaction that is open."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(ledger_head.insert().values(id=1, seq=0, hash=GENESIS))
    version = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))
    version.create(connection, checkfirst=True)
    connection.execute(version.insert().values(version_num=REVISION))


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


def _version(connection: Connection) -> str:
    """The revision that the database has; empty where it has none.

    Raises:
        StoreUnavailable: it is one that this package does not know.
    """
    found = ""
    if inspect(connection).has_table(VERSION_TABLE):
        found = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() or ""
    if found > REVISION or (found and not re.fullmatch(r"\d{4}", found)):
        raise StoreUnavailable(
            f"the store {connect.shown(connection.engine.url)} has tables of version {found}, made by a newer"
            f" Homeostat; this one knows version {REVISION}",
            remedy="Run: pip install --upgrade homeostat",
        )
    return found
