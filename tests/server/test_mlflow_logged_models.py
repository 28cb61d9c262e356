"""Logged models as MLflow writes them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.server.mlflow.app import Mlflow
from homeostat.server.room import Room
from tests.server.asking import Answer, ask

AT = "/api/2.0/mlflow/"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Mlflow]:
    with Container(Settings(home=tmp_path / "home")) as container, ThreadPoolExecutor(2) as pool:
        yield Mlflow(container, pool, Room(1 << 30))


def send(app: Mlflow, method: str, path: str, message: Any) -> Answer:
    body = [msgspec.json.encode(message)]
    return ask(app, method, AT + path, body=body, headers={"content-type": "application/json"})


def test_from_creation_to_deletion(app: Mlflow) -> None:
    run = send(app, "POST", "runs/create", {"experiment_id": "0"}).json["run"]["info"]["run_id"]
    asked = {
        "experiment_id": "0",
        "name": "tree",
        "model_type": "classifier",
        "source_run_id": run,
        "params": [{"key": "p", "value": "1"}],
        "tags": [{"key": "t", "value": "é"}],
    }
    made = send(app, "POST", "logged-models", asked).json["model"]
    id = made["info"]["model_id"]
    times = made["info"].pop("creation_timestamp_ms"), made["info"].pop("last_updated_timestamp_ms")
    assert all(isinstance(time, int) for time in times)
    assert made == {
        "info": {
            "model_id": id,
            "experiment_id": "0",
            "name": "tree",
            "artifact_uri": f"mlflow-artifacts:/0/models/{id}/artifacts",
            "status": "LOGGED_MODEL_PENDING",
            "model_type": "classifier",
            "source_run_id": run,
            "tags": [{"key": "t", "value": "é"}],
        },
        "data": {"params": [{"key": "p", "value": "1"}]},
    }
    one = f"logged-models/{id}"
    for status, shown in [("LOGGED_MODEL_READY", "READY"), (3, "UPLOAD_FAILED"), ("1", "PENDING")]:
        answer = send(app, "PATCH", one, {"model_id": id, "status": status}).json
        assert answer["model"]["info"]["status"] == f"LOGGED_MODEL_{shown}"
    assert send(app, "PATCH", f"{one}/tags", {"tags": [{"key": "a", "value": "b"}]}).json == {}
    assert send(app, "DELETE", f"{one}/tags/t", {}).json == {}
    assert send(app, "POST", f"{one}/params", {"params": [{"key": "q", "value": "2"}]}).json == {}
    point = {"run_id": run, "key": "acc", "value": "NaN", "timestamp": 1000, "step": 3, "model_id": id}
    send(app, "POST", "runs/log-metric", point)
    send(app, "POST", "runs/log-metric", point | {"value": 0.5, "dataset_name": "d", "dataset_digest": "e"})
    got = ask(app, "GET", AT + one).json["model"]
    assert got["info"]["tags"] == [{"key": "a", "value": "b"}]
    assert got["data"]["params"] == [{"key": "p", "value": "1"}, {"key": "q", "value": "2"}]
    same = {"key": "acc", "timestamp": 1000, "step": 3, "model_id": id, "run_id": run}
    assert got["data"]["metrics"] == [
        same | {"value": "NaN"},
        same | {"value": 0.5, "dataset_name": "d", "dataset_digest": "e"},
    ]
    search = {
        "experiment_ids": ["0"],
        "filter": "metrics.acc > 0.4 AND name = 'tree'",
        "datasets": [{"dataset_name": "d"}],
        "order_by": [{"field_name": "metrics.acc", "ascending": False, "dataset_name": "d"}],
        "max_results": 1,
    }
    assert send(app, "POST", "logged-models/search", search).json == {"models": [got]}
    assert send(app, "DELETE", one, {"model_id": id}).json == {}
    assert ask(app, "GET", AT + one).status == 404
    assert ask(app, "GET", AT + one, "allow_deleted=true").json["model"]["info"]["name"] == "tree"
    assert send(app, "POST", "logged-models/search", {"experiment_ids": ["0"]}).json == {}
    assert send(app, "POST", "logged-models/search", {"experiment_ids": []}).json == {}


def test_pages(app: Mlflow) -> None:
    ids = [
        send(app, "POST", "logged-models", {"experiment_id": "0"}).json["model"]["info"]["model_id"]
        for _ in range(5)
    ]
    found, asked = [], {"experiment_ids": ["0"], "max_results": 2}
    while True:
        page = send(app, "POST", "logged-models/search", asked).json
        found += [model["info"]["model_id"] for model in page["models"]]
        if "next_page_token" not in page:
            break
        asked["page_token"] = page["next_page_token"]
    assert found == ids[::-1]


@pytest.mark.parametrize(
    ("method", "path", "message", "status"),
    [
        ("POST", "logged-models", {}, 400),
        ("POST", "logged-models", {"experiment_id": "none"}, 400),
        ("POST", "logged-models", {"experiment_id": "99"}, 404),
        ("POST", "logged-models", {"experiment_id": "0", "name": "a/b"}, 400),
        ("POST", "logged-models", {"experiment_id": "0", "name": 3}, 400),
        ("POST", "logged-models", {"experiment_id": "0", "name": "a\0b"}, 400),
        ("POST", "logged-models", {"experiment_id": "0", "params": [{"value": "1"}]}, 400),
        ("POST", "logged-models", {"experiment_id": "0", "tags": {"a": "b"}}, 400),
        ("PATCH", "logged-models/m-none", {"status": "LOGGED_MODEL_READY"}, 404),
        ("PATCH", "logged-models/m-none", {"status": "READY"}, 400),
        ("PATCH", "logged-models/m-none", {}, 400),
        ("PATCH", "logged-models/m-none/tags", {"tags": [{"key": "a", "value": "b"}]}, 404),
        ("DELETE", "logged-models/m-none/tags/a", {}, 404),
        ("POST", "logged-models/m-none/params", {}, 404),
        ("DELETE", "logged-models/m-none", {}, 404),
        ("POST", "logged-models/search", {}, 400),
        ("POST", "logged-models/search", {"experiment_ids": ["0"], "filter": "a ="}, 400),
        ("POST", "logged-models/search", {"experiment_ids": ["0"], "max_results": -1}, 400),
        ("POST", "logged-models/search", {"experiment_ids": ["0"], "order_by": [{}]}, 400),
        ("POST", "logged-models/search", {"experiment_ids": ["0"], "page_token": "x"}, 400),
    ],
)
def test_what_cannot_be_is_told(app: Mlflow, method: str, path: str, message: Any, status: int) -> None:
    answer = send(app, method, path, message)
    assert answer.status == status
    assert answer.json["error_code"] in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
    assert answer.json["message"]


def test_each_point_of_a_metric_is_of_the_model(app: Mlflow) -> None:
    run = send(app, "POST", "runs/create", {"experiment_id": "0"}).json["run"]["info"]["run_id"]
    id = send(app, "POST", "logged-models", {"experiment_id": "0"}).json["model"]["info"]["model_id"]
    points = [
        {"key": "loss", "value": value, "timestamp": 1000 + step, "step": step, "model_id": id}
        for step, value in enumerate([1.0, 0.5, "NaN", 0.25])
    ]
    points.append(points[0] | {"dataset_name": "d", "dataset_digest": "1"})
    for part in (points[:2], points[2:], points[1:3]):  # some of it twice
        batch = {"run_id": run, "metrics": part}
        assert send(app, "POST", "runs/log-batch", batch).status == 200
    metrics = ask(app, "GET", f"{AT}logged-models/{id}").json["model"]["data"]["metrics"]
    of_none = [one for one in metrics if not one.get("dataset_name")]
    assert sorted((one["step"], one["value"]) for one in of_none if one["step"] != 2) == [
        (0, 1),
        (1, 0.5),
        (3, 0.25),
    ]
    assert [one["value"] for one in metrics if one["step"] == 2] == ["NaN"]
    assert len(metrics) == len(points)
    for filter, found in [("metrics.loss = 1", True), ("metrics.loss < 0.2", False)]:
        answer = send(app, "POST", "logged-models/search", {"experiment_ids": ["0"], "filter": filter}).json
        assert bool(answer) == found


def test_a_point_of_a_model_that_is_not_there_leaves_nothing(app: Mlflow) -> None:
    run = send(app, "POST", "runs/create", {"experiment_id": "0"}).json["run"]["info"]["run_id"]
    gone = send(app, "POST", "logged-models", {"experiment_id": "0"}).json["model"]["info"]["model_id"]
    send(app, "DELETE", f"logged-models/{gone}", {"model_id": gone})
    point = {"key": "loss", "value": 0.5, "timestamp": 1000, "step": 0}
    of_model = point | {"model_id": "m-none"}
    for path, message in (
        ("runs/log-metric", {"run_id": run} | of_model),
        (
            "runs/log-batch",
            {"run_id": run, "metrics": [point, of_model], "params": [{"key": "p", "value": "1"}]},
        ),
    ):
        answer = send(app, "POST", path, message)
        assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert "Logged model with ID m-none not found" in answer.json["message"]
    shown = ask(app, "GET", AT + "runs/get", f"run_id={run}").json["run"]["data"]
    assert "metrics" not in shown
    assert "params" not in shown
    assert send(app, "POST", "runs/log-metric", {"run_id": run} | point | {"model_id": gone}).status == 200
