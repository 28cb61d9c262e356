"""The client against a real control process, and against servers that misbehave."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pandas as pd
import polars as pl
import pytest

import homeostat as hs
from homeostat.adapters.clock import SimulatedClock
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings
from homeostat.domain import errors
from homeostat.domain.records import Run
from homeostat.server.calls import refused
from tests.server.ups import Up
from tests.server.workers import eventually

pytestmark = pytest.mark.slow

START = datetime(2013, 1, 1, tzinfo=UTC)
PROJECT = """
import homeostat as hs
from sklearn.linear_model import LogisticRegression

class Row(hs.Contract):
    id: str
    x: float
    late: bool | None

def train(data, *, C: float = 1.0):
    return LogisticRegression(C=C).fit(data.X, data.y)

rows = hs.Dataset("rows", key="id", contract=Row)
delay = hs.Model("delay", task=hs.Binary(label="late", source=rows), train=train)
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("sdk")
    (folder / "project.py").write_text(PROJECT)
    SimulatedClock(folder / "home" / "clock", START).close()
    with Container(Settings(home=folder / "home", clock="simulated")) as container:
        apply(container, load_project(folder))
    running = Up(folder / "home", "--clock", "simulated").ready()
    yield running
    running.stop()


@pytest.fixture
def client(up: Up) -> Iterator[hs.Client]:
    with hs.Client(up.note.server) as client:
        yield client


@pytest.fixture(scope="module")
def run(up: Up) -> Run:
    """The training of the version that serves."""
    with hs.Client(up.note.server) as client:
        assert client.ingest("rows", frame(0), token="first", tags={"by": "test"}).accepted == 200
        made = client.train("delay", reason="the first", params={"C": 0.5})
        while client.tick().busy:
            pass
        client.tick()  # accepted in between: this turn brings it in
        ready = f"{up.note.predictions}/ready"
        eventually(lambda: httpx.get(ready, timeout=60).status_code == 200)
        return made


def frame(first: int, count: int = 200) -> pl.DataFrame:
    numbers = range(first, first + count)
    return pl.DataFrame(
        {
            "id": [f"r{n}" for n in numbers],
            "x": [float(n % 7) for n in numbers],
            "late": [n % 7 > 3 for n in numbers],
        }
    )


def test_a_model_from_rows_to_prediction_and_back(client: hs.Client, run: Run) -> None:
    assert client.ingest("rows", frame(0), token="first").repeated
    assert client.run(run.id).state == "succeeded"
    version = client.versions("delay")[0]
    assert (version.version, version.stage, version.run) == (1, "champion", run.id)
    assert client.gates("delay", 1) == []
    assert client.status()["deployments"][0]["arms"][0]["version"] == 1

    def predict() -> list[dict[str, object]]:
        return list(client.predict("delay", frame(500, 3).drop("late")))

    answers = predict()
    assert [answer["version"] for answer in answers] == [1, 1, 1]
    one = client.predict("delay", {"id": "r1", "x": 6.0}, explain=True)
    assert one["features"] == {"x": 6.0}
    assert one["score"] > 0.5

    def logged() -> bool:
        try:
            return bool(client.prediction(one["prediction_id"])["model"] == "model/delay@1")
        except hs.NotFound:
            return False

    assert eventually(logged)
    assert client.lineage("model/delay@champion")["up"]
    with pytest.raises(hs.Conflict, match="no champion before"):
        client.rollback("delay")
    with pytest.raises(hs.Conflict, match="champion already"):
        client.promote("delay", 1, reason="again")
    assert client.events(kinds=["run.succeeded"])[0].subject == f"run/{run.id}"
    assert client.verify().ok
    assert client.alerts() == []


@pytest.mark.parametrize(
    "rows",
    [
        [{"id": "a1", "x": 1, "late": None}, {"id": "a2", "x": 2.5, "late": True}],
        pd.DataFrame({"id": ["b1", "b2"], "x": [1.0, 2.0], "late": [True, False]}),
        pl.LazyFrame({"id": ["c1", "c2"], "x": [1.0, 2.0], "late": [True, False]}),
    ],
    ids=["dicts", "pandas", "lazy"],
)
def test_rows_in_any_form(client: hs.Client, rows: object) -> None:
    assert client.ingest("rows", rows).accepted == 2


def test_several_datasets_in_one_delivery(client: hs.Client) -> None:
    parcel = hs.Parcel("rows", frame(700, 3), token="together", tags={"by": "test"})
    (done,) = client.deliver([parcel])
    assert (done.accepted, done.repeated) == (3, False)
    assert client.deliver([parcel])[0].repeated
    with pytest.raises(hs.BadRequest, match="two parcels"):
        client.deliver([parcel, parcel])
    with pytest.raises(hs.NotFound, match="dataset/none"):
        client.deliver([hs.Parcel("none", frame(0))])


@pytest.mark.usefixtures("run")
def test_errors_are_those_of_the_server(client: hs.Client) -> None:
    with pytest.raises(hs.NotFound, match="dataset/none"):
        client.ingest("none", frame(0))
    with pytest.raises(hs.ContractBroken, match="'y'"):
        client.ingest("rows", pl.DataFrame({"id": ["a"], "x": [1.0], "late": [True], "y": [1]}))
    with pytest.raises(hs.NotFound, match="deployment/none"):
        client.predict("none", {})
    with pytest.raises(hs.Conflict, match="takes no parameter"):
        client.train("delay", params={"D": 1})
    with pytest.raises(hs.BadRequest) as caught:
        client.predict("delay", {"id": "a", "x": "wide"})
    assert caught.value.field == "x"
    with pytest.raises(hs.BadRequest, match="make no table"):
        client.ingest("rows", 3)


