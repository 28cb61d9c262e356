"""The worker as shipped: a real store, a package with the code it was trained with, the real program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import msgspec
import numpy as np
import polars as pl
import psutil
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from homeostat.app.container import Container
from homeostat.app.projects import load_project, snapshot
from homeostat.app.reading import read
from homeostat.app.serving import load_version
from homeostat.app.settings import Settings
from homeostat.app.tracing.reading import whole_trace
from homeostat.domain.contracts import SEQ, Column
from homeostat.domain.errors import Conflict, NotFound, Unsafe
from homeostat.domain.records import Arm, Deployment, Lease, ModelVersion, Project, Run
from homeostat.domain.traces import Trace
from homeostat.domain.tracking import Experiment
from homeostat.engine.features.delivery import Delivery
from homeostat.engine.features.featureset import changes, online_key
from homeostat.engine.registry import package
from tests.server.workers import ROOT, eventually, shared_port

NOON = datetime(2013, 7, 1, 12, tzinfo=UTC)
PROJECT = """
    from datetime import datetime

    import homeostat as hs
    import polars as pl

    from helpers import HOURS

    class Flight(hs.Contract):
        flight: str
        origin: str
        departs: datetime
        distance: float | None
        late: bool | None = None

    class Weather(hs.Contract):
        origin: str
        observed_at: datetime
        temp: float | None

    flights = hs.Dataset("flights", key="flight", time="departs", contract=Flight)
    weather = hs.Dataset("weather", key=["origin", "observed_at"], time="observed_at", contract=Weather)
    origin = hs.Entity("origin")

    @hs.feature_view(entity=origin, source=weather, ttl="3h")
    def sky(w: pl.LazyFrame) -> pl.LazyFrame:
        return w.select("temp")

    @hs.on_request
    def trip(r: pl.LazyFrame) -> pl.LazyFrame:
        return r.select("distance", hour=pl.col("departs").dt.hour() / HOURS)

    def train(data):
        raise NotImplementedError

    delay = hs.Model(
        "delay", task=hs.Binary(label="late", source=flights), features=[sky, trip], train=train
    )
