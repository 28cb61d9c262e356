"""``homeostat serve`` as its users run it: two workers on one port, asked by every protocol, killed, told to stop."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import skops.io
import tritonclient.grpc
import tritonclient.http
from sklearn.linear_model import LogisticRegression

from homeostat.app.container import Container
from homeostat.app.registry.deprecation import deprecate
from homeostat.app.registry.directories import import_directory
from homeostat.app.registry.trees import read_tree
from homeostat.app.settings import Settings
from homeostat.app.standalone import Asked, of_files
from homeostat.domain.errors import Unsafe
from tests.server.workers import ROOT, eventually, free_port

pytestmark = pytest.mark.slow

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 4))
MODEL = LogisticRegression().fit(X, X.sum(axis=1) > 0)


class Served:
    """A running ``homeostat serve``."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.log = folder / "out"
        scratch = folder / "scratch"
        scratch.mkdir(exist_ok=True)
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "homeostat", "serve", *arguments],
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT / "src"),
                    "HOMEOSTAT_HOME": str(folder / "home"),
                    "TMPDIR": str(scratch),
                },
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def ready(self) -> str:
        """The URL, once all workers answer."""

        def look() -> re.Match[str] | None:
            assert self.process.poll() is None, self.said
            return re.search(r"Ready: .* at (http://[\d.:]+)", self.said)

        return str(eventually(look)[1])

    def stop(self, number: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(100)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "churn.skops"
    skops.io.dump(MODEL, path)
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Served]:
    grpc = str(free_port())
    running = Served(
        tmp_path_factory.mktemp("served"), str(model), "--port", "0", "--grpc-port", grpc, "--workers", "2"
    )
    try:
        running.ready()
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def test_every_protocol_gives_what_the_model_gives(served: Served) -> None:
    url = served.ready()
    label, scores = MODEL.predict(X[:3]).tolist(), MODEL.predict_proba(X[:3])
    rows = {"instances": X[:3].tolist()}
    got = httpx.post(f"{url}/v1/models/churn:predict", json=rows).json()["predictions"]
    assert [row["label"] for row in got] == label
    assert [row["probabilities"] for row in got] == [pytest.approx(row) for row in scores.tolist()]
    assert httpx.post(f"{url}/invocations", json=rows).json() == {"predictions": label}
    columns = dict(zip(["x0", "x1", "x2", "x3"], X[0].tolist(), strict=True))
    native = httpx.post(f"{url}/predict/churn", json=columns).json()
    assert (native["version"], native["score"]) == (1, pytest.approx(scores[0, 1]))
    assert native["outputs"]["label"] == label[0]

    http = tritonclient.http.InferenceServerClient(url.removeprefix("http://"))
    table = tritonclient.http.InferInput("input", [3, 4], "FP64")
    table.set_data_from_numpy(X[:3])
    answer = http.infer("churn", [table])
    assert answer.as_numpy("probabilities") == pytest.approx(scores)
    http.close()

    port = re.search(r"gRPC at [\d.]+:(\d+)", served.said)
    assert port is not None
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port[1]}") as client:
        table = tritonclient.grpc.InferInput("input", [3, 4], "FP64")
        table.set_data_from_numpy(X[:3])
        assert client.infer("churn", [table]).as_numpy("label").tolist() == label


def test_wrong_tables_are_refused(served: Served) -> None:
    url = served.ready()
    tensor = {"name": "input", "shape": [1, 4], "datatype": "FP64", "data": [1, 2, 3, 4]}
    path = f"{url}/v2/models/churn/infer"
    assert httpx.post(path, json={"inputs": [tensor]}).status_code == 200
    for change in (
        {"shape": [1, 3], "data": [1, 2, 3]},
        {"shape": [4]},
        {"datatype": "INT64"},
        {"data": [1, 2, 3, "4"]},
        {"data": [1, 2, 3, None]},
        {"shape": [0, 4], "data": []},
        {"name": "x0"},
    ):
        answer = httpx.post(path, json={"inputs": [tensor | change]})
        assert (answer.status_code, set(answer.json())) == (400, {"error"}), change
    assert httpx.post(f"{url}/v1/models/churn:predict", json={"instances": [[1, 2, 3]]}).status_code == 400


def pids(url: str, count: int) -> set[int]:
    """The workers that answer, once that many do."""

    def look() -> set[int]:
        found = {httpx.get(f"{url}/stats", timeout=100).json()["pid"] for _ in range(12)}
        return found if len(found) == count else set()

    return set(eventually(look))


