"""The control API: each route, each kind of error, and who may ask."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import msgspec
import polars as pl
import pytest
from starlette.testclient import TestClient

from homeostat.adapters.clock import SimulatedClock
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings
from homeostat.domain import records
from homeostat.server.api import Api
from homeostat.server.calls import ARROW
from homeostat.server.described import OPERATIONS

START = datetime(2013, 1, 1, tzinfo=UTC)
PROJECT = """
import homeostat as hs

class Row(hs.Contract):
    id: str
    x: float
    late: bool | None

def train(data):
    raise RuntimeError("not in this test")

rows = hs.Dataset("rows", key="id", contract=Row)
delay = hs.Model("delay", task=hs.Binary(label="late", source=rows), train=train)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "project.py").write_text(PROJECT)
    return tmp_path / "home"


@pytest.fixture
def container(home: Path) -> Iterator[Container]:
    SimulatedClock(home / "clock", START).close()
    with Container(Settings(home=home, clock="simulated")) as container:
        apply(container, load_project(home.parent))
        yield container


@pytest.fixture
def client(container: Container) -> Iterator[TestClient]:
    with ThreadPoolExecutor(2) as pool:
        yield TestClient(Api(container, pool), base_url="http://127.0.0.1")


def test_health_is_told_while_every_thread_is_busy(container: Container) -> None:
    going = Event()
    with ThreadPoolExecutor(1) as pool:
        client = TestClient(Api(container, pool), base_url="http://127.0.0.1")
        busy = pool.submit(going.wait, 100)
        try:
            assert client.get("/health").json()["status"] == "ok"
            assert not busy.done()
        finally:
            going.set()


def test_health(client: TestClient) -> None:
    answer = client.get("/health").json()
    assert answer == {"status": "ok", "clock": "simulated", "now": "2013-01-01T00:00:00Z", "ledger": 2}


def test_rows_as_json_are_checked_and_counted_once(client: TestClient, container: Container) -> None:
    rows = [{"id": "a", "x": 1.5, "late": True}, {"id": None, "x": 2.0, "late": None}]
    answer = client.post("/datasets/rows/rows?token=t1&tag.fault=nulls", json=rows).json()
    assert (answer["accepted"], answer["quarantined"]) == (1, 1)
    assert list(answer["reasons"].values()) == [1]
    again = client.post("/datasets/rows/rows?token=t1", json=rows).json()
    assert again["repeated"]
    assert container.store.count(records.Batch) == 1
    assert container.store.find(records.Batch)[0].tags == {"fault": "nulls"}


def test_rows_as_arrow(client: TestClient) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"id": ["a", "b"], "x": [1.0, 2.0], "late": [True, None]}).write_ipc_stream(buffer)
    answer = client.post("/datasets/rows/rows", content=buffer.getvalue(), headers={"content-type": ARROW})
    assert answer.json()["accepted"] == 2
    version = client.post("/datasets/rows/seal").json()
    assert (version["version"], version["rows"]) == (1, 2)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "field"),
    [
        ("GET", "/nothing", None, 404, "not_found", ""),
        ("GET", "/runs/R1", None, 404, "not_found", ""),
        ("GET", "/predictions/P1", None, 404, "not_found", ""),
        ("GET", "/why/other", None, 404, "not_found", ""),
        ("GET", "/why/delay?limit=many", None, 400, "bad_request", "limit"),
        ("GET", "/lineage?ref=delay", None, 400, "bad_reference", ""),
        ("GET", "/lineage?ref=model/delay&direction=left", None, 400, "bad_request", "direction"),
        ("POST", "/datasets/none/rows", b"[]", 404, "not_found", ""),
        ("POST", "/datasets/rows/rows", b"{", 400, "bad_request", ""),
        ("POST", "/datasets/rows/rows", b'[{"id": 1}, 2]', 400, "bad_request", "[1]"),
        ("POST", "/datasets/rows/rows", b'[{"x": %s}]' % (b"9" * 60), 400, "bad_request", ""),
        ("POST", "/datasets/rows/rows", b'[{"id": "a", "y": 1}]', 422, "contract_broken", ""),
        ("POST", "/models/none/train", b"{}", 404, "not_found", ""),
        ("POST", "/models/delay/train", b"{}", 409, "conflict", ""),
        ("POST", "/models/delay/train", b'{"params": 1}', 400, "bad_request", "params"),
        ("POST", "/models/delay/train", b'{"parms": {}}', 400, "bad_request", ""),
        ("POST", "/models/delay/promote", b'{"version": 3}', 404, "not_found", ""),
        ("POST", "/models/delay/promote", b"{}", 400, "bad_request", ""),
        ("POST", "/deployments/none/rollback", b"{}", 404, "not_found", ""),
        ("POST", "/clock", b'{"now": "2012-01-01T00:00:00Z"}', 409, "conflict", ""),
        ("POST", "/clock", b'{"now": "2014-01-01T00:00:00"}', 400, "bad_request", "now"),
    ],
)
def test_errors_name_what_is_wrong(
    client: TestClient, method: str, path: str, body: bytes | None, status: int, code: str, field: str
) -> None:
    answer = client.request(method, path, content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["message"]
    assert error.get("field", "") == field


LIMITED = [path for path, operation in OPERATIONS.items() if "limit" in operation.query]


@pytest.mark.parametrize("operation", LIMITED)
def test_an_answer_holds_as_many_records_as_is_described(client: TestClient, operation: str) -> None:
    method, path = operation.split()
    path = path.format(name="delay", trigger="delay")
    for limit in (0, 1001, 999_999_999):
        answer = client.request(method, path, params={"limit": limit})
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, "limit")
    assert client.request(method, path, params={"limit": 1000}).status_code == 200