"""
FEATURES = ("sky__temp", "trip__distance", "trip__hour")
REQUEST = (
    Column(name="flight", type="string"),
    Column(name="origin", type="string"),
    Column(name="departs", type="datetime"),
    Column(name="distance", type="float", nullable=True),
)
TRACE = "a" * 32
ROW = {"flight": "UA1", "origin": "JFK", "departs": "2013-07-01T12:30:00Z", "distance": 1000.0}


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home", serve_port=shared_port())) as made:
        yield made


@pytest.fixture
def code(container: Container, tmp_path: Path) -> str:
    root = tmp_path / "project"
    root.mkdir()
    (root / "project.py").write_text(dedent(PROJECT))
    (root / "helpers.py").write_text("HOURS = 24\n")
    weather = pl.DataFrame(
        {"origin": ["JFK", "EWR"], "observed_at": [NOON, NOON], "temp": [70.0, 80.0], SEQ: [3, 3]}
    )
    sky: Any = load_project(root).views["sky"]
    container.online.write(
        online_key(sky), changes(sky, Delivery(sky.source, weather), container.online, NOON), 3
    )
    return snapshot(container.blobs, root)


def fitted(sign: int) -> Any:
    X = pl.DataFrame({name: np.linspace(-1, 1, 50) for name in FEATURES})
    y = np.arange(50) * sign > 24.5 * sign
    return HistGradientBoostingClassifier(max_iter=5).fit(X, y)


def publish(container: Container, code: str, version: int, **changes: Any) -> ModelVersion:
    signature = package.Signature(
        **{
            "features": tuple(Column(name=name, type="float", nullable=True) for name in FEATURES),
            "request": REQUEST,
            "key": ("flight",),
            "time": "departs",
            "views": ("feature-view/sky@1", "feature-view/trip@1"),
            "label": "late",
        }
        | changes
    )
    files = package.pack(
        fitted(1 if version == 1 else -1), signature, environment="", example=ROW, reference={}
    )
    manifest = package.store(container.blobs, files)
    record = ModelVersion(
        model="delay",
        version=version,
        digest=package.digest(manifest),
        manifest=manifest,
        run=f"run{version}",
        stage="accepted",
        created_at=NOON,
        updated_at=NOON,
    )
    run = Run(
        id=f"run{version}",
        kind="train",
        model="delay",
        state="succeeded",
        reason="",
        code=code,
        created_at=NOON,
    )
    project = Project(
        name="delays", path="/elsewhere/project.py", digest="", source=code, declared={}, applied_at=NOON
    )
    with container.store.begin() as transaction:
        transaction.put(project, record, run)
    return record


def deploy(container: Container, generation: int, *arms: Arm) -> None:
    with container.store.begin() as transaction:
        transaction.put(
            Deployment(name="delay", model="delay", generation=generation, arms=list(arms), at=NOON)
        )


def test_the_program_serves_logs_and_leaves(container: Container, code: str) -> None:
    publish(container, code, 1)
    publish(container, code, 2)
    deploy(container, 1, Arm(1, 1.0, "champion"))
    settings = container.settings
    process = subprocess.Popen(
        [sys.executable, "-m", "homeostat.server.worker", "--worker", "w1"],
        env={**os.environ, **settings.environment(), "PYTHONPATH": str(ROOT / "src")},
    )
    try:
        url = f"http://127.0.0.1:{settings.serve_port}"
        eventually(lambda: httpx.get(f"{url}/ready", timeout=60).status_code == 200)
        (lease,) = eventually(lambda: container.store.find(Lease))
        assert (lease.role, lease.pid, lease.detail["port"]) == ("worker", process.pid, settings.serve_port)
        started = psutil.Process(process.pid).create_time()
        assert lease.detail["started"] == pytest.approx(started, abs=1)  # a later process may get its pid
        got = httpx.post(f"{url}/predict/delay?explain=features", json=ROW, timeout=60).json()
        assert got["features"] == {"sky__temp": 70.0, "trip__distance": 1000.0, "trip__hour": 0.5}
        assert got["age_seconds"] == {"sky": 1800.0}
        unknown = httpx.post(
            f"{url}/predict/delay?explain=features", json=ROW | {"origin": "XXX"}, timeout=60
        ).json()
        assert (unknown["features"]["sky__temp"], unknown["as_of"]) == (None, {"sky": None})
        traced = httpx.post(
            f"{url}/predict/delay", json=ROW, headers={"traceparent": f"00-{TRACE}-{'b' * 16}-01"}, timeout=60
        )
        assert traced.headers["traceparent"].startswith(f"00-{TRACE}-")
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=lease.address), base_url="http://worker", timeout=60
        ) as private:
            deploy(container, 2, Arm(1, 0.0, "champion"), Arm(2, 1.0, "canary"))
            synced = private.post("/-/sync", timeout=30).json()
            assert synced["generation"] == {"delay": 2}
        other = httpx.post(f"{url}/predict/delay", json=ROW, timeout=60).json()
        assert (other["version"], other["arm"]) == (2, "canary")
        assert other["score"] == pytest.approx(1 - got["score"], abs=1e-6)
        process.terminate()
        assert process.wait(100) == 0
    finally:
        process.kill()
        process.wait()
    assert container.store.find(Lease) == []
    (experiment,) = container.store.find(Experiment, ("name", "=", "delay"))
    (trace,) = container.store.find(Trace, ("experiment", "=", experiment.id), ("state", "=", "OK"))
    assert trace.name == "POST /predict/{deployment}"  # the first request, which nobody asked to trace
    _, told = whole_trace(container, f"tr-{TRACE}", partial=False)
    spans = {span["name"]: span for span in told}
    assert spans.keys() == {trace.name, "wait", "features", "predict", "log"}
    assert spans[trace.name]["parent_span_id"] == "b" * 16
    log = read(container, "delay.predictions").collect().sort("at")
    assert log["prediction_id"].to_list()[0] == got["prediction_id"]
    row = log.row(3, named=True)
    assert (row["key"], row["version"], row["score"]) == ("UA1", 2, other["score"])
    assert (row["shadow_version"], row["shadow_score"]) == (1, pytest.approx(got["score"]))
    assert (row["as_of__sky"], row["position__sky"]) == (NOON, 3)
    assert row["time"] == NOON + timedelta(minutes=30)
    assert [row[name] for name in FEATURES] == [70.0, 1000.0, 0.5]


def test_what_was_altered_or_is_gone_is_not_served(container: Container, code: str) -> None:
    record = publish(container, code, 1)
    with pytest.raises(NotFound, match="model/delay@7"):
        load_version(container, "delay", 7)
    with container.store.begin() as transaction:
        transaction.put(
            Run(id="run1", kind="train", model="delay", state="succeeded", reason="", created_at=NOON)
        )
    with pytest.raises(NotFound, match="no run with code"):
        load_version(container, "delay", 1)
    publish(container, code, 1)
    with container.store.begin() as transaction:
        transaction.put(msgspec.structs.replace(record, digest="sha256:" + "0" * 64))
    with pytest.raises(Unsafe):
        load_version(container, "delay", 1)


def test_features_must_be_those_of_the_training(container: Container, code: str) -> None:
    publish(container, code, 1, features=(Column(name="sky__temp", type="float"),))
    with pytest.raises(Conflict, match="trip__distance"):
        load_version(container, "delay", 1)
