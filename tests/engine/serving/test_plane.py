"""The endpoints follow the store; what cannot serve leaves what serves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from homeostat.adapters.clock import ManualClock
from homeostat.domain.errors import NotFound, StoreUnavailable
from homeostat.domain.records import Arm, Deployment
from homeostat.engine.serving.endpoint import Endpoint
from homeostat.engine.serving.plane import Plane
from homeostat.engine.serving.predictions import Prediction
from homeostat.engine.serving.scorer import Loaded, Scored
from tests.engine.serving.fakes import NOON, FakeScorer, body, loaded


class World:
    """A store of deployments and versions, and the plane that follows it."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock(NOON)
        self.deployments: list[Deployment] = []
        self.versions: dict[int, Loaded | Exception] = {1: loaded(1), 2: loaded(2, FakeScorer(0.5))}
        self.loads: list[int] = []
        self.log: list[pl.DataFrame] = []
        self.plane = Plane(
            self.clock, self.source, self.load, lambda _, frame: self.log.append(frame), **options
        )

    def source(self) -> Sequence[Deployment]:
        return self.deployments

    def load(self, model: str, version: int) -> Loaded:
        self.loads.append(version)
        found = self.versions[version]
        if isinstance(found, Exception):
            raise found
        return found

    def deploy(
        self, generation: int, champion: int | None, canary: int | None = None, share: float = 0.5
    ) -> None:
        arms = [] if champion is None else [Arm(champion, 1 - share if canary else 1.0, "champion")]
        arms += [] if canary is None else [Arm(canary, share, "canary")]
        self.deployments = [
            Deployment(name="flights", model="delay", generation=generation, arms=arms, at=NOON)
        ]

    async def ask(self, *ids: str) -> list[Prediction]:
        endpoint = self.plane.endpoints["flights"]
        rows = [endpoint.live.reader.read(body(id=id))[0][0] for id in ids]
        return await endpoint.submit(rows, endpoint.live, self.clock.now(), self.clock.monotonic())


def test_nothing_is_ready_before_the_store_was_read() -> None:
    async def run() -> None:
        world = World()
        assert not world.plane.ready
        await world.plane.sync()
        assert world.plane.ready  # nothing is deployed, so nothing is missing
        world.deploy(1, None)
        await world.plane.sync()
        assert world.plane.ready
        assert world.plane.known("flights")
        assert "flights" not in world.plane.endpoints
        await world.plane.close()

    asyncio.run(run())


def test_a_version_is_warmed_before_it_serves_and_loaded_once() -> None:
    async def run() -> None:
        world = World()
        scorer = FakeScorer()
        world.versions[1] = loaded(1, scorer)
        world.deploy(1, 1)
        synced = await world.plane.sync()
        assert synced.generation == {"flights": 1}
        assert len(scorer.batches) == 3
        (item,) = await world.ask("a")
        assert (item.score, item.answered.version, item.time) == (0.1, 1, NOON)
        world.deploy(2, 1, 2, 1.0)
        await world.plane.sync()
        (item,) = await world.ask("a")
        assert (item.score, item.answered.version) == (0.6, 2)
        world.deploy(3, 2)
        assert (await world.plane.sync()).generation == {"flights": 3}
        world.deploy(4, 1)
        await world.plane.sync()
        assert world.loads == [1, 2]
        assert (await world.ask("a"))[0].answered.version == 1
        await world.plane.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "broken",
    [
        NotFound("no such blob"),
        loaded(3, FakeScorer(fails=["*"])),
        loaded(3, example={}),
        loaded(3, example={"id": "a"}),
    ],
)
def test_a_version_that_cannot_serve_leaves_the_arms_as_they_were(broken: Loaded | Exception) -> None:
    async def run() -> None:
        world = World()
        world.deploy(1, 1)
        await world.plane.sync()
        world.versions[3] = broken
        world.deploy(2, 1, 3)
        synced = await world.plane.sync()
        assert synced.generation == {"flights": 1}
        assert "model/delay@3" in synced.errors["flights"]
        assert world.plane.ready
        assert {item.answered.version for item in await world.ask(*map(str, range(20)))} == {1}
        # The safety net tries again, but not at once; an explicit sync does.
        await world.plane.follow()
        assert world.loads == [1, 3]
        world.versions[3] = loaded(3)
        synced = await world.plane.sync()
        assert (synced.generation, synced.errors) == ({"flights": 2}, {})
        await world.plane.close()

    asyncio.run(run())


