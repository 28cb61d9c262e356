"""Servers on both databases, and the official client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Databases
from tests.mlflow.official import Client, Evaluator
from tests.server.ups import Up

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test may have to make the client's environment."""
    for item in items:
        if _HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a SQLite file."""
    up = Up(tmp_path_factory.mktemp("sqlite") / "home").ready()
    yield up.note.server
    up.stop()


@pytest.fixture(scope="session")
def on_postgres(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[str]:
    """A server with a PostgreSQL database."""
    url = databases.make()
    up = Up(tmp_path_factory.mktemp("postgres") / "home", HOMEOSTAT_STORE=url).ready()
    yield up.note.server
    up.stop()
    databases.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> str:
    """The address of a server, on either database."""
    found: str = request.getfixturevalue("on_sqlite" if request.param == "sqlite" else "on_postgres")
    return found


@pytest.fixture
def client(evaluator: Evaluator, server: str) -> Client:
    """The client of a server on either database."""
    return Client(evaluator, server)


@pytest.fixture
def here(evaluator: Evaluator, on_sqlite: str) -> Client:
    """The client of the server with the SQLite file, for what has nothing to do with databases."""
    return Client(evaluator, on_sqlite)


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    """Plain HTTP to the server."""
    with httpx.Client(base_url=f"{server}/api/2.0/mlflow/", timeout=30) as asking:
        yield asking
