"""A worker whose store is a folder, for tests to run as a process: ``scripted_worker.py HOME PORT ID``.

``HOME/deployments.json`` is what is deployed, by name: generation and arms as ``[version, weight, role]``.
``HOME/log/*.parquet`` is what was logged; the log's store is away while ``HOME/broken`` exists. Versions
score by distance plus a tenth of the version; 8 fails on every request, 9 cannot be loaded, and one is not loaded as
long as ``HOME/slow-VERSION`` is there. A row whose id starts with "poison" raises, one with "slow" takes 0.3 s, one
with "hang" an hour, and ``HOME/lease-ID`` is there while the worker says it lives.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from homeostat.adapters.clock import SystemClock
from homeostat.domain.errors import NotFound, StoreUnavailable
from homeostat.domain.records import Arm, Deployment
from homeostat.engine.serving.plane import Plane
from homeostat.engine.serving.scorer import Loaded, Scored
from homeostat.server.process import watch_parent
from homeostat.server.worker import run
from tests.engine.serving.fakes import FakeScorer, loaded


class Scorer(FakeScorer):
    def __init__(self, version: int, home: Path) -> None:
        super().__init__(version / 10)
        self.version, self.home = version, home
        self.warm = 0

    def score(self, rows: Sequence[Any], times: Sequence[datetime]) -> Scored:
        self.warm += 1
        if self.version == 8 and self.warm > 3:
            raise RuntimeError("version 8 fails")
        for row in rows:
            if row.id.startswith("poison"):
                raise ValueError("poison")
            if row.id.startswith("hang"):
                time.sleep(3600)
            if row.id.startswith("slow"):
                (self.home / "slow").touch()
                time.sleep(0.3)
        return super().score(rows, times)


class Store:
    def __init__(self, home: Path, worker: str) -> None:
        self.home, self.lease = home, home / f"lease-{worker}"
        (home / "log").mkdir(exist_ok=True)
        self.plane = Plane(SystemClock(), self.source, self.load, self.sink)

    def source(self) -> list[Deployment]:
        try:
            found = json.loads((self.home / "deployments.json").read_text())
        except (OSError, ValueError) as error:
            raise StoreUnavailable(f"no deployments: {error}") from error
        return [
            Deployment(
                name=name,
                model="delay",
                generation=generation,
                arms=[Arm(*arm) for arm in arms],
                at=datetime(2013, 1, 1, tzinfo=UTC),
            )
            for name, (generation, arms) in found.items()
        ]

    def load(self, model: str, version: int) -> Loaded:
        if version == 9:
            raise NotFound("version 9 has lost a file")
        time.sleep(0.05)
        while (self.home / f"slow-{version}").exists():
            time.sleep(0.01)
        return loaded(version, Scorer(version, self.home))

    def sink(self, deployment: str, frame: pl.DataFrame) -> None:
        if (self.home / "broken").exists():
            raise OSError("the disk is full")
        name = f"{deployment}-{frame['prediction_id'][0]}.parquet"
        frame.write_parquet(self.home / "log" / f"{name}.part")
        (self.home / "log" / f"{name}.part").rename(self.home / "log" / name)

    def beat(self, address: str, port: int) -> None:
        self.lease.write_text(f"{address} {port}")

    def leave(self) -> None:
        self.lease.unlink()


if __name__ == "__main__":
    home, port, worker, parent = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    grpc_port = int(os.environ.get("HOMEOSTAT_GRPC_PORT", "0"))
    logging.basicConfig(level=logging.INFO)
    watch_parent(parent)
    patience = float(os.environ.get("PATIENCE", "30"))
    stored = run(
        worker,
        home,
        "127.0.0.1",
        port,
        lambda: Store(home, worker),
        grpc_port=grpc_port,
        patience=patience,
        hangs=float(os.environ.get("HANGS", "60")),
        otlp=os.environ.get("OTLP", ""),
        ready=lambda whole: sys.stderr.write("whole\n" if whole else "lacks\n"),
    )
    sys.exit(0 if stored else 1)
