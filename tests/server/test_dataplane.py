"""The data plane as its clients see it: one real worker process, real HTTP."""

from __future__ import annotations

import itertools
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from homeostat.server.dataplane import BODY_LIMIT
from homeostat.server.worker import socket_path
from tests.engine.serving.fakes import ROW, body
from tests.server.workers import Worker, eventually

CHAMPION = (1, 1.0, "champion")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    running = Worker(tmp_path_factory.mktemp("plane"))
    running.deploy(1, CHAMPION)
    running.start()
    yield running
    assert running.stop() == 0
    assert not running.socket.exists()


@pytest.fixture(autouse=True)
def champion(worker: Worker) -> None:
    worker.deploy(1, CHAMPION)
    worker.sync()


def error(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    assert found["code"]
    assert found["message"]
    return found


def test_an_answer(worker: Worker) -> None:
    answer = worker.ask()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    got = answer.json()
    assert got == {
        "prediction_id": got["prediction_id"],
        "deployment": "flights",
        "version": 1,
        "arm": "champion",
        "score": 0.2,
    }
    assert len(got["prediction_id"]) == 26


def test_instances_are_answered_in_order(worker: Worker) -> None:
    rows = [ROW | {"id": str(n), "distance": n} for n in range(40)]
    got = worker.client.post("/predict/flights", json={"instances": rows}).json()
    assert got["deployment"] == "flights"
    assert [answer["score"] for answer in got["predictions"]] == [n / 10_000 + 0.1 for n in range(40)]
    assert len({answer["prediction_id"] for answer in got["predictions"]}) == 40


def test_features_and_their_ages_on_request(worker: Worker) -> None:
    got = worker.client.post("/predict/flights?explain=features", json=ROW).json()
    assert got["features"] == {"flight__distance": 1000.0, "weather__temp": None}
    assert got["as_of"] == {"weather": "2013-07-01T11:30:00Z"}
    assert got["age_seconds"] == {"weather": 1800.0}
    many = worker.client.post("/predict/flights?explain=features", json={"instances": [ROW, ROW]}).json()
    assert [set(answer) for answer in many["predictions"]] == [set(got)] * 2
    assert "features" not in worker.client.post("/predict/flights?other=1", json=ROW).json()
    wrong = worker.client.post("/predict/flights?explain=everything", json=ROW)
    assert (wrong.status_code, error(wrong)["field"]) == (400, "explain")


@pytest.mark.parametrize(
    ("content", "status", "code", "field"),
    [
        (body(carrier="XX"), 400, "invalid_request", "carrier"),
        (body(carrier=...), 400, "invalid_request", "carrier"),
        (body(carier="AA"), 400, "invalid_request", "carier"),
        (body(distance="far"), 400, "invalid_request", "distance"),
        (body(distance=1e9), 400, "invalid_request", "distance"),
        (body().replace(b"1000.0", b"NaN"), 400, "invalid_json", "distance"),
        (b'{"instances":[%s,%s,%s,%s]}' % (body(), body(), body(), body(carrier=1)), 400, "invalid_request",
         "instances[3].carrier"),
        (b'{"instances":[]}', 400, "invalid_request", "instances"),
        (b"not json", 400, "invalid_json", None),
        (b"[1]", 400, "invalid_request", None),
        (b"", 400, "invalid_json", None),
        (b'{"instances":[%s]}' % (b" " * BODY_LIMIT), 413, "body_too_large", None),
    ],
)  # fmt: skip
def test_errors_name_the_field(
    worker: Worker, content: bytes, status: int, code: str, field: str | None
) -> None:
    answer = worker.client.post("/predict/flights", content=content)
    found = error(answer)
    assert (answer.status_code, found["code"], found.get("field")) == (status, code, field)
    assert found["remedy"]
    assert worker.ask().status_code == 200


def test_a_streamed_body_is_limited_too(worker: Worker) -> None:
    def parts(count: int) -> Iterator[bytes]:
        yield body()
        for _ in range(count):
            yield b" " * 65536

    assert worker.client.post("/predict/flights", content=parts(3)).status_code == 200
    try:
        answer = worker.client.post("/predict/flights", content=parts(BODY_LIMIT // 65536 + 1))
    except httpx.WriteError:
        pass  # the worker closed the connection before it was asked for everything
    else:
        assert answer.status_code == 413
    assert worker.ask().status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/predict/nothing", 404, "unknown_deployment"),
        ("POST", "/predict/", 404, "unknown_deployment"),
        ("GET", "/predict/flights", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("GET", "/", 404, "not_found"),
        ("POST", "/-/sync", 404, "not_found"),
    ],
)
def test_paths(worker: Worker, method: str, path: str, status: int, code: str) -> None:
    answer = worker.client.request(method, path)
    assert (answer.status_code, error(answer)["code"]) == (status, code)
    if status == 405:
        assert answer.headers["allow"]


def test_control_is_on_the_private_socket_alone(worker: Worker) -> None:
    assert worker.private.get("/ready").json()["generation"] == {"flights": 1}
    assert worker.private.get("/-/sync").status_code == 405
    assert worker.private.post("/predict/flights", json=ROW).status_code == 404
    assert worker.socket.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("path", ["/predict/flights", "/v1/models/flights:predict"])
def test_pages_of_others_may_not_ask(worker: Worker, path: str) -> None:
    here = str(worker.client.base_url).rstrip("/")
    content = body() if path.startswith("/predict") else b'{"instances": [%s]}' % body()
    for origin, host, code in (
        ("http://evil.example", "", "wrong_origin"),
        ("null", "", "wrong_origin"),
        ("http://evil.example", "evil.example", "wrong_host"),  # whose name leads here by now
        ("http://[", "", "wrong_origin"),
        (here, "", ""),
    ):
        headers = {"origin": origin, "content-type": "text/plain"} | ({"host": host} if host else {})
        answer = worker.client.post(path, content=content, headers=headers)
        assert answer.status_code == (403 if code else 200)
        if code:
            assert error(answer)["code"] == code


def test_health_and_readiness(worker: Worker) -> None:
    assert worker.client.get("/health").json() == {"status": "live"}
    assert worker.client.get("/ready").status_code == 200
    worker.deploy(1, (9, 1.0, "champion"), name="broken")
    assert "version 9" in worker.sync()["errors"]["broken"]
    answer = worker.client.get("/ready")
    assert (answer.status_code, error(answer)["code"]) == (503, "not_ready")
    answer = worker.ask("broken")
    assert (answer.status_code, error(answer)["code"], answer.headers["retry-after"]) == (
        503,
        "not_ready",
        "1",
    )
    assert worker.client.head("/health").status_code == 200


def test_one_poison_row_of_fifteen_fails_alone(worker: Worker) -> None:
    ids = [f"slow{n}" if n == 0 else "poison" if n == 7 else f"row{n}" for n in range(15)]
    with ThreadPoolExecutor(15) as pool:
        answers = list(
            pool.map(
                lambda id: httpx.post(f"{worker.url}/predict/flights", json=ROW | {"id": id}, timeout=60), ids
            )
        )
    assert [answer.status_code for answer in answers] == [500 if id == "poison" else 200 for id in ids]
    failed = answers[7].json()
    assert failed["error"]["code"] == "prediction_failed"
    assert "poison" in failed["error"]["message"]
    assert len(failed["prediction_id"]) == 26
    many = worker.client.post("/predict/flights", json={"instances": [ROW, ROW | {"id": "poison"}]})
    assert (many.status_code, error(many)["field"]) == (500, "instances[1]")
    worker.sync()
    row = worker.logged().filter(prediction_id=failed["prediction_id"]).to_dicts()[0]
    assert (row["status"], row["score"], row["error"]) == (500, None, "ValueError: poison")


def test_traffic_splits_by_weight_and_sticks(worker: Worker) -> None:
    worker.deploy(2, (1, 0.7, "champion"), (2, 0.3, "canary"))
    assert worker.sync()["generation"] == {"flights": 2}
    rows = [ROW | {"id": f"flight-{n}"} for n in range(3000)]

    def arms() -> list[tuple[str, str]]:
        got = worker.client.post("/predict/flights", json={"instances": rows}).json()["predictions"]
        assert {(a["arm"], a["version"], round(a["score"], 6)) for a in got} == {
            ("champion", 1, 0.2),
            ("canary", 2, 0.3),
        }
        return [(row["id"], a["arm"]) for row, a in zip(rows, got, strict=True)]

    first = arms()
    assert sum(arm == "canary" for _, arm in first) / 3000 == pytest.approx(0.3, abs=0.03)
    assert arms() == first
    worker.deploy(3, (1, 0.4, "champion"), (2, 0.6, "canary"))
    worker.sync()
    assert {id for id, arm in first if arm == "canary"} < {id for id, arm in arms() if arm == "canary"}
    shadows = worker.logged().filter(arm="canary", version=2)
    assert shadows["shadow_version"].unique().to_list() == [1]
    assert shadows["shadow_score"].round(6).unique().to_list() == [0.2]


def test_the_champion_answers_for_a_failing_canary(worker: Worker) -> None:
    worker.deploy(2, (1, 0.5, "champion"), (8, 0.5, "canary"))
    worker.sync()
    rows = [ROW | {"id": f"failing-{n}"} for n in range(100)]
    answers = [worker.ask(**row) for row in rows]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["arm"] for answer in answers} == {"champion"}
    assert {answer.json()["version"] for answer in answers} == {1}
    worker.sync()
    logged = worker.logged().filter(version=8)
    assert 30 < logged.height < 70
    assert logged["arm"].unique().to_list() == ["canary"]
    assert logged["status"].unique().to_list() == [200]
    assert logged["error"].unique().to_list() == ["RuntimeError: version 8 fails"]
    assert logged["score"].null_count() == logged.height
    assert logged["shadow_score"].round(6).unique().to_list() == [0.2]


def test_pipelined_and_kept_connections(worker: Worker) -> None:
    def request(id: str) -> bytes:
        content = body(id=id)
        return (
            b"POST /predict/flights HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(content)
            + content
        )

    with socket.create_connection(("127.0.0.1", worker.port), timeout=60) as connection:
        for _ in range(2):
            connection.sendall(b"".join(request(f"p{n}") for n in range(20)))
            got = b""
            while got.count(b'"prediction_id"') < 20 or not got.endswith(b"}"):
                part = connection.recv(65536)
                assert part
                got += part
            assert got.count(b"HTTP/1.1 200") == 20
        connection.sendall(request("half")[:50])
    assert worker.ask().status_code == 200


def test_every_answer_is_logged_once(worker: Worker) -> None:
    worker.sync()
    before = worker.logged().height
    ids = {worker.ask(id=f"logged-{n}").json()["prediction_id"] for n in range(30)}
    synced = worker.sync()
    logged = worker.logged()
    assert logged.height - before == 30
    assert synced["flushed"] <= 30
    rows = logged.filter(logged["prediction_id"].is_in(ids))
    assert rows["key"].n_unique() == 30
    assert (rows["latency_us"] > 0).all()
    assert rows["time"].unique().dt.to_string("iso:strict").to_list() == ["2013-07-01T12:00:00.000000+00:00"]


def test_the_log_outlives_a_store_that_is_away(worker: Worker) -> None:
    worker.sync()
    (worker.home / "broken").touch()
    try:
        id = worker.ask(id="kept").json()["prediction_id"]
        assert worker.sync()["flushed"] == 0
        counts = worker.stats()["log"]
        assert counts["buffered"] >= 1
        assert counts["failures"] >= 1
        assert "disk is full" in counts["error"]
    finally:
        (worker.home / "broken").unlink()
    eventually(lambda: worker.logged().filter(prediction_id=id).height == 1)
    assert worker.stats()["log"]["error"] == ""


def test_a_poll_follows_the_store_without_being_told(worker: Worker) -> None:
    worker.deploy(7, (3, 1.0, "champion"))
    eventually(lambda: worker.ask().json()["version"] == 3)


def test_a_swap_under_load_fails_no_request(worker: Worker) -> None:
    worker.deploy(10, (1, 1.0, "champion"))
    worker.sync()
    stop = False
    answers: list[tuple[int, int | None]] = []

    def load(n: int) -> None:
        with httpx.Client(base_url=worker.url, timeout=60) as client:
            for count in itertools.count():
                if stop:
                    return
                answer = client.post("/predict/flights", json=ROW | {"id": f"load-{n}-{count}"})
                answers.append((answer.status_code, answer.json().get("version")))

    def answered(*versions: int) -> bool:
        return set(versions) <= {version for _, version in list(answers)}

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(load, n) for n in range(4)]
        try:
            eventually(lambda: answered(1))
            for generation, version in enumerate([4, 5, 6, 9, 7], start=11):
                worker.deploy(generation, (version, 0.8, "champion"), (1, 0.2, "canary"))
                synced = worker.sync()
                assert synced["generation"] == {"flights": generation if version != 9 else generation - 1}
            eventually(lambda: answered(1, 7))
        finally:
            stop = True
        for future in running:
            future.result()
    assert {status for status, _ in answers} == {200}
    assert {version for _, version in answers} <= {1, 4, 5, 6, 7}


def test_a_home_with_a_long_path_gets_a_short_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert len(str(socket_path(long, "w1"))) < 100
    monkeypatch.undo()
    assert len(str(socket_path(long, "w1"))) < 100
    assert socket_path(long, "w1") != socket_path(long, "w2")
    assert socket_path(Path("/h"), "w1") == Path("/h/run/worker-w1.sock")
