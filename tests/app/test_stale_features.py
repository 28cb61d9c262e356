"""A source of features that stops: told, answered for as declared once its rows count no more, healed by new ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from homeostat.adapters.clock import SimulatedClock
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.deliveries import ingest
from homeostat.app.incidents import incidents
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.reading import read
from homeostat.app.serving import ModelServing
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain.records import Alert
from homeostat.server.dataplane import DataPlane

START = datetime(2024, 1, 1, tzinfo=UTC)
PROJECT = """
from datetime import datetime

import homeostat as hs
from sklearn.linear_model import LogisticRegression


class Ask(hs.Contract):
    id: int
    at: datetime
    who: str


class Profile(hs.Contract):
    who: str
    at: datetime
    size: float


class Answer(hs.Contract):
    id: int
    good: bool


asks = hs.Dataset("asks", key="id", time="at", contract=Ask)
profiles = hs.Dataset("profiles", key="who", time="at", contract=Profile)
answers = hs.Dataset("answers", key="id", contract=Answer)


@hs.feature_view(entity=hs.Entity("who"), source=profiles, ttl="1d")
def profile(rows):
    return rows.select("size")


shop = hs.Model(
    "shop",
    task=hs.Binary(label="good", source=answers, request=asks),
    features=[profile],
    train=lambda data: LogisticRegression().fit(data.X, data.y),  # which takes no missing values
    fallback=hs.Fallback(answer=0.25),
    slo=hs.SLO(data_age="12h", held=0.9),
)
"""
PEOPLE = [f"p{number}" for number in range(50)]


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    (tmp_path / "home").mkdir()
    SimulatedClock(tmp_path / "home" / "clock", START + timedelta(hours=1)).close()
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "project.py").write_text(PROJECT)
    with Container(Settings(home=tmp_path / "home", clock="simulated")) as made:
        apply(made, load_project(tmp_path / "shop"))
        delivered(made)
        ids = list(range(200))
        asks = pl.DataFrame({"id": ids, "at": made.clock.now(), "who": [PEOPLE[one % 50] for one in ids]})
        ingest(made, "asks", asks)
        ingest(made, "answers", pl.DataFrame({"id": ids, "good": [one % 50 > 25 for one in ids]}))
        execute(made, submit(made, "shop", reason="first model").id)
        react_all(made)
        yield made


def delivered(container: Container) -> None:
    """A delivery of the source, of a minute ago."""
    at = container.clock.now() - timedelta(minutes=1)
    ingest(
        container,
        "profiles",
        pl.DataFrame({"who": PEOPLE, "at": at, "size": [n / 25 - 1 for n in range(50)]}),
    )


def ticks(container: Container, after: timedelta, minutes: int = 1) -> None:
    """Time passes, and then so many minutes with a turn of the controller each."""
    assert isinstance(container.clock, SimulatedClock)
    begun = container.clock.now() + after
    for minute in range(minutes):
        container.clock.set(begun + timedelta(minutes=minute))
        Controller(container).tick()


def ask(container: Container, serving: ModelServing, loop: asyncio.Runner) -> httpx.Response:
    """A request to the model server over HTTP."""
    body = {"id": 999, "at": container.clock.now().isoformat(), "who": "p40"}

    async def once() -> httpx.Response:
        app: Any = DataPlane(serving.plane).public
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as client:
            return await client.post("/predict/shop", json=body)

    return loop.run(once())


def test_a_source_that_stops_is_told_answered_for_and_healed(container: Container) -> None:
    with asyncio.Runner() as loop:
        serving = ModelServing(container, "w1")
        loop.run(serving.plane.follow(force=True))
        fresh = ask(container, serving, loop).json()
        assert fresh["arm"] == "champion"

        ticks(container, timedelta(hours=13))  # older than promised, and still counts
        (alert,) = container.store.find(Alert)
        assert (alert.key, alert.severity) == ("burn:shop:data_age:page", "page")
        assert "the error budget of data_age burns" in alert.summary
        assert ask(container, serving, loop).json()["score"] == fresh["score"]

        ticks(container, timedelta(hours=12))  # older than its rows count
        found = ask(container, serving, loop)
        assert (found.status_code, found.headers["homeostat-degraded"]) == (200, "answer")
        told = found.json()
        assert (told["score"], told["arm"]) == (0.25, "fallback")
        loop.run(serving.plane.flush())
        rows = read(container, "shop.predictions").collect()
        assert rows["fallback"].to_list() == [None, None, "answer"]
        assert "NaN" in rows["error"][2]

        delivered(container)
        ticks(container, timedelta(minutes=1), minutes=40)
        healed = ask(container, serving, loop).json()
        assert (healed["arm"], healed["score"]) == ("champion", fresh["score"])
        for one in incidents(container, "shop"):  # the page, and the ticket that it stood for
            assert one.state == "resolved"
            assert [step.what for step in one.moments] == ["onset", "detected", "healed"]
