"""Predictions over HTTP: how many requests one CPU second of the server answers.

64 clients ask a model server of Homeostat, and then a bare server that does the least anyone would: the same HTTP
server, msgspec for the request, the same fitted model asked for one row, no features, no routing and no log. The two
take turns, so that a busy machine is busy for both.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import cast

import httpx
import numpy as np
import polars as pl
import psutil
import uvloop

from benchmarks.bare_server import FEATURES
from benchmarks.measure import Line, Section
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit

_CLIENTS = 64
_SECONDS = 3.0
_ROUNDS = 3
_ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
_PROJECT = """
from sklearn.linear_model import LogisticRegression

import homeostat as hs

rows = hs.Dataset("rows", key="id", path="rows.csv")


def train(data):
    return LogisticRegression().fit(data.X, data.y)


answer = hs.Model("answer", task=hs.Binary(label="y", source=rows), train=train)
"""


def run() -> Section:
    """Both servers in turn, and the median of the rounds."""
    row = {"id": 1, **dict.fromkeys(FEATURES, 0.5)}
    with TemporaryDirectory(prefix="homeostat-bench-") as folder:
        home = _trained(Path(folder))
        with _server(_worker(home), "/ready") as ours, _server(_bare(), "/ready") as bare:
            rates: dict[str, list[float]] = {"ours": [], "bare": []}
            walls: dict[str, list[float]] = {"ours": [], "bare": []}
            for turn in range(_ROUNDS + 1):
                for name, server in (("ours", ours), ("bare", bare)):
                    rate, wall = _load(*server, json.dumps(row).encode(), 1.0 if turn == 0 else _SECONDS)
                    if turn:  # the first turn warms up
                        rates[name].append(rate)
                        walls[name].append(wall)
            log = httpx.get(f"http://127.0.0.1:{ours[1]}/stats").json()["log"]
    here, there = median(rates["ours"]), median(rates["bare"])
    return Section(
        "Serving",
        f"LogisticRegression on {len(FEATURES)} columns, {_CLIENTS} clients, one row a request, {_ROUNDS} turns of "
        f"{_SECONDS:g} s each. Homeostat checks the request, routes it, batches what waits, and logs every prediction "
        "with its features. Bare: the same HTTP server, msgspec, and `predict_proba` of one row.",
        [
            Line(
                f"requests ({log['dropped']} predictions not logged)",
                f"{here:,.0f} a server CPU second, {median(walls['ours']):,.0f} a wall second",
                f"{there:,.0f} a server CPU second, {median(walls['bare']):,.0f} a wall second",
                there / here,
            )
        ],
    )


def _trained(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2_000, len(FEATURES)))
    frame = pl.DataFrame(dict(zip(FEATURES, X.T, strict=True))).with_columns(
        id=np.arange(len(X)), y=(X.sum(axis=1) + rng.normal(size=len(X)) > 0).astype(int)
    )
    project = folder / "project"
    project.mkdir()
    (project / "project.py").write_text(_PROJECT)
    frame.write_csv(project / "rows.csv")
    home = folder / "home"
    with Container(Settings(home=home)) as container:
        apply(container, load_project(project))
        execute(container, submit(container, "answer", reason="benchmark").id)
        react_all(container)
    return home


def _worker(home: Path) -> tuple[list[str], dict[str, str], str]:
    command = [
        sys.executable,
        "-m",
        "homeostat.server.dataplane",
        "--worker",
        "w1",
        "--parent",
        str(os.getpid()),
    ]
    return command, {"HOMEOSTAT_HOME": str(home)}, "HOMEOSTAT_SERVE_PORT"


def _bare() -> tuple[list[str], dict[str, str], str]:
    return [sys.executable, "-m", "benchmarks.bare_server"], {}, "PORT"


@contextmanager
def _server(how: tuple[list[str], dict[str, str], str], ready: str) -> Iterator[tuple[psutil.Process, int]]:
    command, environment, port_name = how
    port = _free_port()
    process = subprocess.Popen(
        command,
        env={**os.environ, **_ONE_CORE, **environment, port_name: str(port)},
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 30
        while not _answers(f"http://127.0.0.1:{port}{ready}"):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{' '.join(command)} does not answer")
            time.sleep(0.1)
        yield psutil.Process(process.pid), port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _load(server: psutil.Process, port: int, body: bytes, seconds: float) -> tuple[float, float]:
    """Requests a server CPU second and a wall second."""
    before, began = server.cpu_times(), time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answered = runner.run(_ask(port, body, seconds))
    wall = time.perf_counter() - began
    after = server.cpu_times()
    return answered / (after.user - before.user + after.system - before.system), answered / wall


async def _ask(port: int, body: bytes, seconds: float) -> int:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    made = [
        await loop.create_connection(lambda: _Client(body, until), "127.0.0.1", port) for _ in range(_CLIENTS)
    ]
    async with asyncio.timeout(seconds + 10):
        return sum(await asyncio.gather(*(client.done for _, client in made)))


class _Client(asyncio.Protocol):
    """Asks again as soon as it was answered."""

    def __init__(self, body: bytes, until: float) -> None:
        head = f"POST /predict/answer HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._until = until
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[int] = self._loop.create_future()
        self._answered = 0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's are none by inheritance
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self._buffer.decode()))
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        self._buffer = b""
        self._answered += 1
        if self._loop.time() < self._until:
            self._transport.write(self._request)
        else:
            self._transport.close()
            self.done.set_result(self._answered)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or RuntimeError("the server closed the connection"))
