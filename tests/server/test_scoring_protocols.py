"""MLflow's scoring protocol, asked by its own client, and TensorFlow Serving's rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engine.serving.fakes import ROW
from tests.mlflow.official import Evaluator
from tests.server.workers import Worker

CHAMPION = (1, 1.0, "champion")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    running = Worker(tmp_path_factory.mktemp("plane"))
    running.deploy(1, CHAMPION)
    running.start()
    yield running
    assert running.stop() == 0


def split(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"columns": list(ROW), "data": [list((ROW | row).values()) for row in rows]}


def invoke(worker: Worker, body: Any, **more: Any) -> httpx.Response:
    return worker.client.post("/invocations", json=body, **more)


def the_client_asks(port: int) -> dict[str, Any]:
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    client = ScoringServerClient("127.0.0.1", port)
    client.wait_server_ready(timeout=100)
    frame = pd.DataFrame(
        {
            "id": ["a", "b"],
            "carrier": ["AA", "UA"],
            "distance": [1000.0, 2000.0],
            "seats": [None, 3],
            "departs": ["2013-07-01T12:00:00Z"] * 2,
            "unknown": [1, 2],
        }
    )
    given = client.invoke(frame, params={"temperature": 1})
    try:
        client.invoke(pd.DataFrame({"id": ["a"]}))
    except Exception as error:  # noqa: BLE001 - the client raises nothing narrower
        refused = str(error)
    return {
        "version": client.get_version(),
        "frame": given["predictions"],
        "as_frame": given.get_predictions().shape,
        "refused": refused,
    }


@pytest.mark.timeout(900)  # its environment may have to be made
def test_the_official_client_scores_frames(worker: Worker, tmp_path: Path) -> None:
    from homeostat import __version__

    evaluator = Evaluator(tmp_path)
    try:
        got = evaluator.call("", the_client_asks, worker.port)
    finally:
        evaluator.stop()
    assert got["version"] == __version__
    assert got["frame"] == pytest.approx([0.2, 0.3])
    assert got["as_frame"] == [2, 1]
    assert "error code 400" in got["refused"]
    assert "carrier" in got["refused"]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": split({}, {"distance": 2000})},
        {"dataframe_split": split({}, {"distance": 2000}) | {"index": [0, 1]}, "params": {"a": 1}},
        {"dataframe_records": [ROW, ROW | {"distance": 2000, "more": None}]},
        {"instances": [ROW, ROW | {"distance": 2000}]},
        {"inputs": {name: [value, value if name != "distance" else 2000] for name, value in ROW.items()}},
        {"inputs": {name: [[value], [value if name != "distance" else 2000]] for name, value in ROW.items()}},
        {"inputs": [ROW, ROW | {"distance": 2000}], "params": None},
    ],
)
def test_every_form_gives_the_same(worker: Worker, body: dict[str, Any]) -> None:
    answer = invoke(worker, body)
    assert (answer.status_code, answer.json()) == (200, {"predictions": [0.2, pytest.approx(0.3)]})
    assert invoke(worker, body, params={"deployment": "flights"}).json() == answer.json()


def test_tables_as_other_programs_write_them(worker: Worker) -> None:
    # Excel puts a mark before UTF-8, pandas writes times without a zone, and midnight without its hours.
    for time in ("2013-07-01T12:00:00.000", "2013-07-01 12:00:00", "2013-07-01"):
        text = f'\ufeff"id",distance,carrier,departs,seats\r\n"a, ""b""\nc",1000,AA,{time},\r\n'
        answer = worker.client.post("/invocations", content=text, headers={"content-type": "text/csv"})
        assert (answer.status_code, answer.json()) == (200, {"predictions": [0.2]})
        answer = invoke(worker, {"dataframe_records": [ROW | {"departs": time}]})
        assert (answer.status_code, answer.json()) == (200, {"predictions": [0.2]})
    refused = invoke(worker, {"dataframe_records": [ROW | {"departs": "2013-13-01"}]})
    assert refused.status_code == 400


def test_csv_and_missing_numbers(worker: Worker) -> None:
    time = "2013-07-01T12:00:00Z"
    text = f"id,distance,carrier,departs,seats,late,other\na,1000,AA,{time},,true,x\nb,1e3,UA,{time},7,,y\n"
    headers = {"content-type": "text/csv; charset=utf-8"}
    answer = worker.client.post("/invocations", content=text, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"predictions": [0.2, 0.2]})
    for wrong in ("", "id\n", text + "a\n", text.replace("1000", "far"), text.replace("1000", "inf"), '"'):
        assert worker.client.post("/invocations", content=wrong, headers=headers).status_code == 400
    nan = json.dumps({"dataframe_records": [ROW | {"code": float("nan")}]})
    assert worker.client.post("/invocations", content=nan).status_code == 200
    answer = worker.client.post("/invocations", content=nan.replace("NaN", "Infinity"))
    assert answer.status_code == 400
    assert "Infinity" in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "exactly one of"),
        ({"instances": [ROW], "inputs": [ROW]}, "exactly one of"),
        ({"instances": [ROW], "signature": 1}, "signature: there is no such field"),
        ({"instances": [ROW], "params": [1]}, "params: it is no object"),
        ({"instances": []}, "there is no row"),
        ({"instances": {}}, "instances has not the form"),
        ({"dataframe_split": {"columns": ["id"], "data": [["a", "b"]]}}, "has not 1 values"),
        ({"dataframe_split": {"data": [["a"]]}}, "there are no columns"),
        ({"inputs": {"id": ["a", "b"], "carrier": ["AA"]}}, "differ in length"),
        ({"dataframe_records": [ROW | {"distance": "far"}]}, "[0].distance: Expected `float`, got `str`"),
        ([1], "no object"),
    ],
)
def test_what_is_wrong_is_told_as_mlflow_tells_it(worker: Worker, body: Any, said: str) -> None:
    answer = invoke(worker, body)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert said in answer.json()["message"]


def test_the_container_contract(worker: Worker) -> None:
    assert worker.client.get("/ping").status_code == 200
    assert worker.client.get("/health").status_code == 200
    answer = worker.client.post("/invocations", content=b"x", headers={"content-type": "image/png"})
    assert answer.status_code == 415
    assert worker.client.get("/invocations").status_code == 405
    answer = invoke(worker, {"instances": [ROW]}, params={"deployment": "nothing"})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_rows_as_tensorflow_serving_takes_them(worker: Worker) -> None:
    answer = worker.client.post(
        "/v1/models/flights:predict", json={"instances": [ROW, ROW | {"distance": 2000}]}
    )
    assert (answer.status_code, answer.json()) == (200, {"predictions": [0.2, pytest.approx(0.3)]})
    same = worker.client.post("/v1/models/flights/versions/1:predict", json={"instances": [ROW]})
    assert same.json() == {"predictions": [0.2]}
    told = worker.client.get("/v1/models/flights").json()
    assert told == {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ],
        "name": "flights",
        "ready": True,  # as KServe asks for it
    }
    assert worker.client.get("/v1/models/flights/").json() == told
    for path in ("/v1/models/flights", "/v2/health/ready", "/v2/models/flights", "/ping"):
        head = worker.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
    assert worker.client.get("/v1/models").json() == {"models": ["flights"]}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("flights:predict", {}, 400, "instances"),
        ("flights:predict", {"instances": 1}, 400, "instances"),
        ("flights:predict", {"instances": []}, 400, "no row"),
        ("flights:predict", {"instances": [ROW, {"id": "a"}]}, 400, "[1].carrier: "),
        ("flights:predict", {"instances": [ROW | {"late": "yes"}]}, 400, "[0].late"),
        ("flights:predict", {"instances": [ROW | {"id": "poison"}]}, 500, "poison"),
        ("flights:classify", {"instances": [ROW]}, 404, ""),
        ("nothing:predict", {"instances": [ROW]}, 404, "nothing"),
        ("flights/versions/7:predict", {"instances": [ROW]}, 404, "version 7"),
        ("flights/versions/:predict", {"instances": [ROW]}, 404, ""),
    ],
)
def test_rows_that_are_refused(worker: Worker, path: str, body: Any, status: int, said: str) -> None:
    answer = worker.client.post(f"/v1/models/{path}", json=body)
    assert (answer.status_code, set(answer.json())) == (status, {"error"})
    assert said in answer.json()["error"]


def test_several_deployments_must_be_named(worker: Worker, tmp_path: Path) -> None:
    both = {"flights": (1, [CHAMPION]), "trains": (1, [CHAMPION])}
    (worker.home / "deployments.json").write_text(json.dumps(both))
    worker.sync()
    try:
        answer = invoke(worker, {"instances": [ROW]})
        assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")
        assert "?deployment=NAME of flights, trains" in answer.json()["message"]
        assert invoke(worker, {"instances": [ROW]}, params={"deployment": "trains"}).status_code == 200
    finally:
        worker.deploy(1, CHAMPION)
        worker.sync()
