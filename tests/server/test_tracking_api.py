"""The native calls about runs: what they answer, and what they say to what cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.engine.tracking.entries import Began, Params, encode
from homeostat.engine.tracking.frames import frame
from homeostat.server.api import Api

SAID = frame("S1", 1, encode(Began(experiment="exp", at=1_700_000_000_000))) + frame(
    "S1", 2, encode(Params(values={"a": "1"}))
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home: Path = tmp_path_factory.mktemp("api") / "home"
    with Container(Settings(home=home)) as container, ThreadPoolExecutor(2) as pool:
        client = TestClient(Api(container, pool), base_url="http://127.0.0.1")
        assert client.post("/runs/r1/log?stream=S1&after=0", content=SAID).json() == {"seq": 2, "refused": []}
        yield client


def test_frames_are_taken_once_and_the_position_is_told(client: TestClient) -> None:
    assert client.get("/runs/r1/log?stream=S1").json()["seq"] == 2
    assert client.get("/runs/r1/log?stream=S2").json()["seq"] == 0
    assert client.post("/runs/r1/log?stream=S1", content=SAID).json()["seq"] == 2


def test_runs_are_found_and_shown(client: TestClient) -> None:
    assert [
        run["id"] for run in client.post("/runs/search", json={"filter": "params.a = '1'"}).json()["runs"]
    ] == ["r1"]
    assert client.get("/runs/r1/summary").json()["params"] == {"a": "1"}
    nothing = {"timestamp": [], "step": [], "value": [], "axis": "epoch", "at": []}
    assert client.get("/runs/r1/points?key=loss&axis=epoch").json() == nothing


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("GET", "/runs/r1/log", b"", 400, "stream"),
        ("POST", "/runs/r1/log?stream=S1&after=x", SAID, 400, "after"),
        ("POST", "/runs/r1/log?stream=S1&after=7", SAID, 409, ""),
        ("POST", "/runs/r1/log?stream=S1", SAID[:-1], 400, "frames"),
        ("POST", "/runs/r1/log?stream=S2", SAID, 400, "frames"),
        ("POST", "/runs/r-1/log?stream=S1", SAID, 400, "run"),
        ("POST", "/runs/r1/log?stream=S/1", SAID, 400, "stream"),
        ("GET", "/runs/none/summary", b"", 404, ""),
        ("GET", "/runs/none/points?key=a", b"", 404, ""),
        ("GET", "/runs/r1/points", b"", 400, "key"),
        ("POST", "/runs/search", b'{"limit": "many"}', 400, "limit"),
        ("POST", "/runs/search", b'{"limit": 0}', 400, "limit"),
        ("POST", "/runs/search", b'{"filter": "loss <"}', 400, "filter"),
        ("POST", "/runs/search", b'{"view": "none"}', 400, "view"),
        ("POST", "/runs/search", b'{"token": "x"}', 400, "page_token"),
        ("POST", "/runs/search", b'{"experiments": ["none"]}', 404, ""),
        ("POST", "/runs/best", b"{}", 400, ""),
        ("POST", "/runs/best", b'{"metric": "loss"}', 404, ""),
        ("POST", "/runs/best", b'{"metric": "loss", "goal": "most"}', 400, "goal"),
    ],
)
def test_errors_name_what_is_wrong(
    client: TestClient, method: str, path: str, body: bytes, status: int, field: str
) -> None:
    answer = client.request(method, path, content=body)
    assert (answer.status_code, answer.json()["error"].get("field", "")) == (status, field), answer.text
    assert answer.json()["error"]["message"]


bodies = st.binary(max_size=200) | st.lists(st.binary(max_size=60), max_size=4).map(
    lambda payloads: b"".join(frame("F1", number, payload) for number, payload in enumerate(payloads, 1))
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies, after=st.integers(-1, 2**70))
def test_whatever_is_sent_is_no_failure_of_the_server(client: TestClient, body: bytes, after: int) -> None:
    assert client.post(f"/runs/fuzzed/log?stream=F1&after={after}", content=body).status_code in (
        200,
        400,
        409,
    )
