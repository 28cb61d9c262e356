"""Predictions over HTTP: how many requests one CPU second of a server answers, beside a bare server and its peers.

64 clients ask each server for one row of 30 numbers at a time. Homeostat runs with everything on: validation, routing,
a shadow that scores a tenth of the traffic once more, the prediction log with all features, metrics, and traces of a
share of the requests. The bare server does the least anyone would: the same HTTP server, msgspec, the same model asked
for one row. Peers run in environments of their own, which are made at the first time; one that does not install here is
left out. The servers take turns, so that a busy machine is busy for all.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import httpx
import joblib
import numpy as np
import polars as pl
import psutil

from benchmarks.bare_server import FEATURES, fitted
from benchmarks.load import CLIENTS, Load, load
from benchmarks.measure import Line, Section
from benchmarks.peers.environments import WANTED, python_of, version_of
from benchmarks.versions import two_versions
from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.domain.records import Arm, Deployment

_SECONDS = 3.0
_ROUNDS = 3
_ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
_ROW = [0.5] * len(FEATURES)
_NAMED = {"id": 1, **dict.fromkeys(FEATURES, 0.5)}
_PEERS = Path(__file__).parent / "peers"


@dataclass
class Server:
    """A server to be measured: how it starts, what it is asked, and what came of it."""

    name: str
    command: list[str]
    environment: dict[str, str]
    path: str
    body: dict[str, object]
    ready: str
    folder: Path
    loads: list[Load] = field(default_factory=list)
    memory: float = 0.0
    start: float = 0.0

    def per_cpu_second(self) -> float:
        return median(one.per_cpu_second for one in self.loads)

    def asked(self, client: int) -> bytes:
        """The body of a client's requests: where rows have ids, its own."""
        return json.dumps(self.body | ({"id": client} if "id" in self.body else {})).encode()

    def shown(self) -> str:
        wall = median(one.per_second for one in self.loads)
        p50, p99 = (1000 * median(one.quantile(q) for one in self.loads) for q in (0.5, 0.99))
        return (
            f"{self.per_cpu_second():,.0f} a server CPU second, {wall:,.0f} a wall second; p50 {p50:.1f} ms, "
            f"p99 {p99:.1f} ms; {self.memory:,.0f} MB, ready after {self.start:.1f} s"
        )


