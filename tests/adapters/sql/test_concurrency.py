"""Many writers, in threads and processes, some of which die: nothing is lost, the chain has no gap."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homeostat.adapters.sql import SqlLedger, SqlMetaStore
from homeostat.domain.events import Event, Verdict
from homeostat.domain.records import Cursor

pytestmark = pytest.mark.slow

AT = datetime(2013, 5, 1, 12, tzinfo=UTC)
WRITER = Path(__file__).with_name("writing_process.py")


def start(url: str, name: str, count: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WRITER), url, name, count],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check(store: SqlMetaStore) -> int:
    """The state and its events agree and the chain holds; returns how many there are."""
    ledger = SqlLedger(store)
    events = ledger.read(limit=1_000_000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert ledger.verify() == Verdict(ok=True, checked=len(events))
    assert sorted(event.subject for event in events) == [cursor.name for cursor in store.find(Cursor)]
    return len(events)


def test_threads_make_one_chain_and_a_reader_misses_nothing(store: SqlMetaStore) -> None:
    ledger, done, seen = SqlLedger(store), threading.Event(), [0]

    def write(name: int) -> None:
        for number in range(20):
            with store.begin() as tx:
                tx.insert(Cursor(name=f"run/{name}-{number}", seq=number))
                tx.append(Event(kind="k", subject=f"run/{name}-{number}", at=AT))

    def follow() -> None:
        while not done.is_set() or ledger.head().seq > seen[-1]:
            seen.extend(event.seq for event in ledger.read(seen[-1], limit=7))

    reader = threading.Thread(target=follow)
    reader.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    done.set()
    reader.join()
    assert check(store) == 160
    assert seen == list(range(161))


def test_processes_open_a_fresh_store_at_once_and_make_one_chain(bare_url: str) -> None:
    writers = [start(bare_url, f"w{number}", "40") for number in range(4)]
    for writer in writers:
        _, errors = writer.communicate(timeout=280)
        assert writer.returncode == 0, errors
    store = SqlMetaStore(bare_url)
    assert check(store) == 160
    store.close()


def test_who_commits_later_comes_later(postgres_url: str) -> None:
    """With PostgreSQL's sequences B would have the higher number and a reader would never see A."""
    store = SqlMetaStore(postgres_url)
    ledger = SqlLedger(store)
    a_wrote, b_is_done = threading.Event(), threading.Event()

    def first() -> None:
        with store.begin() as tx:
            tx.insert(Cursor(name="run/a", seq=1))
            tx.append(Event(kind="k", subject="run/a", at=AT))
            a_wrote.set()
            assert b_is_done.wait(100)

    thread = threading.Thread(target=first)
    thread.start()
    assert a_wrote.wait(100)
    with store.begin() as tx:
        tx.insert(Cursor(name="run/b", seq=1))
        tx.append(Event(kind="k", subject="run/b", at=AT))
    early = ledger.read(0)
    assert [(event.seq, event.subject) for event in early] == [(1, "run/b")]
    b_is_done.set()
    thread.join()
    late = ledger.read(early[-1].seq)
    assert [(event.seq, event.subject) for event in late] == [(2, "run/a")]
    assert check(store) == 2
    store.close()


@pytest.mark.parametrize("rounds", [3])
def test_a_writer_that_is_killed_leaves_a_store_that_holds(
    store: SqlMetaStore, store_url: str, rounds: int
) -> None:
    for number in range(rounds):
        writer = start(store_url, f"w{number}", "0")
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        time.sleep(0.03 * (number + 1))  # into the middle of whatever it is doing
        writer.kill()
        writer.communicate()
        assert check(store) > number


def test_a_writer_that_is_killed_inside_a_transaction_leaves_no_trace(
    store: SqlMetaStore, store_url: str
) -> None:
    with store.begin() as tx:
        tx.insert(Cursor(name="run/before", seq=1))
        tx.append(Event(kind="k", subject="run/before", at=AT))
    writer = start(store_url, "w", "hold")
    assert writer.stdout is not None
    assert writer.stdout.readline() == "holding\n"
    assert check(store) == 1  # readers do not wait for it
    writer.kill()
    writer.communicate()
    with store.begin() as tx:
        tx.insert(Cursor(name="run/after", seq=1))
        tx.append(Event(kind="k", subject="run/after", at=AT))
    assert check(store) == 2
