"""Rollouts: how soon a rollback has reached every answer, and how soon a canary that is worse is found.

A whole Homeostat with two model servers answers 16 clients that ask 50 times a second each. Versions take turns, ten
times by a call of the API and five times by the command line; a turn takes from the command to the last answer of the
version before, as the clients got it. The canaries are simulated: 2,000 without a difference, 500 with one, looked at
after every request.
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
from threading import Thread

import numpy as np
import polars as pl

from benchmarks.measure import Line, Section
from benchmarks.versions import two_versions
from homeostat.app.running import noted
from homeostat.domain.declarations import Canary
from homeostat.domain.errors import HomeostatError
from homeostat.engine.control.canary import Baseline, CanaryTest
from homeostat.engine.control.losses import LogLoss
from homeostat.engine.control.sequential import bets, mixture, wealth
from homeostat.sdk.client import Client

_CLIENTS = 16
_BY_CALL, _BY_COMMAND = 10, 5
_PAUSE = 0.02
_SETTLED = 0.5


def run() -> Section:
    """Rollbacks on a running Homeostat, then the simulated canaries."""
    with TemporaryDirectory(prefix="homeostat-bench-") as folder:
        home = _trained(Path(folder))
        with _up(home) as client:
            by_call, by_command, asked = _turns(client, home)
    false, found, requests = _canaries()
    return Section(
        "Rollouts",
        " ".join((__doc__ or "").split("\n\n")[1].split()),
        [
            Line(f"rollback by a call, {asked:,} requests, none failed", _spread(by_call)),
            Line("rollback by the command line, its start included", _spread(by_command)),
            Line(
                "canaries without a difference rolled back, 5 % allowed",
                f"{false:.2%}, 400 labelled requests each",
            ),
            Line(
                "canaries with one (log loss +0.08) rolled back",
                f"{found:.0%}, half of them within {requests:,.0f} labelled requests",
            ),
        ],
    )


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds) * 1e3:.0f} ms, at most {max(seconds) * 1e3:.0f} ms"


def _trained(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    rows = pl.DataFrame({"id": np.arange(500), "x": x, "y": (x + rng.normal(size=500) > 0).astype(int)})
    return two_versions(folder, rows)


@contextmanager
def _up(home: Path) -> Iterator[Client]:
    """A running Homeostat with two model servers."""
    flags = ["--home", str(home), "--port", "0", "--serve-port", "0", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "homeostat", "up", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOMEOSTAT_HOME": str(home)},
    )
    try:
        until = time.monotonic() + 60
        while (found := noted(home)) is None or not _serves(found.server):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("homeostat up does not get ready")
            time.sleep(0.2)
        with Client(found.server) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def _serves(server: str) -> bool:
    try:
        with Client(server, patience=0) as client:
            client.predict("answer", {"id": 1, "x": 0.5})
            return sum(one["role"] == "worker" and one["alive"] for one in client.status()["processes"]) == 2
    except HomeostatError:  # not yet
        return False


def _turns(client: Client, home: Path) -> tuple[list[float], list[float], int]:
    """Seconds of each rollback by call and by command, and how many requests were answered meanwhile."""
    url = next(one["url"] for one in client.deployments() if one["name"] == "answer")
    asking = Asking(int(url.split(":")[2].split("/")[0]))
    asking.start()
    taken: list[list[float]] = [[], []]
    serving = 2
    for turn in range(_BY_CALL + _BY_COMMAND):
        time.sleep(_SETTLED)
        began = time.perf_counter()
        if turn < _BY_CALL:
            client.rollback("answer")
        else:
            subprocess.run(
                [sys.executable, "-m", "homeostat", "rollback", "answer", "--home", str(home)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        time.sleep(_SETTLED)
        last = max(at for at, version in asking.answers if version == serving)
        taken[turn >= _BY_CALL].append(max(last - began, 0.0))
        serving = 3 - serving
    asking.stop()
    return taken[0], taken[1], len(asking.answers)


class Asking(Thread):
    """Clients that ask one after the other; any answer but 200 ends it."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[float, int]] = []
        self._port, self._going = port, True
        self._failure: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as error:  # noqa: BLE001 - ``stop`` tells it
            self._failure = error

    def stop(self) -> None:
        self._going = False
        self.join(30)
        if self._failure is not None:
            raise self._failure

    async def _all(self) -> None:
        await asyncio.gather(*(self._one(number) for number in range(_CLIENTS)))

    async def _one(self, number: int) -> None:
        body = json.dumps({"id": number, "x": 0.5}).encode()
        head = f"POST /predict/answer HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(body)}\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while self._going:
            writer.write(head.encode() + body)
            top = await reader.readuntil(b"\r\n\r\n")
            length = int(top.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(length)
            if not top.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer.decode())
            self.answers.append((time.perf_counter(), json.loads(answer)["version"]))
            await asyncio.sleep(_PAUSE)
        writer.close()


def _canaries() -> tuple[float, float, float]:
    """The share of sound canaries rolled back, the share of worse ones, and their median of labelled requests."""
    false = _rolled_back(2_000, 400, 0.0, Canary(false_alarm=0.05))
    worse = _rolled_back(500, 2_000, 1.0, Canary())
    return float(np.isfinite(false).mean()), float(np.isfinite(worse).mean()), float(np.median(worse))


def _rolled_back(runs: int, requests: int, noise: float, canary: Canary) -> np.ndarray:
    """After how many labelled requests each canary is rolled back; infinity where it is not."""
    rng = np.random.default_rng(1)
    test = CanaryTest(canary, Baseline(requests=20_000))
    one, loss = test.tests["log_loss"], LogLoss()
    grid, out = bets(one.mean, one.low), []
    for part in np.array_split(np.arange(runs), runs // 100):
        shape = (len(part), requests)
        truth = rng.normal(-1.2, 1.0, shape)
        y = rng.random(shape) < 1 / (1 + np.exp(-truth))
        mine, theirs = (
            1 / (1 + np.exp(-(truth + rng.normal(0, 0.3, shape) + extra * rng.normal(0, 1, shape))))
            for extra in (noise, 0.0)
        )
        path = mixture(wealth(loss.of(y, mine) - loss.of(y, theirs), one.mean, grid, np.zeros(len(grid))))
        over = path >= np.log(test.threshold("log_loss"))
        out.append(np.where(over.any(axis=1), over.argmax(axis=1) + 1, np.inf))
    return np.concatenate(out)