def test_versions_and_times_as_people_write_them(client: hs.Client, run: Run) -> None:
    for at in (1, "1", "champion"):
        assert client.version("delay", at).record.run == run.id
    then = client.live_at("delay", "2013-05-01T12:00")
    assert (then.version, then) == (1, client.live_at("delay", datetime(2013, 5, 1, 12, tzinfo=UTC)))
    assert client.live_at("delay", "2012-05-01").version is None
    with pytest.raises(hs.BadRequest, match="'soon' is no time"):
        client.live_at("delay", "soon")
    assert client.deprecate("delay", 1, on="2999-12-31", reason="old").deprecation is not None
    assert client.restore("delay", 1).deprecation is None
    for missing in (lambda: client.version("delay", 99), lambda: client.model("none")):
        with pytest.raises(hs.NotFound) as caught:
            missing()
        assert "homeostat models" in caught.value.remedy


def test_the_clock(client: hs.Client) -> None:
    later = datetime(2013, 1, 1, 1, tzinfo=UTC)
    assert client.set_clock(later) == later
    with pytest.raises(hs.Conflict):
        client.set_clock(START)


def test_a_killed_control_process_is_waited_for(up: Up, client: hs.Client) -> None:
    client.health()
    up.child("homeostat.server.control").kill()
    assert client.health()["status"] == "ok"
    assert client.ingest("rows", frame(900, 5), token="after").accepted == 5


@contextmanager
def serving(answers: list[bytes]) -> Iterator[tuple[str, list[str]]]:
    """A server that gives each connection its next answer; an empty one is a broken connection."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.close_connection = True
            if body := answers[min(len(asked), len(answers)) - 1]:
                self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


FINE = b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{"status":"ok"}'


def test_what_may_be_repeated_is_repeated() -> None:
    with serving([b"", b"", FINE]) as (url, asked), hs.Client(url) as client:
        assert client.health() == {"status": "ok"}
        assert asked == ["GET /health"] * 3


def test_what_may_not_be_repeated_is_asked_once() -> None:
    with serving([b""]) as (url, asked), hs.Client(url) as client:
        with pytest.raises(hs.StoreUnavailable, match="see with homeostat status whether this was done"):
            client.train("delay")
        with pytest.raises(hs.StoreUnavailable):
            client.ingest("rows", frame(0))
        assert asked == ["POST /models/delay/train", "POST /datasets/rows/rows"]


def test_patience_ends() -> None:
    with serving([b""]) as (url, asked), hs.Client(url, patience=0.5) as client:
        with pytest.raises(hs.StoreUnavailable, match="broke"):
            client.health()
        assert len(asked) >= 2


def test_an_import_that_takes_long_may_be_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeostat.sdk.registry._LONG", 0.2)
    (tmp_path / "MLmodel").write_text("flavors: {}")
    late = pytest.raises(
        hs.StoreUnavailable, match=r"in time\. It goes on at the server; .* the same version"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = hs.Client(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with client, late:
            client.import_directory("m", tmp_path)


def test_a_disk_that_does_not_take_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "large.bin").write_bytes(bytes(2 << 20))
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}")
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2097152\r\n\r\n" + bytes(2 << 20)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving([answer]) as (url, asked), hs.Client(url) as client:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        try:
            with pytest.raises(hs.StoreUnavailable, match=rf"below {tmp_path}: .*\. Free some space there"):
                client.export("m", tmp_path / "out")
            with pytest.raises(hs.StoreUnavailable, match="or name a folder that has some with TMPDIR"):
                client.import_directory("m", tmp_path / "model")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert asked == ["GET /models/m/versions/latest/files?layout=mlflow"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_nobody_there() -> None:
    with hs.Client("http://127.0.0.1:9") as client, pytest.raises(hs.StoreUnavailable) as caught:
        client.health()
    assert "homeostat up" in caught.value.remedy


@pytest.mark.parametrize(
    "kind",
    [
        errors.HomeostatError,
        errors.DeclarationError,
        errors.BadReference,
        errors.NotFound,
        errors.Conflict,
        errors.ContractBroken,
        errors.BadRequest,
        errors.StoreUnavailable,
        errors.Unsafe,
    ],
)
def test_an_error_of_the_server_is_the_same_here(kind: type[errors.HomeostatError]) -> None:
    status, body = refused(kind("it is so", remedy="Do that"))
    answer = b"HTTP/1.1 %d No\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)
    with serving([answer]) as (url, _), hs.Client(url) as client, pytest.raises(kind) as caught:
        client.health()
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.remedy) == ("it is so", "Do that")


def test_somebody_else_there() -> None:
    other = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"
    answered = pytest.raises(hs.HomeostatError, match="answered 403: no")
    with serving([other]) as (url, _), hs.Client(url) as client, answered:
        client.health()


def test_the_server_is_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOMEOSTAT_SERVER", "http://models.internal:5000/")
    with hs.Client() as client:
        assert client.server == "http://models.internal:5000"