def test_an_unexpected_failure_is_logged_and_hidden(
    client: TestClient,
    container: Container,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("homeostat.app.explain.status", lambda container: 1 / 0)
    answer = client.get("/status")
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "the server failed"
    assert "ZeroDivisionError" in caplog.text


def test_a_turn_and_the_clock(client: TestClient) -> None:
    assert client.post("/clock", json={"now": "2013-01-02T00:00:00Z"}).json() == {
        "now": "2013-01-02T00:00:00Z"
    }
    assert client.get("/health").json()["now"] == "2013-01-02T00:00:00Z"
    assert client.post("/tick").json()["busy"] == []


def test_nobody_moves_the_system_clock(home: Path) -> None:
    with Container(Settings(home=home)) as container, ThreadPoolExecutor(1) as pool:
        client = TestClient(Api(container, pool), base_url="http://127.0.0.1")
        for path, body in (("/tick", {}), ("/clock", {"now": "2013-01-01T00:00:00Z"})):
            answer = client.post(path, json=body)
            assert answer.status_code == 409
            assert "simulated" in answer.json()["error"]["remedy"]


def test_training_is_queued_and_found(client: TestClient) -> None:
    client.post("/datasets/rows/rows", json=[{"id": "a", "x": 1.5, "late": True}])
    run = client.post("/models/delay/train", json={"reason": "to see", "tags": {"by": "me"}}).json()
    assert (run["state"], run["reason"], run["tags"]) == ("queued", "to see", {"by": "me"})
    assert client.get(f"/runs/{run['id']}").json()["inputs"] == ["dataset/rows@1"]
    assert client.get(f"/lineage?ref=run/{run['id']}").json()["up"]


def test_lists(client: TestClient, container: Container) -> None:
    assert client.get("/models/delay/versions").json() == []
    assert client.get("/alerts").json() == []
    deployment = client.get("/deployments").json()[0]
    assert deployment["url"] == f"http://127.0.0.1:{container.settings.serve_port}/predict/delay"
    assert [event["kind"] for event in client.get("/ledger?kind=project.applied").json()] == [
        "project.applied"
    ]
    assert client.get("/ledger/verify").json() == {"ok": True, "checked": 2, "broken_at": None, "reason": ""}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:5000"}, 200),
        ({"host": "[::1]:5000"}, 200),
        ({"host": "evil.example"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "["}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"host": "127.0.0.1:5000", "origin": "http://127.0.0.1:5000"}, 200),
        ({"host": "127.0.0.1:5000", "origin": "http://127.0.0.1:8000"}, 403),
    ],
)
def test_pages_of_others_may_not_ask(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.get("/health", headers=headers).status_code == status


def test_a_body_that_is_no_arrow_stream(client: TestClient) -> None:
    answer = client.post("/datasets/rows/rows", content=b"junk", headers={"content-type": ARROW})
    assert answer.status_code == 400
    assert msgspec.json.decode(answer.content)["error"]["remedy"]


def test_an_arrow_stream_that_is_not_well_formed(client: TestClient) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"id": ["1", "2"], "n": [1, 2], "t": [1.0, None]}).write_ipc_stream(buffer)
    for place in range(296, 304):  # Polars panics at some of them
        wrong = bytearray(buffer.getvalue())
        wrong[place] = 255
        answer = client.post("/datasets/rows/rows", content=bytes(wrong), headers={"content-type": ARROW})
        assert answer.status_code in (400, 422)


def test_a_call_takes_as_much_as_it_needs(client: TestClient) -> None:
    mebibyte = b" " * (1 << 20) + b"{}"
    for path in ("/tick", "/models/delay/train", "/runs/search"):
        answer = client.post(path, content=mebibyte)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert client.request("GET", "/health", content=mebibyte).status_code == 413
    for path in (
        "/deployments/delay/labels",
        "/models/delay/import",
        "/runs/ab12/log",
        "/datasets/rows/rows",
    ):
        assert client.post(path, content=mebibyte).status_code in (400, 404)
