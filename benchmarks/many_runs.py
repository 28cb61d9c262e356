"""The first page of a search among very many runs, by queries of every shape; Homeostat alone."""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx
import psycopg

from benchmarks.measure import Line, duration
from benchmarks.tracking_servers import homeostat
from homeostat.app import tracking
from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.domain.records import Run
from homeostat.domain.tracking import Metric, Param, RunTag

_RUNS: Final = 100_000
_CHUNK: Final = 2_000
_PAGE: Final = 1_000
_TIMES: Final = 5
_SHAPES: Final[tuple[tuple[str, list[str]], ...]] = (
    ("", []),
    ("", ["metrics.loss ASC"]),
    ("", ["metrics.rare DESC"]),
    ("", ["params.depth ASC"]),
    ("", ["tags.team DESC", "metrics.loss ASC"]),
    ("", ["attributes.start_time ASC"]),
    ("metrics.loss < 0.7 AND params.depth != '4'", ["metrics.loss ASC"]),
    ("metrics.loss < 0.001", []),
    ("metrics.loss > 0.5 AND metrics.accuracy > 0.5", []),
    ("params.depth = '3' AND tags.team = '5'", []),
    ("params.name = 'run 77777'", []),
    ("tags.team != '5'", ["metrics.accuracy DESC"]),
    ("tags.place LIKE '%7%' AND attributes.status = 'FINISHED'", []),
    ("attributes.run_name = 'run 4711'", []),
    ("attributes.start_time > 50000000", ["metrics.auc DESC"]),
    ("metrics.rare > 0.5", ["attributes.start_time DESC"]),
)


def first_pages(home: Path, store: str, where: str) -> list[Line]:
    """Fill a store with runs of one experiment, and ask for their first page.

    PostgreSQL counts what is in its tables by itself, within a minute of so many rows, and plans badly until then. It
    is told to do so at once: else the figures would be of how long the filling took.
    """
    with Container(Settings(home=home, **({"store": store} if store else {}))) as container:
        experiment = _fill(container)
    if store:
        with psycopg.connect(store, autocommit=True) as connection:
            connection.execute("ANALYZE")
    with (
        homeostat(home, store) as server,
        httpx.Client(base_url=f"{server.url}/api/2.0/mlflow/", timeout=300) as http,
    ):
        took = {}
        for filter, order in _SHAPES:
            body = {
                "experiment_ids": [str(experiment)],
                "filter": filter,
                "order_by": order,
                "max_results": _PAGE,
            }
            took[filter, *order] = median(_asked(http, body) for _ in range(_TIMES))
            print(f"  {duration(took[filter, *order])} {filter} {order}", file=sys.stderr)
    worst = max(took, key=lambda shape: took[shape])
    said = " by ".join(f"`{part}`" for part in worst if part)
    return [
        Line(
            f"first page ({_PAGE:,}) of {_RUNS:,} runs, {len(took)} shapes of query, {where}",
            f"{duration(median(took.values()))} wall in the middle, {duration(took[worst])} at worst ({said or 'all'})",
        )
    ]


def _asked(http: httpx.Client, body: dict[str, Any]) -> float:
    began = time.perf_counter()
    answer = http.post("runs/search", json=body)
    took = time.perf_counter() - began
    answer.raise_for_status()
    return took


def _fill(container: Container) -> int:
    chance = random.Random(2)
    experiment = tracking.create_experiment(container, "many").id
    began = datetime(1970, 1, 1, tzinfo=UTC)
    for first in range(0, _RUNS, _CHUNK):
        runs, metrics, params, tags = [], [], [], []
        for number in range(first, first + _CHUNK):
            id, at = f"{chance.getrandbits(128):032x}", began + timedelta(seconds=number)
            runs.append(
                Run(
                    id=id,
                    kind="run",
                    experiment=experiment,
                    name=f"run {number}",
                    state="succeeded",
                    actor="bench",
                    created_at=at,
                    started_at=at,
                    ended_at=at,
                )
            )
            values = {name: chance.random() for name in ("loss", "accuracy", "f1", "auc", "seconds")}
            if number % 50 == 0:
                values["rare"] = chance.random()
            metrics += [
                Metric(run=id, key=key, experiment=experiment, value=value, step=0, timestamp=number)
                for key, value in values.items()
            ]
            texts = {key: str(chance.randrange(5)) for key in ("depth", "rate", "seed", "size")}
            params += [
                Param(run=id, key=key, value=value)
                for key, value in (texts | {"name": runs[-1].name}).items()
            ]
            tags += [
                RunTag(run=id, key=key, value=str(chance.randrange(9))) for key in ("team", "stage", "place")
            ]
        with container.store.begin() as tx:
            tx.insert(*runs)
            tx.insert(*metrics)
            tx.insert(*params)
            tx.insert(*tags)
    return experiment
