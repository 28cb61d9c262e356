"""What a small delivery costs: the contract, and all of taking it in."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import polars as pl

from benchmarks.measure import Cost, Line, Section, compare, cost, shown
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.deliveries import ingest
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings
from homeostat.domain.contracts import Check, Contract, columns_of
from homeostat.engine.data.batches import encode
from homeostat.engine.data.check import check

_ROWS = 50
_PROJECT = """
from datetime import datetime
from typing import Annotated

import polars as pl

import homeostat as hs


class Reading(hs.Contract):
    place: str
    at: datetime
    value: Annotated[float, hs.Check(ge=-100, le=100)] | None


readings = hs.Dataset("readings", key=["place", "at"], time="at", contract=Reading)
place = hs.Entity("place")


@hs.feature_view(entity=place, source=readings, ttl="1d")
def newest(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("value")


recent = hs.windows("recent", entity=place, source=readings, mean="value", over=["1h", "1d"])
"""


class Reading(Contract):
    """The contract of the project above."""

    place: str
    at: datetime
    value: Annotated[float, Check(ge=-100, le=100)] | None


def run() -> Section:
    """The same contract as the check alone, as a delivery, and beside a bare insert."""
    columns = columns_of(Reading)
    frame = _frame(0)
    checked = cost(
        lambda: [check("readings", frame, columns, ["place", "at"]) for _ in range(100)], units=100
    )
    numbers = itertools.count(1)
    with TemporaryDirectory(prefix="homeostat-bench-") as folder:
        project = Path(folder) / "project" / "project.py"
        project.parent.mkdir()
        project.write_text(_PROJECT)
        with Container(Settings(home=Path(folder) / "home")) as container:
            apply(container, load_project(project))
            ours = cost(
                lambda: [
                    ingest(container, "readings", _frame(next(numbers)), token=str(n)) for n in _tokens()
                ],
                units=50,
            )
        bare = _bare(Path(folder) / "bare.db", numbers)
    return Section(
        "Deliveries",
        f"{_ROWS} rows in 3 columns. A delivery: contract, idempotency, commit, and two feature views brought level "
        "in the online store. Bare: the rows as Arrow in one committed insert, SQLite with write-ahead log.",
        [Line("contract check alone", shown(checked)), compare("one delivery", ours, bare)],
    )


_all_tokens = itertools.count()


def _tokens() -> list[int]:
    return [next(_all_tokens) for _ in range(50)]


def _frame(number: int) -> pl.DataFrame:
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    return pl.DataFrame(
        {
            "place": [f"p{i}" for i in range(_ROWS)],
            "at": [start + timedelta(milliseconds=i) for i in range(_ROWS)],
            "value": np.random.default_rng(number).normal(size=_ROWS),
        }
    )


def _bare(file: Path, numbers: Iterator[int]) -> Cost:
    with sqlite3.connect(file, isolation_level=None) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("CREATE TABLE batches (seq INTEGER PRIMARY KEY, payload BLOB)")

        def insert() -> None:
            for _ in range(50):
                payload = encode(_frame(next(numbers)))
                database.execute("INSERT INTO batches (payload) VALUES (?)", (payload,))

        return cost(insert, units=50)
