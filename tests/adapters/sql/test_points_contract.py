"""The short way of single points: what it does is what the long way does, and what it cannot do it leaves alone."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import text

from homeostat.adapters.sql import SqlMetaStore, SqlPoints
from homeostat.domain.records import Run
from homeostat.domain.tracking import Metric, MetricBlock

AT = datetime(2026, 1, 1, tzinfo=UTC)
ROW = struct.Struct("<Hdqq")
ROOM = 5


@pytest.fixture
def points(store: SqlMetaStore) -> Iterator[SqlPoints]:
    made = SqlPoints(store)
    yield made
    made.close()


def begin(
    store: SqlMetaStore, *, keys: tuple[str, ...] = ("a", "ü b"), level: int = 0, deleted: bool = False
) -> str:
    """A run with a full block, and one with a point of each key after it."""
    run = Run(
        id="r",
        kind="run",
        experiment=7,
        name="r",
        state="running",
        actor="",
        created_at=AT,
        deleted_at=AT if deleted else None,
    )
    rows = [ROW.pack(number, 0.5, 1, 1) for number in range(len(keys))]
    blocks = [
        MetricBlock(
            run="r",
            seq=seq,
            level=level,
            count=len(rows),
            pending=len(rows),
            first=min(keys),
            last=max(keys),
            keys=list(keys),
            payload=b"".join(rows),
        )
        for seq in (3, 4)
    ]
    metrics = [Metric(run="r", key=key, experiment=7, value=0.5, step=1, timestamp=1) for key in keys]
    with store.begin() as tx:
        tx.put(run, *blocks, *metrics)
    return run.id


def waits(store: SqlMetaStore) -> bool:
    """Whether somebody waits for a lock of PostgreSQL."""
    if store.dialect == "sqlite":
        return False
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with store.engine.connect() as connection:
        return bool(connection.execute(text(asked)).scalar())


async def append(points: SqlPoints, key: str, value: float, step: int, *, run: str = "r") -> bool:
    row = ROW.pack(0, value, 2, step)[2:]
    return await points.append(run, key, None if math.isnan(value) else value, step, 2, row=row, room=ROOM)


def test_a_point_ends_the_newest_block_and_the_latest_is_the_greatest(
    store: SqlMetaStore, points: SqlPoints
) -> None:
    begin(store)

    async def all_of_them() -> list[bool]:
        return [
            await append(points, "ü b", math.inf, 2),
            await append(points, "ü b", -1.0, 0),
            await append(points, "a", math.nan, 3),
        ]

    assert asyncio.run(all_of_them()) == [True, True, True]
    older, newest = store.find(MetricBlock, order=["seq"])
    assert (older.count, len(older.payload)) == (2, 2 * ROW.size)
    assert (newest.count, newest.pending, newest.keys) == (5, 5, ["a", "ü b"])
    rows = list(ROW.iter_unpack(newest.payload))
    assert rows[:4] == [(0, 0.5, 1, 1), (1, 0.5, 1, 1), (1, math.inf, 2, 2), (1, -1.0, 2, 0)]
    assert rows[4][0] == 0
    assert math.isnan(rows[4][1])
    latest = {metric.key: (metric.value, metric.step, metric.timestamp) for metric in store.find(Metric)}
    assert latest == {"ü b": (math.inf, 2, 2), "a": (None, 3, 2)}


def test_a_key_with_a_great_number(store: SqlMetaStore, points: SqlPoints) -> None:
    begin(store, keys=tuple(f"m{number:03}" for number in range(300)))

    async def with_room() -> bool:
        return await points.append("r", "m299", 1.0, 5, 5, row=ROW.pack(0, 1.0, 5, 5)[2:], room=400)

    assert asyncio.run(with_room())
    newest = store.find(MetricBlock, order=["-seq"], limit=1)[0]
    assert ROW.unpack(newest.payload[-ROW.size :]) == (299, 1.0, 5, 5)


@pytest.mark.parametrize(
    ("key", "run", "level", "deleted"),
    [("new", "r", 0, False), ("a", "none", 0, False), ("a", "r", 1, False), ("a", "r", 0, True)],
)
def test_what_needs_more_is_left_alone(
    store: SqlMetaStore, points: SqlPoints, key: str, run: str, level: int, deleted: bool
) -> None:
    begin(store, level=level, deleted=deleted)
    before = store.find(MetricBlock), store.find(Metric)
    assert not asyncio.run(append(points, key, 1.0, 9, run=run))
    assert (store.find(MetricBlock), store.find(Metric)) == before


def test_a_full_block_is_left_alone(store: SqlMetaStore, points: SqlPoints) -> None:
    begin(store)

    async def four() -> list[bool]:
        return [await append(points, "a", 1.0, step) for step in (2, 3, 4, 5)]

    assert asyncio.run(four()) == [True, True, True, False]
    assert store.get(Metric, "r", "a") == Metric(
        run="r", key="a", experiment=7, value=1.0, step=4, timestamp=2
    )


def test_beside_a_transaction_that_merges_nothing_is_lost(store: SqlMetaStore, points: SqlPoints) -> None:
    """On SQLite it does not wait; on PostgreSQL it does, and finds the block gone that it meant to make longer."""
    begin(store)

    async def beside() -> bool:
        with store.begin() as tx:
            tx.lock(Run, "r")
            asked = asyncio.create_task(append(points, "a", 1.0, 9))
            while not (await asyncio.wait([asked], timeout=0.01))[0] and not waits(store):
                pass
            tx.delete(MetricBlock, ("run", "=", "r"), ("seq", "=", 4))
            tx.update(MetricBlock, {"level": 1}, ("run", "=", "r"), ("seq", "=", 3))
        return await asked

    assert not asyncio.run(beside())
    (block,) = store.find(MetricBlock)
    assert (block.seq, block.level, block.count) == (3, 1, 2)
    assert store.get(Metric, "r", "a").step == 1  # type: ignore[union-attr]  # it is there


def test_more_than_there_are_connections_are_refused_or_logged(
    store: SqlMetaStore, points: SqlPoints
) -> None:
    begin(store)

    async def many() -> list[bool]:
        found = await asyncio.gather(
            *(
                points.append("r", "a", 1.0, step, 2, row=ROW.pack(0, 1.0, 2, step)[2:], room=100)
                for step in range(20)
            )
        )
        return list(found)

    found = asyncio.run(many())
    assert any(found)
    newest = store.find(MetricBlock, order=["-seq"], limit=1)[0]
    steps = {step for _, _, _, step in list(ROW.iter_unpack(newest.payload))[2:]}
    assert steps == {step for step, logged in enumerate(found) if logged}
    assert newest.count == 2 + len(steps)


@pytest.mark.parametrize("noticed", [False, True])
def test_a_connection_that_breaks_is_made_anew(postgres_url: str, noticed: bool) -> None:
    store = SqlMetaStore(postgres_url)
    points = SqlPoints(store)
    begin(store)

    async def broken() -> list[bool]:
        found = [await append(points, "a", 1.0, 2)]
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        if noticed:
            await asyncio.sleep(0.1)  # the loop sees that the connection ended
        return [*found, await append(points, "a", 1.0, 3), await append(points, "a", 1.0, 4)]

    assert asyncio.run(broken()) == [True, noticed, True]
    points.close()
    store.close()
