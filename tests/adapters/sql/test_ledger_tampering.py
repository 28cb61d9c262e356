"""What somebody does to the ledger with a database client is found, and the first event touched is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from homeostat.adapters.sql import SqlLedger, SqlMetaStore
from homeostat.adapters.sql import ledger as module
from homeostat.domain.errors import LedgerBroken
from homeostat.domain.events import Edge, Event, Head, Verdict, chain

AT = datetime(2013, 5, 1, 12, tzinfo=UTC)
COLUMNS = "kind, subject, at, actor, body, edges, previous, hash"


@pytest.fixture
def full(store: SqlMetaStore) -> SqlMetaStore:
    """A store with ten events, each with an edge."""
    for number in range(1, 11):
        subject = f"run/{number}"
        edge = Edge(f"dataset/d@{number}", subject, "input")
        with store.begin() as tx:
            tx.append(Event(kind="run.started", subject=subject, at=AT, body={"n": number}, edges=(edge,)))
    return store


def tamper(store: SqlMetaStore, *statements: str) -> Verdict:
    with store.engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    return SqlLedger(store).verify()


@pytest.mark.parametrize(
    "change",
    [
        "kind = 'run.failed'",
        "subject = 'run/44'",
        "at = at + 1",
        "actor = 'mallory'",
        """body = '{"n":40}'""",
        "body = '{}'",
        "body = 'no json'",
        "edges = '[]'",
        """edges = '[{"source":"dataset/d@5","target":"run/4","role":"input"}]'""",
        "edges = '[1]'",
        "hash = 'sha256:00'",
        "previous = 'sha256:00'",
        "at = 9223372036854775807",
    ],
)
def test_an_edited_event_is_named(full: SqlMetaStore, change: str) -> None:
    verdict = tamper(full, f"UPDATE events SET {change} WHERE seq = 4")
    assert (verdict.ok, verdict.checked, verdict.broken_at) == (False, 3, 4)
    assert "event 4" in verdict.reason


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE edges SET source = 'dataset/d@99' WHERE seq = 4",
        "UPDATE edges SET target = 'run/99' WHERE seq = 4",
        "UPDATE edges SET role = 'code' WHERE seq = 4",
        "UPDATE edges SET seq = 4 WHERE seq = 5",
        "DELETE FROM edges WHERE seq = 4",
        "INSERT INTO edges (seq, source, target, role) VALUES (4, 'a', 'b', 'c')",
    ],
)
def test_edited_edges_are_named(full: SqlMetaStore, change: str) -> None:
    verdict = tamper(full, change)
    assert (verdict.ok, verdict.broken_at) == (False, 4)
    assert "edges of event 4" in verdict.reason


@pytest.mark.parametrize("seq", [1, 5, 9])
def test_an_event_removed_in_the_middle_is_named(full: SqlMetaStore, seq: int) -> None:
    verdict = tamper(full, f"DELETE FROM edges WHERE seq = {seq}", f"DELETE FROM events WHERE seq = {seq}")
    assert (verdict.ok, verdict.broken_at) == (False, seq)
    assert f"event {seq} was removed" in verdict.reason


@pytest.mark.parametrize("seq", [1, 8, 10])
def test_a_removed_tail_is_named(full: SqlMetaStore, seq: int) -> None:
    verdict = tamper(full, f"DELETE FROM edges WHERE seq >= {seq}", f"DELETE FROM events WHERE seq >= {seq}")
    assert (verdict.ok, verdict.broken_at) == (False, seq)
    assert f"event {seq} was removed" in verdict.reason


def test_numbers_closed_after_a_removal_are_found(full: SqlMetaStore) -> None:
    verdict = tamper(
        full,
        "DELETE FROM edges",
        "DELETE FROM events WHERE seq = 4",
        "UPDATE events SET seq = 4 WHERE seq = 5",
    )
    assert (verdict.ok, verdict.broken_at) == (False, 1)  # for its edges
    with full.engine.connect() as connection:
        for event in SqlLedger(full).read():
            for edge in event.edges:
                connection.execute(
                    text("INSERT INTO edges (seq, source, target, role) VALUES (:s, :a, :b, :c)"),
                    {"s": event.seq, "a": edge.source, "b": edge.target, "c": edge.role},
                )
    verdict = SqlLedger(full).verify()
    assert (verdict.ok, verdict.broken_at) == (False, 4)


@pytest.mark.parametrize("other", [5, 9])
def test_reordered_events_are_named(full: SqlMetaStore, other: int) -> None:
    verdict = tamper(
        full,
        "DELETE FROM edges",
        f"INSERT INTO events (seq, {COLUMNS}) SELECT 99, {COLUMNS} FROM events WHERE seq = 4",
        "DELETE FROM events WHERE seq = 4",
        f"UPDATE events SET seq = 4 WHERE seq = {other}",
        f"UPDATE events SET seq = {other} WHERE seq = 99",
        *(
            f"INSERT INTO edges (seq, source, target, role) VALUES ({n}, 'dataset/d@{n}', 'run/{n}', 'input')"
            for n in range(1, 4)
        ),
    )
    assert (verdict.ok, verdict.broken_at) == (False, 4)
    assert "does not follow event 3" in verdict.reason


def test_an_added_event_is_named(full: SqlMetaStore) -> None:
    copy = f"INSERT INTO events (seq, {COLUMNS}) SELECT {{}}, {COLUMNS} FROM events WHERE seq = 4"
    verdict = tamper(full, copy.format(-3))
    assert (verdict.ok, verdict.broken_at) == (False, -3)
    verdict = tamper(full, "DELETE FROM events WHERE seq = -3", copy.format(20))
    assert (verdict.ok, verdict.broken_at) == (False, 11)


def test_a_well_chained_event_past_the_head_is_found(full: SqlMetaStore) -> None:
    forged = chain(Event(kind="run.started", subject="run/x", at=AT), SqlLedger(full).head())
    assert forged.seq == 11
    with full.engine.connect() as connection:
        connection.execute(module.insert(module.events), module._fields(forged))
    verdict = SqlLedger(full).verify()
    assert (verdict.ok, verdict.broken_at) == (False, 12)
    assert "head" in verdict.reason
    with pytest.raises(LedgerBroken, match="events after its head"), full.begin() as tx:
        tx.append(Event(kind="k", subject="run/y", at=AT))


@pytest.mark.parametrize("change", ["UPDATE ledger_head SET hash = 'x'", "UPDATE ledger_head SET seq = 9"])
def test_an_edited_head_is_found(full: SqlMetaStore, change: str) -> None:
    verdict = tamper(full, change)
    assert (verdict.ok, verdict.broken_at) == (False, 11)
    assert "head" in verdict.reason


def test_a_lost_head_is_found_and_nothing_is_appended(full: SqlMetaStore) -> None:
    verdict = tamper(full, "DELETE FROM ledger_head")
    assert not verdict.ok
    assert "head" in verdict.reason
    with pytest.raises(LedgerBroken, match="lost its head"):
        SqlLedger(full).head()
    with pytest.raises(LedgerBroken, match="lost its head"), full.begin() as tx:
        tx.append(Event(kind="k", subject="run/y", at=AT))


def test_edges_of_no_event_are_found(full: SqlMetaStore) -> None:
    unguarded = {
        "sqlite": "PRAGMA foreign_keys = OFF",
        "postgresql": "SET session_replication_role = replica",
    }
    stray = "INSERT INTO edges (seq, source, target, role) VALUES (77, 'a', 'b', 'c')"
    verdict = tamper(full, unguarded[full.dialect], stray)
    assert (verdict.ok, verdict.checked) == (False, 10)
    assert "edges of event 77" in verdict.reason


def test_a_long_ledger_is_walked_page_by_page(store: SqlMetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        Event(kind="k", subject=f"run/{n}", at=AT, edges=(Edge("a", f"run/{n}", "r"),)) for n in range(2600)
    ]
    with store.begin() as tx:
        tx.append(*events)
    biggest = 0
    flaw: Callable[[object, list[Edge], Head], str] = module._flaw

    def watch(row: object, stored: list[Edge], last: Head) -> str:
        nonlocal biggest
        biggest = max(biggest, len(stored))
        return flaw(row, stored, last)

    monkeypatch.setattr(module, "_flaw", watch)
    assert SqlLedger(store).verify() == Verdict(ok=True, checked=2600)
    assert biggest == 1
    verdict = tamper(store, "UPDATE events SET actor = 'mallory' WHERE seq = 2301")
    assert (verdict.ok, verdict.checked, verdict.broken_at) == (False, 2300, 2301)
