"""Transactions of those in a hurry: on SQLite they never wait, on PostgreSQL there are none."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from homeostat.adapters.sql import SqlMetaStore
from homeostat.domain.errors import Busy
from homeostat.domain.records import Cursor


@pytest.fixture
def dialect() -> str:
    return "sqlite"


def write(store: SqlMetaStore, name: str) -> None:
    with store.at_once(), store.begin() as tx:
        tx.put(Cursor(name=name, seq=1))


def test_alone_they_write(store: SqlMetaStore, store_url: str) -> None:
    write(store, "a")
    write(store, "b")
    with pytest.raises(ZeroDivisionError), store.at_once(), store.begin() as tx:
        tx.put(Cursor(name="c", seq=1 // 0))
    write(store, "d")
    other = SqlMetaStore(store_url)
    assert [found.name for found in other.find(Cursor)] == ["a", "b", "d"]
    other.close()


def test_beside_another_thread_they_are_refused(store: SqlMetaStore) -> None:
    with ThreadPoolExecutor(1) as pool, store.begin() as tx:
        tx.put(Cursor(name="a", seq=1))
        with pytest.raises(Busy):
            pool.submit(write, store, "b").result()
    write(store, "b")
    assert store.count(Cursor) == 2


def test_beside_another_process_they_are_refused(store: SqlMetaStore, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        with pytest.raises(Busy):
            write(store, "a")
    other.execute("ROLLBACK")
    other.close()
    write(store, "a")
    assert store.count(Cursor) == 1


def test_the_next_transaction_takes_its_time_again(store: SqlMetaStore) -> None:
    write(store, "a")

    def wait() -> None:
        with store.begin() as tx:
            tx.put(Cursor(name="b", seq=1))

    with ThreadPoolExecutor(1) as pool:
        with store.begin() as tx:
            waiting = pool.submit(wait)
            tx.put(Cursor(name="c", seq=1))
        waiting.result(60)
    assert store.count(Cursor) == 3


def test_no_server_is_asked_in_a_hurry(postgres_url: str) -> None:
    store = SqlMetaStore(postgres_url)
    with pytest.raises(Busy), store.at_once():
        pass
    store.close()
