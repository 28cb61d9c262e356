"""Shadows, labels, what was tried out and replays, through the control API and its client's types."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from starlette.testclient import TestClient

from homeostat.adapters.clock import SimulatedClock
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.datasets import append_log
from homeostat.app.outcomes import Labelled
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.replaying import Replay
from homeostat.app.serving import load_version
from homeostat.app.settings import Settings
from homeostat.app.shadows import Agreement
from homeostat.app.training import execute, submit
from homeostat.app.tried import Tried
from homeostat.domain.records import Deployment
from homeostat.engine.serving.log import to_frame
from homeostat.engine.serving.predictions import Prediction, decide, shadow
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.routing import LiveArm, Routes
from homeostat.server.api import Api

START = datetime(2024, 1, 1, tzinfo=UTC)
PROJECT = """
import homeostat as hs
from sklearn.linear_model import LogisticRegression

rows = hs.Dataset("rows", key="id", path="rows.csv")


def train(data, *, c: float = 1.0):
    return LogisticRegression(C=c).fit(data.X, data.y)


shop = hs.Model(
    "shop",
    task=hs.Binary(label="good", source=rows),
    train=train,
    rollout=hs.Canary(share=0.2, min_requests=1, decide_within="1h", watch=["errors"]),
)
"""


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    folder: Path = tmp_path_factory.mktemp("shop")
    (folder / "project.py").write_text(PROJECT)
    lines = [f"{i},{(i * 37) % 100 / 50 - 1},{int((i * 37) % 100 > 50)}" for i in range(200)]
    (folder / "rows.csv").write_text("\n".join(["id,size,good", *lines]))
    (folder / "home").mkdir()
    SimulatedClock(folder / "home" / "clock", START).close()
    with Container(Settings(home=folder / "home", clock="simulated")) as made:
        apply(made, load_project(folder))
        for c in (1.0, 0.1):
            execute(made, submit(made, "shop", reason="again", params={"c": c}).id)
            react_all(made)
        answers(made)
        yield made


def answers(container: Container) -> None:
    champion, other = (load_version(container, "shop", version).scorer for version in (1, 2))
    arms = [LiveArm(1, "champion", 1.0, champion), LiveArm(2, "shadow", 1.0, other)]
    reader = RequestReader(load_version(container, "shop", 1).columns)
    items = [
        Prediction(
            f"p{n}", reader.convert({"id": 1000 + n, "size": n / 10}), str(1000 + n), START, START, routes
        )
        for n in range(10)
        for routes in [Routes("shop", arms)]
    ]
    decide(items)
    shadow(items)
    append_log(container, "shop.predictions", to_frame(items))


@pytest.fixture
def client(container: Container) -> Iterator[TestClient]:
    with ThreadPoolExecutor(2) as pool:
        yield TestClient(Api(container, pool), base_url="http://127.0.0.1")


def test_what_is_tried_out_is_told_with_its_evidence(client: TestClient) -> None:
    (canary,) = msgspec.json.decode(client.get("/deployments/shop/rollouts").content, type=list[Tried])
    assert (canary.kind, canary.state, canary.versions) == ("canary", "running", [1, 2])
    (errors,) = canary.evidence
    assert (errors.what, errors.count, errors.peak) == ("errors", 0, 1.0)
    assert errors.threshold == pytest.approx(100)
    status = client.get("/status").json()
    assert status["tried"][0]["ref"] == canary.ref
    assert client.get("/deployments/none/rollouts").status_code == 404


def test_labels_and_shadows(client: TestClient, container: Container) -> None:
    sent = {"labels": {f"p{n}": n > 4 for n in range(10)}}
    for _ in range(2):
        answer = client.post("/deployments/shop/labels", json=sent)
        assert msgspec.json.decode(answer.content, type=Labelled) == Labelled("shop", 10)
    assert client.post("/deployments/shop/labels", json={"labels": {"p1": "yes"}}).status_code == 400
    found = msgspec.json.decode(client.get("/deployments/shop/shadow?version=2").content, type=Agreement)
    assert (found.shown, found.compared, found.labelled) == (10, 10, 10)
    assert found.log_loss["answered"] != found.log_loss["shadow"]
    refused = client.post("/deployments/shop/shadow", json={"version": 2})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert client.post("/deployments/shop/shadow/stop", json={}).status_code == 409
    client.post("/deployments/shop/rollback", json={"reason": "first a shadow"})
    begun = client.post("/deployments/shop/shadow", json={"version": 2, "share": 0.5, "actor": "ada"})
    arms = msgspec.json.decode(begun.content, type=Deployment).arms
    assert [(arm.version, arm.weight, arm.role) for arm in arms] == [(1, 1.0, "champion"), (2, 0.5, "shadow")]
    ended = client.post("/deployments/shop/shadow/stop", json={"version": 2, "actor": "bo"})
    assert len(msgspec.json.decode(ended.content, type=Deployment).arms) == 1
    newest = container.ledger.find(subject="deployment/shop", kinds=["deployment.changed"], limit=2)
    assert {event.actor for event in newest} == {"ada", "bo"}


def test_a_prediction_is_replayed(client: TestClient) -> None:
    found = msgspec.json.decode(client.get("/predictions/p3/replay").content, type=Replay)
    assert found.matches
    assert found.request == {"id": 1003, "size": 0.3}
    assert client.get("/predictions/none/replay").status_code == 404
