"""Where it would answer with an error a deployment gives what it declares, and says so in every protocol."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import polars as pl
import pytest
from tritonclient.grpc import service_pb2 as triton

import homeostat as hs
from homeostat.adapters.clock import ManualClock, SimulatedClock
from homeostat.app import explain
from homeostat.app.apply import apply, plan
from homeostat.app.attributing import explanation
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.deliveries import ingest
from homeostat.app.deployments import set_fallback
from homeostat.app.fallbacks import Remembering, fallbacks
from homeostat.app.healing import heal
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.reading import read
from homeostat.app.replaying import replay
from homeostat.app.serving import ModelServing
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain.errors import Conflict, NotFound, StoreUnavailable
from homeostat.domain.records import Alert, Deployment
from homeostat.server.dataplane import DataPlane
from homeostat.server.protocols.grpc import Calls
from homeostat.server.protocols.messages import message
from tests.app.test_healing import damage

START = datetime(2024, 1, 1, tzinfo=UTC)
PROJECT = """
from datetime import datetime

import homeostat as hs
import numpy as np


class Ask(hs.Contract):
    id: str
    at: datetime
    who: str
    size: float


class Answer(hs.Contract):
    id: str
    known_at: datetime
    who: str
    good: bool


asks = hs.Dataset("asks", key="id", time="at", contract=Ask)
answers = hs.Dataset("answers", key="id", time="known_at", contract=Answer)
rate = hs.windows("rate", entity=hs.Entity("who"), source=answers, mean="good", over=["1d"])


@hs.on_request
def size(r):
    return r.select("size")


def train(data):
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(SimpleImputer(), LogisticRegression()).fit(data.X, data.y)


