"""A shadow never holds up an answer and never changes one: what it is too slow for goes without it."""

from __future__ import annotations

import asyncio
from threading import Event
from typing import Any

from homeostat.adapters.clock import ManualClock
from homeostat.engine.serving.endpoint import Endpoint, Live
from homeostat.engine.serving.predictions import Prediction
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.routing import LiveArm, Routes
from homeostat.engine.serving.scorer import Scored
from tests.engine.serving.fakes import COLUMNS, NOON, FakeScorer, body

READER = RequestReader(COLUMNS)


class Stuck(FakeScorer):
    """Scores nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.go = Event()

    def score(self, rows: Any, times: Any) -> Scored:
        self.go.wait(60)
        return super().score(rows, times)


def endpoint(shadow: FakeScorer, recorded: list[Prediction]) -> Endpoint:
    arms = [LiveArm(1, "champion", 1.0, FakeScorer()), LiveArm(2, "shadow", 1.0, shadow)]
    live = Live(generation=1, reader=READER, routes=Routes("flights", arms), key=("id",), time=None)
    return Endpoint(live, ManualClock(NOON), recorded.append)


async def ask(asked: Endpoint, *ids: str) -> list[Prediction]:
    rows = [READER.read(body(id=id, distance=100))[0][0] for id in ids]
    return await asked.submit(rows, asked.live, NOON, 0.0)


def test_answers_go_out_while_a_shadow_is_stuck() -> None:
    async def run() -> None:
        stuck, recorded = Stuck(), list[Prediction]()
        asked = endpoint(stuck, recorded)
        first = await ask(asked, "a")
        second = await ask(asked, "b", "c")  # the shadow holds the first one still
        assert [item.score for item in (*first, *second)] == [0.01] * 3
        assert recorded == []
        stuck.go.set()
        await asked.drain()
        assert [item.shadow_score for item in recorded] == [0.51] * 3
        assert (asked.counts.shadows, asked.counts.shadows_dropped) == (3, 0)
        await asked.close()

    asyncio.run(run())


def test_what_a_stuck_shadow_holds_is_recorded_at_the_end_once_and_without_it() -> None:
    async def run() -> None:
        stuck, recorded = Stuck(), list[Prediction]()
        asked = endpoint(stuck, recorded)
        await ask(asked, "a")
        await ask(asked, "b")
        await asked.close()
        assert sorted(item.key for item in recorded) == ["a", "b"]
        assert {item.status for item in recorded} == {200}
        assert asked.counts.shadows_dropped == 2
        stuck.go.set()

    asyncio.run(run())


def test_a_shadow_that_raises_is_recorded_with_its_error() -> None:
    async def run() -> None:
        recorded = list[Prediction]()
        asked = endpoint(FakeScorer(fails=["*"]), recorded)
        (item,) = await ask(asked, "a")
        assert (item.status, item.score, item.error) == (200, 0.01, None)
        await asked.drain()
        assert str(recorded[0].shadow_error) == "poison"
        assert asked.counts.errors == 0
        await asked.close()

    asyncio.run(run())


def test_what_does_not_fit_is_counted_and_not_lost() -> None:
    async def run() -> None:
        stuck, recorded = Stuck(), list[Prediction]()
        asked = endpoint(stuck, recorded)
        ids = [str(n) for n in range(9_000)]
        await ask(asked, *ids)
        assert asked.counts.shadows_dropped == len(recorded) == 9_000 - 16 * 512
        stuck.go.set()
        await asked.close()
        assert sorted(item.key for item in recorded) == sorted(ids)

    asyncio.run(run())