def test_a_fresh_worker_prefers_the_champion_alone_to_no_answer() -> None:
    async def run() -> None:
        world = World()
        world.versions[2] = NotFound("gone")
        world.deploy(5, 1, 2)
        synced = await world.plane.sync()
        assert synced.generation == {"flights": 0}
        assert "flights" in synced.errors
        assert {item.answered.version for item in await world.ask("a", "b", "c")} == {1}
        world.versions[1], world.deployments = NotFound("gone"), []
        await world.plane.sync()
        assert world.plane.endpoints == {}
        await world.plane.close()

    asyncio.run(run())


def test_a_store_that_is_away_changes_nothing() -> None:
    async def run() -> None:
        world = World()
        world.deploy(1, 1)
        await world.plane.sync()

        def away() -> Sequence[Deployment]:
            raise StoreUnavailable("no answer")

        world.plane._source = away
        with pytest.raises(StoreUnavailable):
            await world.plane.sync()
        assert world.plane.ready
        assert await world.ask("a")
        await world.plane.close()

    asyncio.run(run())


def test_a_batch_is_what_arrived_while_the_model_ran() -> None:
    async def run() -> None:
        world = World()
        scorer = FakeScorer(seconds=0.05)
        world.versions[1] = loaded(1, scorer)
        world.deploy(1, 1)
        await world.plane.sync()
        scorer.batches.clear()
        endpoint = world.plane.endpoints["flights"]
        await world.ask("first")
        assert endpoint.threaded is False  # the manual clock stands still; set as a slow model would
        endpoint.threaded = True
        first = asyncio.create_task(world.ask("first"))
        await asyncio.sleep(0.02)
        rest = [asyncio.create_task(world.ask(str(n))) for n in range(9)]
        await asyncio.gather(first, *rest)
        assert scorer.batches == [1, 1, 9]
        assert endpoint.counts.largest_batch == 9
        await world.plane.close()

    asyncio.run(run())


def test_a_model_whose_calls_take_long_runs_beside_the_event_loop() -> None:
    class Slow(FakeScorer):
        def score(self, rows: Sequence[Any], times: Sequence[datetime]) -> Scored:
            world.clock.advance(timedelta(milliseconds=lasts))
            return super().score(rows, times)

    async def run() -> None:
        nonlocal lasts
        world.versions[1] = loaded(1, Slow())
        world.deploy(1, 1)
        await world.plane.sync()
        endpoint = world.plane.endpoints["flights"]
        found = []
        for milliseconds in (6, 1, 6, 6, 6, 1, 1):
            lasts = milliseconds
            await world.ask("a")
            found.append(endpoint.threaded)
        assert found == [True, False, False, True, True, False, False]
        await world.plane.close()

    world, lasts = World(), 1
    asyncio.run(run())


def test_too_much_waiting_is_refused_and_what_waits_is_answered() -> None:
    async def run() -> None:
        world = World()
        world.deploy(1, 1)
        await world.plane.sync()
        first = world.plane.endpoints["flights"]
        endpoint = Endpoint(first.live, world.clock, lambda _: None, max_batch=3, max_waiting=10)
        (row,), _ = first.live.reader.read(body())
        futures = [endpoint.submit([row] * 5, first.live, NOON, 0.0) for _ in range(2)]
        with pytest.raises(asyncio.QueueFull):
            endpoint.submit([row], first.live, NOON, 0.0)
        assert [len(await future) for future in futures] == [5, 5]
        await endpoint.close()
        with pytest.raises(asyncio.QueueFull):  # nobody would ever answer it
            endpoint.submit([row], first.live, NOON, 0.0)
        await world.plane.close()

    asyncio.run(run())


def test_what_is_accepted_is_answered_within_the_bound_however_much_comes() -> None:
    class Steady(FakeScorer):
        """Takes 0.1 s a row, by the clock of the test."""

        def score(self, rows: Sequence[Any], times: Sequence[datetime]) -> Scored:
            world.clock.advance(timedelta(seconds=0.1 * len(rows)))
            return super().score(rows, times)

    async def run() -> None:
        world.versions[1] = loaded(1, Steady())
        world.deploy(1, 1)
        await world.plane.sync()
        for _ in range(2):
            await world.ask("a")  # the pace is known now
        accepted: list[Prediction] = []
        for _ in range(5):
            asked = [world.ask(str(n)) for n in range(100)]
            for found in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(found, list | asyncio.QueueFull)
                accepted += found if isinstance(found, list) else []
        assert 5 <= len(accepted) <= 100
        # A second of work may wait, behind a batch that runs for as long.
        assert max(item.latency_us for item in accepted) <= 2.3e6
        await world.plane.close()

    world = World()
    asyncio.run(run())