def test_a_killed_worker_takes_only_what_it_had_and_comes_back(served: Served) -> None:
    """Others answer meanwhile: what failed was in flight on it, at most one request a client."""
    url = served.ready()
    clients, enough = 4, threading.Event()
    answered, failed = [0] * clients, [0] * clients

    def load(number: int) -> None:
        rows = {"instances": X[:1].tolist()}
        while not enough.is_set():
            try:
                # A connection of its own each time, so that both workers are asked.
                answer = httpx.post(f"{url}/v1/models/churn:predict", json=rows, timeout=100)
                answered[number] += answer.status_code == 200
                failed[number] += answer.status_code != 200
            except httpx.TransportError:
                failed[number] += 1

    threads = [threading.Thread(target=load, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: sum(answered) > 50)
        before = pids(url, 2)
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        reached = sum(answered)
        eventually(lambda: sum(answered) > reached + 50)  # while it is away, the other one answers
        eventually(lambda: len(pids(url, 2) - before) == 1)
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert "was killed by SIGKILL; it starts again" in served.said
    assert sum(failed) <= 2 * clients  # its requests in flight, and connections it had not yet taken


def test_it_stops_when_it_is_told(served: Served) -> None:
    below = psutil.Process(served.process.pid).children(recursive=True)
    assert len(below) >= 2
    assert served.stop() == 0
    assert not any(one.is_running() for one in below)
    assert "Stopping" in served.said


@pytest.mark.parametrize(
    ("file", "said"),
    [("model.pkl", "is a pickle, which runs code"), ("model.skops", "cannot be read")],
)
def test_what_cannot_be_served_ends_it_at_once(tmp_path: Path, file: str, said: str) -> None:
    (tmp_path / file).write_bytes(b"\x80\x04N." if file.endswith("pkl") else b"x")
    running = Served(tmp_path, file, "--port", "0")
    assert running.process.wait(100) == 1
    assert said in running.said
    assert "worker w1 cannot run; stopping" in running.said
    assert "Traceback" not in running.said


SAVED = """
import sys

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature


class Tariff(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.factor = float(open(context.artifacts["factor"]).read())

    def predict(self, context, model_input, params=None):
        price = model_input["km"] * self.factor * params["rate"] + sum(params["fees"])
        return pd.DataFrame({"price": price, "zone": model_input["city"].str.lower()})


open("factor.txt", "w").write("1.5")
frame = pd.DataFrame({"km": np.array([1, 2], np.float32), "city": ["A", "B"], "n": np.array([1, 2], np.int32)})
mlflow.pyfunc.save_model(
    "tariff",
    python_model=Tariff(),
    artifacts={"factor": "factor.txt"},
    signature=infer_signature(frame, params={"rate": 1.0, "rounds": np.int32(1), "fees": [0.0]}),
    pip_requirements=["numpy"],
)
"""


@pytest.mark.timeout(300)
def test_a_pyfunc_of_mlflow_is_served_from_the_registry_where_that_is_allowed(tmp_path: Path) -> None:
    """It runs code of its own: by a folder or a reference, only with the flag."""
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run(
        [sys.executable, "-c", SAVED], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    files = read_tree(tmp_path / "tariff")
    with Container(Settings(home=tmp_path / "home")) as container:
        import_directory(container, "tariff", files)
        deprecate(container, "tariff", "1", on=container.clock.now(), reason="older prices")
    with pytest.raises(Unsafe, match="whoever made it decides what runs here") as refused:
        of_files(dict(files), Asked("tariff", "tariff"))
    assert "homeostat[mlflow]" in refused.value.remedy
    running = Served(tmp_path, "model/tariff@1", "--port", "0", "--allow-pickle")
    try:
        url = running.ready()
        assert re.search(r"model/tariff@1 is deprecated from .*: older prices", running.said)
        answer = httpx.post(
            f"{url}/predict/tariff", json={"km": 4.0, "city": "X", "n": 1}, timeout=100
        ).json()
        assert answer["outputs"] == {"price": 6.0, "zone": "x"}
        rows = {"dataframe_records": [{"km": 2.0, "city": "Y", "n": 1}]}
        answer = httpx.post(f"{url}/invocations", json=rows, timeout=100).json()
        assert answer["predictions"] == [{"price": 3.0, "zone": "y"}]
        for params, wanted in (({"rate": 2}, 6.0), ({"fees": [1, 0.5], "rate": None}, 4.5)):
            answer = httpx.post(f"{url}/invocations", json=rows | {"params": params}, timeout=100).json()
            assert answer["predictions"][0]["price"] == wanted
        for params, field in (({"fee": 1}, "fee"), ({"rate": "2"}, "rate"), ({"rounds": 2**31}, "rounds")):
            got = httpx.post(f"{url}/invocations", json=rows | {"params": params}, timeout=100)
            assert (got.status_code, got.json()["message"].partition(":")[0]) == (400, f"params.{field}")
        paths = httpx.get(f"{url}/openapi.json").json()["paths"]
        form = paths["/invocations"]["post"]["requestBody"]["content"]["application/json"]["schema"]["oneOf"][
            0
        ]
        assert set(form["properties"]["params"]["properties"]) == {"rate", "rounds", "fees"}
    finally:
        assert running.stop() == 0
    assert not list((tmp_path / "scratch").glob("homeostat-pyfunc-*"))


def test_a_plain_class_is_served_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "class Total:\n    n_features_in_ = 2\n\n    def predict(self, X):\n        return X.sum(axis=1)\n"
    )
    running = Served(tmp_path, "shop.py:Total", "--port", "0", "--name", "total")
    try:
        answer = httpx.post(
            f"{running.ready()}/v1/models/total:predict", json={"instances": [[1, 2], [3, 4]]}, timeout=100
        )
        assert answer.json() == {"predictions": [3.0, 7.0]}
    finally:
        running.stop()
