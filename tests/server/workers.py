"""Starting scripted workers and talking to them over real sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from homeostat.server.worker import socket_path
from tests.engine.serving.fakes import ROW

SCRIPT = Path(__file__).with_name("scripted_worker.py")
ROOT = Path(__file__).parents[2]


_held: list[socket.socket] = []


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def shared_port() -> int:
    """A port that nobody else is given while this process lives, for servers that share theirs."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    _held.append(held)
    return int(held.getsockname()[1])


def eventually(check: Callable[[], Any], seconds: float = 180.0) -> Any:
    """What ``check`` gives once it is true; an error of the moment counts as not yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := check():
                return found
        except (httpx.HTTPError, OSError):
            pass
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Worker:
    """One worker process, its HTTP client and its private client."""

    def __init__(self, home: Path, port: int = 0, name: str = "w1", grpc_port: int = 0) -> None:
        self.home, self.port, self.name, self.grpc_port = home, port or shared_port(), name, grpc_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket = socket_path(home, name)
        self.lease = home / f"lease-{name}"
        self.client = httpx.Client(base_url=self.url, timeout=60)
        self.private = httpx.Client(
            base_url="http://worker", transport=httpx.HTTPTransport(uds=str(self.socket)), timeout=60
        )

    def start(self) -> Worker:
        self.lease.unlink(missing_ok=True)  # of one that was killed
        with (self.home / "stderr").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(self.home), str(self.port), self.name, str(os.getpid())],
                env={
                    **os.environ,
                    "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
                    "POLARS_MAX_THREADS": "1",
                    "HOMEOSTAT_GRPC_PORT": str(self.grpc_port),
                },
                stderr=log,
            )
        eventually(lambda: self.lease.exists() and self.client.get("/health").status_code == 200)
        return self

    def deploy(self, generation: int, *arms: tuple[int, float, str], name: str = "flights") -> None:
        write_deployments(self.home, {name: (generation, arms)})

    def sync(self) -> dict[str, Any]:
        answer = self.private.post("/-/sync")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ask(self, deployment: str = "flights", **changes: Any) -> httpx.Response:
        return self.client.post(f"/predict/{deployment}", json=ROW | changes)

    def stats(self) -> dict[str, Any]:
        return dict(self.client.get("/stats").json())

    def logged(self) -> pl.DataFrame:
        files = sorted((self.home / "log").glob("*.parquet"))
        return (
            pl.concat([pl.read_parquet(file) for file in files], how="diagonal") if files else pl.DataFrame()
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        self.client.close()
        self.private.close()
        return code


def write_deployments(home: Path, deployments: dict[str, Any]) -> None:
    part = home / "deployments.part"
    part.write_text(json.dumps(deployments))
    part.rename(home / "deployments.json")
