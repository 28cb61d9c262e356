"""The contract of the Ledger: reading, finding, lineage, and the chain that an untouched store keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from homeostat.adapters.sql import SqlLedger, SqlMetaStore
from homeostat.domain.digests import digest_of
from homeostat.domain.events import GENESIS, Edge, Event, Head, Verdict, chain
from homeostat.domain.records import Cursor

AT = datetime(2013, 5, 1, 12, tzinfo=UTC)


def event(subject: str = "run/a", kind: str = "run.started", **changes: Any) -> Event:
    return Event(**{"kind": kind, "subject": subject, "at": AT, **changes})


def append(store: SqlMetaStore, *events: Event) -> None:
    with store.begin() as tx:
        tx.append(*events)


def seqs(events: list[Event]) -> list[int]:
    return [found.seq for found in events]


def test_an_empty_ledger(store: SqlMetaStore) -> None:
    ledger = SqlLedger(store)
    assert ledger.head() == Head(0, GENESIS)
    assert ledger.read() == []
    assert ledger.find() == []
    assert ledger.edges("run/a", "up") == []
    assert ledger.verify() == Verdict(ok=True, checked=0)


def test_events_are_numbered_and_chained_in_the_order_given(store: SqlMetaStore) -> None:
    ledger = SqlLedger(store)
    with store.begin() as tx:
        tx.append(event("run/a"), event("run/b"))
        tx.append(event("run/c"))
        assert ledger.read() == []
    append(store, event("run/d"))
    events = ledger.read()
    assert [(found.seq, found.subject) for found in events] == [
        (1, "run/a"),
        (2, "run/b"),
        (3, "run/c"),
        (4, "run/d"),
    ]
    head = Head(0, GENESIS)
    for found in events:
        assert found == chain(found, head)
        head = Head(found.seq, found.hash)
    assert ledger.head() == head
    assert ledger.verify() == Verdict(ok=True, checked=4)


def test_read_goes_on_after_a_cursor(store: SqlMetaStore) -> None:
    append(store, *(event() for _ in range(7)))
    ledger = SqlLedger(store)
    assert seqs(ledger.read(0, limit=3)) == [1, 2, 3]
    assert seqs(ledger.read(3, limit=3)) == [4, 5, 6]
    assert seqs(ledger.read(6, limit=3)) == [7]
    assert ledger.read(7) == []


def test_events_are_rolled_back_with_the_state(store: SqlMetaStore) -> None:
    append(store, event("run/kept"))
    with pytest.raises(ZeroDivisionError), store.begin() as tx:  # noqa: PT012
        tx.insert(Cursor(name="c", seq=1))
        tx.append(event("run/lost"))
        raise ZeroDivisionError
    append(store, event("run/next"))
    ledger = SqlLedger(store)
    assert [found.subject for found in ledger.read()] == ["run/kept", "run/next"]
    assert ledger.verify() == Verdict(ok=True, checked=2)
    assert store.count(Cursor) == 0


def test_find_by_subject_takes_every_version_of_it(store: SqlMetaStore) -> None:
    subjects = [
        "model/d",
        "model/d@1",
        "model/d@12",
        "model/d-2",
        "model/da",
        "model/d.x@1",
        "deployment/d",
        "model/D",
    ]
    append(store, *map(event, subjects))
    ledger = SqlLedger(store)
    assert seqs(ledger.find(subject="model/d", newest=False)) == [1, 2, 3]
    assert seqs(ledger.find(subject="model/d@1")) == [2]
    assert seqs(ledger.find(subject="model/nobody")) == []


def test_find_by_kind_order_and_limit(store: SqlMetaStore) -> None:
    append(store, *(event(f"run/{n}", kind=f"run.{'abc'[n % 3]}") for n in range(9)))
    ledger = SqlLedger(store)
    assert seqs(ledger.find(kinds=["run.a"])) == [7, 4, 1]
    assert seqs(ledger.find(kinds=["run.a", "run.c"], newest=False, limit=3)) == [1, 3, 4]
    assert seqs(ledger.find(limit=2)) == [9, 8]
    assert seqs(ledger.find(kinds=("run.b",), subject="run/4")) == [5]


def test_edges_lead_both_ways_and_repeat_once(store: SqlMetaStore) -> None:
    up = [Edge("dataset/z@1", "run/a", "input"), Edge("code/c", "run/a", "code")]
    down = Edge("run/a", "model/d@1", "produced")
    append(store, event(edges=(up[0],)), event(edges=(up[1], up[0], up[1])), event(edges=(down,)))
    ledger = SqlLedger(store)
    assert ledger.edges("run/a", "up") == up
    assert ledger.edges("run/a", "down") == [down]
    assert ledger.edges("model/d@1", "up") == [down]
    assert ledger.edges("model/d", "up") == []
    assert ledger.read(1, limit=1)[0].edges == (up[1], up[0], up[1])
    assert ledger.verify().ok


def test_an_event_is_hashed_as_it_reads_back(store: SqlMetaStore) -> None:
    """Tuples, times and other zones change in JSON; the chain must hold all the same."""
    body = {
        "pair": (1, 2),
        "at": AT,
        "big": 2**70,
        "none": None,
        "nul": "\0",
        "é": -0.0,
    }
    append(store, event(body=body, at=AT.astimezone(timezone(timedelta(hours=-5)))))
    ledger = SqlLedger(store)
    (found,) = ledger.read()
    assert found.at == AT
    assert found.at.tzinfo is UTC
    assert found.body["pair"] == [1, 2]
    assert found.body["at"] == "2013-05-01T12:00:00Z"
    assert found.hash == digest_of(replace(found, hash=""))
    assert ledger.verify() == Verdict(ok=True, checked=1)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
EVENTS = st.builds(
    Event,
    kind=TEXT,
    subject=TEXT,
    at=st.datetimes(timezones=st.just(UTC), min_value=datetime(1950, 1, 1)),  # noqa: DTZ001
    actor=TEXT,
    body=st.dictionaries(TEXT, JSON, max_size=3),
    edges=st.lists(st.builds(Edge, source=TEXT, target=TEXT, role=TEXT), max_size=3).map(tuple),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.tuples(st.lists(EVENTS, min_size=1, max_size=4), st.booleans()), max_size=5))
def test_whatever_is_appended_the_chain_holds(
    store: SqlMetaStore, batches: list[tuple[list[Event], bool]]
) -> None:
    ledger = SqlLedger(store)
    before = ledger.head()
    expected = []
    for events, committed in batches:
        try:
            with store.begin() as tx:
                tx.append(*events)
                if not committed:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            continue
        expected += events
    found = ledger.read(before.seq)
    assert seqs(found) == list(range(before.seq + 1, before.seq + 1 + len(expected)))
    for back, given_ in zip(found, expected, strict=True):
        assert (back.kind, back.subject, back.at, back.actor) == (
            given_.kind,
            given_.subject,
            given_.at,
            given_.actor,
        )
        assert (back.body, back.edges) == (given_.body, given_.edges)
    assert ledger.verify() == Verdict(ok=True, checked=before.seq + len(expected))
