"""What a deployment falls back on answers what no version could, is named, and leaves the failure in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.domain.declarations.fallback import Fallback
from homeostat.domain.errors import BadRequest, NotFound, StoreUnavailable
from homeostat.domain.records import Deployment
from homeostat.engine.serving.fallbacks import Constant, Kind, Rescuer
from homeostat.engine.serving.log import to_frame
from homeostat.engine.serving.plane import Spares
from homeostat.engine.serving.predictions import decide
from homeostat.engine.serving.routing import LiveArm, Routes
from homeostat.engine.serving.scorer import Loaded, Output, Scorer
from tests.engine.serving.fakes import FakeScorer, loaded
from tests.engine.serving.test_plane import World
from tests.engine.serving.test_predictions import items

AWAY = FakeScorer(fails=["*"], error=lambda: StoreUnavailable("the online store is away"))
BROKEN = FakeScorer(fails=["*"])


def falling(champion: FakeScorer, **fallbacks: FakeScorer | Constant) -> Routes:
    """A champion of version 3, with what it falls back on: ``previous`` is version 2."""
    versions: dict[Any, int] = {"features": 3, "previous": 2, "answer": 0}
    kinds: list[Kind] = ["features", "previous", "answer"]
    rescuers = [
        Rescuer(kind, LiveArm(versions[kind], "champion", 0.0, fallbacks[kind]))
        for kind in kinds
        if kind in fallbacks
    ]
    return Routes("flights", [LiveArm(3, "champion", 1.0, champion)], rescuers)


@pytest.mark.parametrize(
    ("champion", "others", "kind", "status", "version"),
    [
        (AWAY, {"features": FakeScorer(0.3), "previous": FakeScorer(0.2)}, "features", 503, 3),
        (AWAY, {"features": BROKEN, "previous": FakeScorer(0.2)}, "answer", 503, None),
        (BROKEN, {"features": FakeScorer(0.3), "previous": FakeScorer(0.2)}, "previous", 500, 2),
        (BROKEN, {"previous": BROKEN}, "answer", 500, None),
    ],
)
def test_each_failure_has_its_fallback(
    champion: FakeScorer, others: Mapping[str, FakeScorer], kind: str, status: int, version: int | None
) -> None:
    (item,) = items(falling(champion, answer=Constant(0.9, {}), **others), "a")
    decide([item])
    assert (item.served, item.fallback, item.status, item.version) == (True, kind, status, version)
    assert item.role == "fallback"
    assert not item.shadowed
    (row,) = to_frame([item]).to_dicts()
    assert (row["version"], row["status"], row["fallback"], row["score"]) == (3, status, kind, None)
    assert (row["shadow_version"], row["shadow_score"]) == (version, item.score)
    assert "poison" in row["error"] or "away" in row["error"]


@given(st.sets(st.integers(0, 19)), st.sets(st.integers(0, 19)))
def test_only_rows_without_an_answer_fall_back(fails: set[int], also: set[int]) -> None:
    before = FakeScorer(0.2, fails=[str(n) for n in also])
    chosen = falling(FakeScorer(fails=[str(n) for n in fails]), previous=before, answer=Constant(0.9, {}))
    batch = items(chosen, *map(str, range(20)))
    decide(batch)
    for n, item in enumerate(batch):
        by = None if n not in fails else "answer" if n in also else "previous"
        wanted = {None: n / 10_000, "previous": n / 10_000 + 0.2, "answer": 0.9}[by]
        assert (item.fallback, item.score) == (by, pytest.approx(wanted))
        assert item.status == (500 if by else 200)


def test_a_row_that_is_at_fault_itself_gets_its_error() -> None:
    wrong = FakeScorer(fails=["b"], error=lambda: BadRequest("no such airport", field="origin"))
    batch = items(falling(wrong, answer=Constant(0.9, {})), "a", "b")
    decide(batch)
    assert [(item.status, item.fallback) for item in batch] == [(200, None), (422, None)]


def test_a_canary_that_fails_is_still_answered_by_the_champion() -> None:
    chosen = falling(FakeScorer(), answer=Constant(0.9, {}))
    both = Routes("flights", [*chosen.arms, LiveArm(4, "canary", 1.0, BROKEN)], chosen.fallbacks)
    (item,) = items(both, "a")
    decide([item])
    assert (item.status, item.fallback, item.version) == (200, None, 3)


class Falling(World):
    """A world where the version before the champion is version 2, and each can give a constant."""

    def __init__(self, fallback: Fallback) -> None:
        super().__init__(spares=Spares(previous=lambda deployment: 2, describe=self.describe))
        self.declared = {
            name: value for name in fallback.__struct_fields__ if (value := getattr(fallback, name))
        }
        self.described: Loaded | Exception = loaded(3, BROKEN, fallbacks=constant)

    def describe(self, model: str, version: int) -> Loaded:
        if isinstance(self.described, Exception):
            raise self.described
        return self.described

    def source(self) -> Any:
        import msgspec

        return [msgspec.structs.replace(one, fallback=self.declared) for one in self.deployments]


def constant(declared: Fallback) -> Mapping[str, Scorer]:
    return {} if declared.answer is None else {"answer": Constant(float(declared.answer), {})}  # type: ignore[arg-type] # a number


@pytest.mark.parametrize(
    ("fallback", "described", "version", "score"),
    [
        (Fallback(previous=True), NotFound("no such blob"), 2, 0.6),
        (Fallback(previous=True, answer=0.9), None, 2, 0.6),
        (Fallback(answer=0.9), None, None, 0.9),
    ],
)
def test_a_version_that_cannot_be_loaded_is_answered_for_until_it_can(
    fallback: Fallback, described: Exception | None, version: int | None, score: float
) -> None:
    async def run() -> None:
        world = Falling(fallback)
        world.described = described or world.described
        world.versions[3] = NotFound("no such file")
        world.deploy(1, 3)
        synced = await world.plane.sync()
        assert synced.generation == {"flights": 0}
        assert "no such file" in synced.errors["flights"]
        assert world.plane.ready
        endpoint = world.plane.endpoints["flights"]
        assert await endpoint.probe() == ""  # ready is who gives an answer
        (item,) = await world.ask("a")
        assert (item.version, item.score, item.status, item.served) == (version, score, 500, True)
        assert endpoint.counts.degraded == {item.fallback: 1}
        assert endpoint.degraded is not None
        assert "cannot load model/delay@3: NotFound: no such file" in endpoint.degraded.why
        world.versions[3] = loaded(3, FakeScorer(0.3), fallbacks=constant)
        assert (await world.plane.sync()).generation == {"flights": 1}
        (item,) = await world.ask("a")
        assert (item.version, item.score, item.status) == (3, 0.4, 200)
        await world.plane.close()

    asyncio.run(run())


def test_a_store_that_is_away_for_a_moment_is_asked_again() -> None:
    async def run() -> None:
        world = Falling(Fallback(previous=True))
        versions: list[Exception | int] = [StoreUnavailable("it is away"), 2]

        def previous(deployment: Deployment) -> int:
            found = versions.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        world.plane._spares = Spares(previous=previous, describe=world.describe)
        world.deploy(1, 1)
        await world.plane.follow()
        assert "it is away" in world.plane.errors["flights"]
        assert not world.plane.ready
        await world.plane.follow()  # not at once
        assert len(versions) == 1
        world.clock.advance(timedelta(seconds=11))
        await world.plane.follow()
        assert world.plane.errors == {}
        assert (await world.ask("a"))[0].status == 200
        await world.plane.close()

    asyncio.run(run())


def test_a_version_to_fall_back_on_that_could_not_be_loaded_is_loaded_again() -> None:
    async def run() -> None:
        world = Falling(Fallback(previous=True))
        world.versions |= {2: OSError("too many open files"), 3: loaded(3)}
        world.deploy(1, 3)
        assert (await world.plane.sync()).generation == {"flights": 1}
        assert world.plane.errors == {"flights": "fallback model/delay@2: OSError: too many open files"}
        world.versions[2] = loaded(2)
        world.clock.advance(timedelta(seconds=11))
        await world.plane.follow()
        assert (world.plane.errors, world.loads) == ({}, [3, 2, 2])
        await world.plane.close()

    asyncio.run(run())


def test_a_version_that_answers_otherwise_is_not_fallen_back_on() -> None:
    async def run() -> None:
        world = Falling(Fallback(previous=True))
        failing = FakeScorer(fails=["b"])
        world.versions |= {3: loaded(3, failing), 2: loaded(2, outputs=(Output("label", "string"),))}
        world.deploy(1, 3)
        await world.plane.sync()
        (item,) = await world.ask("b")
        assert (item.status, item.served) == (500, False)
        await world.plane.close()

    asyncio.run(run())


def test_nothing_to_fall_back_on_is_no_endpoint() -> None:
    async def run() -> None:
        world = Falling(Fallback(previous=True))
        world.versions |= {2: NotFound("no such file"), 3: NotFound("no such file")}
        world.deploy(1, 3)
        await world.plane.sync()
        assert world.plane.endpoints == {}
        assert not world.plane.ready
        await world.plane.close()

    asyncio.run(run())


def test_a_request_that_fails_as_a_whole_is_no_fallback() -> None:
    async def run() -> None:
        world = Falling(Fallback(previous=True))
        wrong = FakeScorer(fails=["b"], error=lambda: BadRequest("no such airport", field="origin"))
        world.versions |= {3: loaded(3, wrong), 2: loaded(2, wrong)}
        world.deploy(1, 3)
        await world.plane.sync()
        found = await world.ask("a", "b")
        assert [(item.status, item.served, item.score) for item in found] == [(422, False, None)] * 2
        assert world.plane.endpoints["flights"].counts.degraded == {}
        await world.plane.close()

    asyncio.run(run())