def run() -> Section:
    """All servers in turn, and the median of the rounds."""
    with TemporaryDirectory(prefix="homeostat-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        home = _trained(folder)
        joblib.dump(fitted(), folder / "model.joblib")
        bare = Server("bare", [sys.executable, "-m", "benchmarks.bare_server"], {}, "/", _NAMED, "/", folder)
        servers = [_ours(home), bare, *_peers(folder)]
        running = [stack.enter_context(_running(server)) for server in servers]
        for turn in range(_ROUNDS + 1):
            for server, (process, port) in zip(servers, running, strict=True):
                one = load(process, port, server.path, server.asked, 1.0 if turn == 0 else _SECONDS)
                if turn:  # the first turn warms up
                    server.loads.append(one)
        for server, (process, _) in zip(servers, running, strict=True):
            server.memory = sum(p.memory_info().rss for p in (process, *process.children(True))) / 1e6
        stats = httpx.get(f"http://127.0.0.1:{running[0][1]}/stats").json()
    if stats["log"]["failures"]:
        raise RuntimeError(f"predictions are not logged: {stats['log']['error']}")
    ours, rest = servers[0], servers[1:]
    shadows = stats["deployments"]["answer"]["shadows"] / stats["deployments"]["answer"]["rows"]
    lines = [
        Line(
            f"requests, beside {server.name}",
            ours.shown() if server is bare else "",
            server.shown(),
            server.per_cpu_second() / ours.per_cpu_second(),
        )
        for server in rest
    ]
    return Section(
        "Serving",
        f"LogisticRegression on {len(FEATURES)} columns, {CLIENTS} clients, one row a request, {_ROUNDS} turns of "
        f"{_SECONDS:g} s each, one worker. Homeostat with everything on: it checks the request, routes it, batches "
        f"what waits, scores {shadows:.0%} once more by a shadow, measures, traces a share, and logs every prediction "
        f"with its features ({stats['log']['dropped']} not logged). Bare: the same HTTP server, msgspec, and "
        "`predict_proba` of one row. Peers, each in an environment of its own: MLServer (Open Inference Protocol) in "
        "one process, LitServe and BentoML with batches. Memory is of all processes of a server.",
        lines,
    )


def _trained(folder: Path) -> Path:
    """A home with two versions: one that answers, and one that scores a tenth of the traffic beside it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2_000, len(FEATURES)))
    frame = pl.DataFrame(dict(zip(FEATURES, X.T, strict=True))).with_columns(
        id=np.arange(len(X)), y=(X.sum(axis=1) + rng.normal(size=len(X)) > 0).astype(int)
    )
    home = two_versions(folder, frame)
    with Container(Settings(home=home)) as container:
        arms = [Arm(1, 1.0, "champion"), Arm(2, 0.1, "shadow")]
        with container.store.begin() as transaction:
            transaction.put(
                Deployment(name="answer", model="answer", generation=99, arms=arms, at=container.clock.now())
            )
    return home


def _ours(home: Path) -> Server:
    command = [sys.executable, "-m", "homeostat.server.worker", "--worker", "w1", "--parent"]
    environment = {"HOMEOSTAT_HOME": str(home)}
    return Server(
        "Homeostat",
        [*command, str(os.getpid())],
        environment,
        "/predict/answer",
        _NAMED,
        "/ready",
        home.parent,
    )


def _peers(folder: Path) -> Iterator[Server]:
    tensor = {"name": "predict", "shape": [1, len(FEATURES)], "datatype": "FP64", "data": _ROW}
    for name in WANTED:
        python = python_of(name)
        if python is None:
            print(f"{name} does not install here, and is left out", file=sys.stderr)
            continue
        place = folder / name
        place.mkdir()
        environment = {
            "MODEL": str(folder / "model.joblib"),
            "DO_NOT_TRACK": "true",
            "BENTOML_DO_NOT_TRACK": "true",
        }
        command, path, ready = [str(python), str(_PEERS / "litserve_server.py")], "/predict", "/health"
        body: dict[str, object] = {"instances": [_ROW]}
        if name == "MLServer":
            model = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel"}
            model |= {"parameters": {"uri": environment["MODEL"]}}
            (place / "model-settings.json").write_text(json.dumps(model))
            command = [str(python), "-c", "from mlserver.cli import main; main()", "start", "."]
            environment |= {"MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_METRICS_ENDPOINT": ""}
            path, ready = "/v2/models/m/infer", "/v2/models/m/ready"
            body = {"inputs": [tensor], "outputs": [{"name": "predict_proba"}]}
        elif name == "BentoML":
            command = [
                str(python),
                "-m",
                "bentoml",
                "serve",
                "bento_server:Model",
                "--working-dir",
                str(_PEERS),
            ]
            ready = "/readyz"
        yield Server(f"{name} {version_of(name)}", command, environment, path, body, ready, place)


@contextmanager
def _running(server: Server) -> Iterator[tuple[psutil.Process, int]]:
    port, others = _free_port(), [str(_free_port()) for _ in range(2)]
    environment = {**os.environ, **_ONE_CORE, **server.environment, "PORT": str(port)}
    environment |= {
        "HOMEOSTAT_SERVE_PORT": str(port),
        "BENTOML_PORT": str(port),
        "MLSERVER_HTTP_PORT": str(port),
    }
    environment |= {"MLSERVER_GRPC_PORT": others[0], "MLSERVER_METRICS_PORT": others[1]}
    root = str(Path(__file__).parents[1])
    if server.command[0] == sys.executable:
        environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    else:
        environment.pop("PYTHONPATH", None)
    command = server.command + (["--port", str(port)] if "bentoml" in server.command else [])
    began = time.perf_counter()
    with (server.folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=server.folder, env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 90
        while not _answers(f"http://127.0.0.1:{port}{server.ready}"):
            if process.poll() is not None or time.monotonic() > until:
                said = (server.folder / "log").read_text()[-2000:]
                raise RuntimeError(f"{server.name} does not answer: {said}")
            time.sleep(0.05)
        server.start = time.perf_counter() - began
        yield psutil.Process(process.pid), port
    finally:
        below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for left in below:  # not every server ends what it started
            if left.is_running():
                left.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