shop = hs.Model(
    "churn", task=hs.Binary(label="good", source=answers, request=asks), features=[rate, size], train=train,
    FALLBACK
)
"""
WHOLE = 'fallback=hs.Fallback(features="10m", previous=True, answer=0.25)'


@dataclass
class Shop:
    """A project with a trained champion, the clock it lives by, and one model server."""

    container: Container
    clock: SimulatedClock
    loop: asyncio.Runner
    folder: Path

    def declare(self, fallback: str) -> None:
        (self.folder / "project.py").write_text(PROJECT.replace("FALLBACK", fallback))
        apply(self.container, load_project(self.folder))

    def train(self) -> None:
        assert execute(self.container, submit(self.container, "churn", reason="asked for").id) is not None
        react_all(self.container)

    def server(self) -> ModelServing:
        serving = ModelServing(self.container, "w1")
        self.loop.run(serving.plane.follow(force=True))
        return serving

    def ask(self, serving: ModelServing, path: str = "/predict/churn", **body: Any) -> httpx.Response:
        asked = {"id": "new", "at": self.clock.now().isoformat(), "who": "p1", "size": 0.5}

        async def once() -> httpx.Response:
            app: Any = DataPlane(serving.plane).public
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
                return await client.post(path, json=body.get("json", asked | body))

        return self.loop.run(once())

    def log(self, serving: ModelServing) -> pl.DataFrame:
        self.loop.run(serving.plane.flush())
        return read(self.container, "churn.predictions").collect()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    (tmp_path / "home").mkdir()
    clock = SimulatedClock(tmp_path / "home" / "clock", START + timedelta(days=2))
    folder = tmp_path / "shop"
    folder.mkdir()
    with (
        Container(Settings(home=tmp_path / "home", clock="simulated")) as container,
        asyncio.Runner() as loop,
    ):
        made = Shop(container, clock, loop, folder)
        made.declare(WHOLE)
        times = [START + timedelta(minutes=10 * n) for n in range(200)]
        asks = pl.DataFrame(
            {
                "id": [f"r{n}" for n in range(200)],
                "at": times,
                "who": [f"p{n % 4}" for n in range(200)],
                "size": [n % 7 - 3.0 for n in range(200)],
            }
        )
        ingest(container, "asks", asks)
        known = [time + timedelta(minutes=1) for time in times]
        answers = asks.select("id", "who", pl.Series("known_at", known), good=pl.col("size") > 0)
        ingest(container, "answers", answers)
        made.train()
        yield made
    clock.close()


def test_an_online_store_that_is_away_degrades_to_features_read_before_and_to_the_declared_answer(
    shop: Shop,
) -> None:
    serving = shop.server()
    first = shop.ask(serving).json()
    assert (first["version"], first["arm"]) == (1, "champion")
    assert "degraded" not in first
    shop.container.online.close()  # as a store that answers no more

    found = shop.ask(serving)
    assert (found.status_code, found.headers["homeostat-degraded"]) == (200, "features")
    one = found.json()
    assert (one["version"], one["arm"], one["score"]) == (1, "fallback", first["score"])
    assert one["degraded"]["fallback"] == "features"
    assert "is closed" in one["degraded"]["reason"]
    other = shop.ask(serving, who="p2").json()  # of whom nothing was read
    assert (other["version"], other["arm"], other["score"]) == (None, "fallback", 0.25)
    assert other["degraded"]["fallback"] == "answer"

    both = shop.ask(serving, json={"instances": [{"id": "a", "who": "p1", "size": 0.5}] * 2})
    assert both.status_code == 400  # what is wrong with a request is wrong still
    at = shop.clock.now().isoformat()
    row = {"id": "new", "at": at, "who": "p2", "size": 0.5}
    for path, body in (
        ("/v1/models/churn:predict", {"instances": [row]}),
        ("/invocations", {"dataframe_records": [row]}),
    ):
        answer = shop.ask(serving, path, json=body)
        assert (answer.status_code, answer.headers["homeostat-degraded"]) == (200, "answer"), path
        assert answer.json() == {"predictions": [0.25]}
    columns = [
        {"name": name, "shape": [1], "datatype": "FP64" if name == "size" else "BYTES", "data": [value]}
        for name, value in row.items()
    ]
    infer = shop.ask(serving, "/v2/models/churn/infer", json={"inputs": columns})
    assert infer.headers["homeostat-degraded"] == "answer"
    assert infer.json()["parameters"] == {"degraded": "answer"}
    assert "model_version" not in infer.json()
    called = Calls(DataPlane(serving.plane).asking, DataPlane(serving.plane).measures)
    asked = message("ModelInferRequest")(model_name="churn")
    for column in columns:
        tensor = asked.inputs.add(name=column["name"], datatype=column["datatype"], shape=[1])
        if column["name"] == "size":
            tensor.contents.fp64_contents.append(0.5)
        else:
            tensor.contents.bytes_contents.append(column["data"][0].encode())  # type: ignore[index] # a list of texts

    async def call() -> bytes:
        return bytes((await called.answer("ModelInfer", asked)).SerializeToString())

    heard = triton.ModelInferResponse.FromString(shop.loop.run(call()))
    assert heard.parameters["degraded"].string_param == "answer"
    assert heard.model_version == ""
    pinned = shop.ask(serving, "/v2/models/churn/versions/1/infer", json={"inputs": columns})
    assert pinned.status_code == 503  # who asks one version gets no other answer

    shop.clock.set(shop.clock.now() + timedelta(minutes=11))
    assert shop.ask(serving).json()["degraded"]["fallback"] == "answer"  # what was read is too old by now
    app = DataPlane(serving.plane)
    counted = app.measures.exposition().decode()
    assert 'deployment="churn",fallback="features"} 1' in counted
    assert 'deployment="churn",fallback="answer"} 6' in counted

    log = shop.log(serving)
    rows = {row["prediction_id"]: row for row in log.to_dicts()}
    assert rows[first["prediction_id"]]["fallback"] is None
    told = rows[one["prediction_id"]]
    assert (told["status"], told["fallback"], told["score"]) == (503, "features", None)
    assert (told["shadow_version"], told["shadow_score"]) == (1, first["score"])
    told = rows[other["prediction_id"]]
    assert (told["status"], told["fallback"], told["shadow_version"]) == (503, "answer", None)
    assert replay(shop.container, one["prediction_id"]).matches
    for look in (replay, explanation):
        with pytest.raises(Conflict, match="with the fallback that its model declares"):
            look(shop.container, other["prediction_id"])
    traced = explain.trace(shop.container, other["prediction_id"])["answered"]
    assert (traced["arm"], traced["fallback"], traced["score"]) == ("fallback", "answer", 0.25)
    shop.loop.run(serving.plane.close())


def test_a_version_that_fails_is_answered_for_and_an_alert_says_so_while_it_lasts(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.train()
    deployment = shop.container.store.get(Deployment, "churn")
    assert deployment is not None
    assert [arm.version for arm in deployment.arms] == [2]
    serving = shop.server()
    broken = serving.plane.endpoints["churn"].live.routes.champion.scorer

    def fails(*asked: object) -> None:
        raise ZeroDivisionError("float division by zero")

    with monkeypatch.context() as patch:
        patch.setattr(broken, "score", fails)
        answer = shop.ask(serving)
    assert answer.headers["homeostat-degraded"] == "previous"
    assert (answer.json()["version"], answer.json()["arm"]) == (1, "fallback")
    assert replay(shop.container, shop.log(serving)["prediction_id"][0]).matches

    serving.beat(f"/nowhere/{os.getpid()}", 1)
    (line,) = heal(shop.container)
    assert line.startswith("deployment/churn answers by the champion before it: ZeroDivisionError")
    assert heal(shop.container) == []
    (alert,) = shop.container.store.find(Alert, ("key", "=", "degraded:churn"))
    assert (alert.state, alert.severity, alert.subject) == ("open", "page", "deployment/churn")
    assert alert.action == "answered by the champion before it"
    assert "float division by zero" in alert.summary
    shop.clock.set(shop.clock.now() + timedelta(minutes=2))
    assert "degraded" not in shop.ask(serving).json()
    serving.beat(f"/nowhere/{os.getpid()}", 1)
    Controller(shop.container).tick()
    (alert,) = shop.container.store.find(Alert, ("key", "=", "degraded:churn"))
    assert alert.state == "resolved"

    with monkeypatch.context() as patch:
        patch.setattr(broken, "score", fails)
        shop.ask(serving)
    serving.beat(f"/nowhere/{os.getpid()}", 1)
    assert heal(shop.container)
    shop.declare("fallback=None")
    heal(shop.container)
    assert not shop.container.store.find(Alert, ("key", "=", "degraded:churn"), ("state", "=", "open"))
    shop.loop.run(serving.plane.close())


def test_a_file_that_cannot_be_read_is_answered_for_by_a_server_that_starts(shop: Shop) -> None:
    damage(shop.container, 1)
    serving = shop.server()
    assert "is torn or altered" in serving.plane.errors["churn"]
    answer = shop.ask(serving)
    assert (answer.status_code, answer.json()["score"], answer.json()["version"]) == (200, 0.25, None)
    assert "is torn or altered" in answer.json()["degraded"]["reason"]
    app: Any = DataPlane(serving.plane).public

    async def ready() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as client:
            return (await client.get("/ready")).status_code

    assert shop.loop.run(ready()) == 200  # else nobody would be sent to who can answer
    assert shop.log(serving)["status"].to_list() == [500]
    shop.loop.run(serving.plane.close())


def test_what_is_declared_reaches_servers_by_applying_it(shop: Shop) -> None:
    serving = shop.server()
    shop.declare("fallback=None")
    shop.loop.run(serving.plane.follow(force=True))
    shop.container.online.close()
    answer = shop.ask(serving)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "features_unavailable")
    (change,) = [one for one in plan_of(shop, WHOLE) if one.action != "keep"]
    assert (change.ref, change.detail) == ("model/churn", "fallback")
    shop.loop.run(serving.plane.close())


def plan_of(shop: Shop, fallback: str) -> Any:
    (shop.folder / "project.py").write_text(PROJECT.replace("FALLBACK", fallback))
    return plan(shop.container, load_project(shop.folder))


@pytest.mark.parametrize(
    ("task", "fallback", "wanted"),
    [
        ("Binary", hs.Fallback(answer=1.5), "Give a probability"),
        ("Binary", hs.Fallback(answer=[0.5, 0.5]), "Give one number"),
        ("MultiClass", hs.Fallback(answer=0.5), "Give probabilities of its classes"),
        ("MultiClass", hs.Fallback(answer=[0.5, 0.4]), "Give 2 probabilities that add up to 1"),
        ("Regression", hs.Fallback(answer=float("nan")), "Give one number"),
    ],
)
def test_an_answer_that_is_none_to_the_task_is_refused(task: str, fallback: hs.Fallback, wanted: str) -> None:
    class Row(hs.Contract):
        id: str
        size: float
        kind: Literal["a", "b"]

    rows = hs.Dataset("rows", key="id", contract=Row)
    tasks: dict[str, Any] = {
        "Binary": lambda: hs.Binary(label="size", source=rows),
        "Regression": lambda: hs.Regression(label="size", source=rows),
        "MultiClass": lambda: hs.MultiClass(label="kind", source=rows),
    }
    with pytest.raises(hs.DeclarationError, match=wanted):
        hs.Model("shop", task=tasks[task](), train=lambda data: data, fallback=fallback)


@pytest.mark.parametrize(
    ("answer", "classes", "given"),
    [
        (0.5, (), True),
        ([0.5, 0.5], ("a", "b"), True),
        ([0.2, 0.3, 0.5], ("a", "b"), False),
        ([0.5, 0.5], (), False),
        (0.5, ("a", "b"), False),
    ],
)
def test_an_answer_is_given_only_for_a_version_of_its_task(
    answer: Any, classes: tuple[str, ...], given: bool
) -> None:
    assert ("answer" in fallbacks(hs.Fallback(answer=answer), classes, None)) == given


def test_what_is_declared_again_is_no_change(shop: Shop) -> None:
    generations = []
    for _ in range(2):
        with shop.container.store.begin() as tx:
            set_fallback(tx, shop.container, "churn", hs.Fallback(answer=(0.2, 0.3, 0.5)))
        found = shop.container.store.get(Deployment, "churn")
        assert found is not None
        generations.append(found.generation)
    assert generations[0] == generations[1]


def test_a_fallback_on_nothing_is_refused() -> None:
    with pytest.raises(hs.DeclarationError, match="falls back on nothing"):
        hs.Fallback()


class Counted:
    """An online store that counts how often it is asked, and may be away."""

    def __init__(self) -> None:
        self.asked, self.away = 0, False

    def read(self, keys: Any) -> list[bytes | None]:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("it is away")
        return [key[1] for key in keys]

    position = write = clear = close = None


def test_a_store_that_did_not_answer_is_left_alone_for_a_moment() -> None:
    store: Any = Counted()
    clock = ManualClock(START)
    online = Remembering(store, clock, most=2)
    before = online.recalling(timedelta(minutes=1))
    for key in (b"a", b"b", b"a", b"c"):
        assert online.read([("v", key)]) == [key]
    assert before.read([("v", b"a"), ("v", b"c")]) == [b"a", b"c"]
    with pytest.raises(NotFound, match="nothing is remembered of b in v"):
        before.read([("v", b"b")])
    store.away = True
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="it is away"):
            online.read([("v", b"a")])
    assert store.asked == 5
    store.away = False
    clock.advance(timedelta(seconds=2))
    assert online.read([("v", b"a")]) == [b"a"]