def test_a_shadow_that_cannot_be_loaded_keeps_nobody_from_being_answered() -> None:
    async def run() -> None:
        world = World()
        world.versions[2] = NotFound("no such blob")
        arms = [Arm(1, 1.0, "champion"), Arm(2, 1.0, "shadow")]
        world.deployments = [Deployment(name="flights", model="delay", generation=2, arms=arms, at=NOON)]
        assert (await world.plane.sync()).generation == {"flights": 2}
        (item,) = await world.ask("a")
        assert (item.score, item.shadow) == (0.1, None)
        assert world.plane.ready
        assert world.plane.errors == {"flights": "shadow model/delay@2: NotFound: no such blob"}
        world.versions[2] = loaded(2)
        world.clock.advance(timedelta(seconds=11))
        await world.plane.follow()
        assert world.plane.errors == {}
        assert {arm.version for arm in world.plane.endpoints["flights"].live.routes.arms} == {1, 2}
        await world.plane.close()

    asyncio.run(run())


def test_flush_waits_for_shadows_and_writes_everything() -> None:
    async def run() -> None:
        world = World()
        world.deploy(1, 1, 2, 0.5)
        await world.plane.sync()
        await world.ask(*map(str, range(50)))
        world.clock.advance(timedelta(seconds=1))
        synced = await world.plane.sync()
        assert synced.flushed == 50
        frame = pl.concat(world.log)
        canary = frame.filter(arm="canary")
        assert 10 < canary.height < 40
        assert canary["shadow_score"].to_list() == [0.1] * canary.height
        assert canary["score"].to_list() == [0.6] * canary.height
        assert world.plane.endpoints["flights"].counts.shadows == canary.height
        await world.plane.close()

    asyncio.run(run())


def test_a_flush_does_not_wait_for_what_comes_after_it() -> None:
    async def run() -> None:
        world = World()
        world.versions[1] = loaded(1, FakeScorer(seconds=0.001))
        world.deploy(1, 1, 2, 0.5)
        await world.plane.sync()
        stop = False

        async def client(n: int) -> None:
            count = 0
            while not stop:
                await world.ask(f"{n}-{count}")
                count += 1

        clients = [asyncio.create_task(client(n)) for n in range(16)]
        await asyncio.sleep(0.05)
        for _ in range(3):
            assert await asyncio.wait_for(world.plane.flush(), 120) > 0
        stop = True
        await asyncio.gather(*clients)
        rows = world.plane.endpoints["flights"].counts.rows
        await world.plane.close()
        assert world.plane.log.counts.flushed == rows

    asyncio.run(run())


def test_a_flush_does_not_wait_for_a_deployment_that_goes_meanwhile() -> None:
    async def run() -> None:
        world = World()
        world.versions[1] = loaded(1, FakeScorer(seconds=0.5))
        both = [
            Deployment(name=name, model="delay", generation=1, arms=[Arm(1, 1.0, "champion")], at=NOON)
            for name in ("flights", "trains")
        ]
        world.deployments = both
        await world.plane.sync()
        flights, trains = world.plane.endpoints["flights"], world.plane.endpoints["trains"]
        flights.threaded = True
        asked = asyncio.create_task(world.ask("a"))
        await asyncio.sleep(0)
        flushing = asyncio.create_task(world.plane.flush())
        await asyncio.sleep(0)
        world.deployments = both[:1]
        await world.plane.follow()
        assert list(world.plane.endpoints) == ["flights"]
        assert not asked.done()  # so the flush has come to neither yet
        assert await asyncio.wait_for(flushing, 20) == 1
        await asyncio.wait_for(trains.drain(), 20)
        await asked
        await world.plane.close()

    asyncio.run(run())


@pytest.mark.parametrize("pauses", range(8))
def test_a_drain_does_not_outlive_the_closing_of_its_endpoint(pauses: int) -> None:
    async def run() -> None:
        world = World()
        world.deploy(1, 1)
        await world.plane.sync()
        endpoint = world.plane.endpoints["flights"]
        closing = asyncio.create_task(world.plane.close())
        for _ in range(pauses):
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(endpoint.drain(), closing), 20)

    asyncio.run(run())


def test_a_request_fails_as_a_whole_but_the_log_names_the_row() -> None:
    async def run() -> None:
        world = World()
        world.versions[1] = loaded(1, FakeScorer(fails=["bad"]), example={**loaded(1).example, "id": "x"})
        world.deploy(1, 1)
        await world.plane.sync()
        mixed, alone = await asyncio.gather(world.ask("a", "bad", "c"), world.ask("d"))
        assert [item.status for item in mixed] == [500, 500, 500]
        assert [item.error is not None for item in mixed] == [False, True, False]
        assert alone[0].status == 200
        await world.plane.sync()
        rows = pl.concat(world.log).sort("prediction_id").to_dicts()
        assert sorted((row["key"], row["status"], row["score"]) for row in rows if row["key"] != "d") == [
            ("a", 500, None),
            ("bad", 500, None),
            ("c", 500, None),
        ]
        await world.plane.close()

    asyncio.run(run())
