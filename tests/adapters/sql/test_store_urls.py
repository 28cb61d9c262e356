"""URLs that are no store's, databases that do not answer: each says what is wrong and what to do."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from homeostat.adapters.sql import SqlMetaStore
from homeostat.adapters.sql.connect import meaning_of
from homeostat.domain.errors import BadRequest, Busy, StoreUnavailable
from homeostat.domain.records import Cursor


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://host/db", "begins with 'mysql'.*sqlite:///path"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("", "cannot be parsed"),
        ("not a url", "cannot be parsed"),
        ("postgresql://me:hush@host/db", "holds a password.*PGPASSWORD"),
        ("postgresql://host/db?password=hush", "holds a password.*PGPASSWORD"),
    ],
)
def test_a_url_of_another_form_is_refused(url: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says) as error:
        SqlMetaStore(url)
    assert "hush" not in str(error.value)


def test_a_folder_is_made_for_the_file(tmp_path: Path) -> None:
    SqlMetaStore(f"sqlite:///{tmp_path}/a/b/store.db").close()
    assert (tmp_path / "a" / "b" / "store.db").exists()


def test_a_place_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="folder of the store"):
        SqlMetaStore(f"sqlite:///{tmp_path}/file/store.db")
    with pytest.raises(StoreUnavailable, match="homeostat doctor"):
        SqlMetaStore(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"something else altogether\n" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        SqlMetaStore(f"sqlite:///{tmp_path}/store.db")


def test_a_file_that_is_torn_further_on_is_said(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqlMetaStore(f"sqlite:///{path}")
    with store.begin() as tx:
        tx.insert(*(Cursor(name=f"{number:05}", seq=number) for number in range(20_000)))
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)  # the page that was made last holds the last rows
        file.write(b"\xff" * 4096)
    store = SqlMetaStore(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable, match="malformed"):
        store.find(Cursor)
    with pytest.raises(StoreUnavailable, match="malformed"), store.begin() as tx:
        tx.find(Cursor)
    store.close()


def test_a_server_that_is_not_there_is_said() -> None:
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9/.*homeostat doctor"):
        SqlMetaStore("postgresql://me@127.0.0.1:9/db")


def test_without_psycopg_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreUnavailable, match=r"pip install 'homeostat\[postgres\]'"):
        SqlMetaStore("postgresql://me@host/db")


def test_a_dropped_connection_is_made_anew(postgres_url: str) -> None:
    store = SqlMetaStore(postgres_url)
    with pytest.raises(StoreUnavailable), store.begin() as tx:  # noqa: PT012
        tx.insert(Cursor(name="lost", seq=1))
        tx._run("SELECT pg_terminate_backend(pg_backend_pid())")
    with store.begin() as tx:
        tx.insert(Cursor(name="kept", seq=1))
    assert [cursor.name for cursor in store.find(Cursor)] == ["kept"]
    store.close()


def test_a_connection_that_was_cut_while_it_was_idle_is_noticed(postgres_url: str) -> None:
    store = SqlMetaStore(postgres_url)
    with store.begin() as tx:
        tx.insert(Cursor(name="a", seq=1))
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        gone = admin.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'homeostat'"
        ).fetchall()
    assert (True,) in gone
    assert store.count(Cursor) == 1
    store.close()


def test_of_transactions_that_wait_for_each_other_one_may_be_repeated(
    postgres_url: str,
) -> None:
    store = SqlMetaStore(postgres_url)
    with store.begin() as tx:
        tx.insert(Cursor(name="a", seq=0), Cursor(name="b", seq=0))
    both, conflicts = threading.Barrier(2), []

    def cross(first: str, second: str) -> None:
        try:
            with store.begin() as tx:
                tx.lock(Cursor, first)
                both.wait(100)
                tx.lock(Cursor, second)
        except Busy as error:
            conflicts.append(error)

    threads = [threading.Thread(target=cross, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conflicts) == 1
    assert "Do it again" in str(conflicts[0])
    store.close()


@pytest.mark.parametrize(
    "said", ["database or disk is full", "could not extend file: No space left on device"]
)
def test_a_store_on_a_full_disk_asks_for_space(said: str) -> None:
    raised = OperationalError("INSERT", {}, sqlite3.OperationalError(said))
    found = meaning_of(raised, make_url("sqlite:////home/homeostat.db"))
    assert isinstance(found, StoreUnavailable)
    assert (said in found.message, found.remedy) == (True, "Free some space on its disk")
