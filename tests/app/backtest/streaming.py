"""A small history whose world changes half way: what is asked, and the answers that come a day later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

START = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN = START + timedelta(days=8)
CHANGE = START + timedelta(days=12)
END = START + timedelta(days=20)

PROJECT = """
import polars as pl
import homeostat as hs
from sklearn.linear_model import LogisticRegression

asked = hs.Dataset("asked", key="id", time="at")
answered = hs.Dataset("answered", key="id", time="known")

@hs.on_request
def given(r):
    return r.select("x", "z")

def train(data):
    return LogisticRegression().fit(data.X, data.y)

answer = hs.Model(
    "answer",
    task=hs.Binary(label="yes", source=answered, request=asked),
    features=[given],
    train=train,
    holdout="2d",
    history="8d",
    gates=[hs.beats("champion", "log_loss"), hs.single_row_latency("p99", at_most="1ms")],
    slo=hs.SLO(log_loss=0.6, window="3d"),
    retrain=hs.when(hs.slo_burn("log_loss"), cooldown="2d"),
)
"""

HOW_MUCH = (
    PROJECT.replace("LogisticRegression", "LinearRegression")
    .replace('hs.Binary(label="yes"', 'hs.Regression(label="much"')
    .replace('"log_loss"', '"rmse"')
    .replace("log_loss=0.6", 'quality={"rmse": 0.6}')
)
"""The same world, asked for a number."""

NEVER = "retrain = None\n"
OFTEN = "import homeostat as hs\nretrain = hs.when(hs.every('3d'))\nrollout = None\n"


def history(folder: Path, rows: int = 50) -> Path:
    """The tables of a folder: so many requests a day; from the change on, the answer is the opposite."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    days = (END - START).days
    at = [START + timedelta(days=day, minutes=25 * row) for day in range(days) for row in range(rows)]
    x, z = rng.normal(size=len(at)), rng.normal(size=len(at))
    sign = np.array([1 if time < CHANGE else -1 for time in at])
    much = sign * x + 0.3 * rng.normal(size=len(at))
    ids = np.arange(len(at))
    pl.DataFrame({"id": ids, "at": at, "x": x, "z": z}).write_parquet(folder / "asked.parquet")
    known = [time + timedelta(days=1) for time in at]
    pl.DataFrame({"id": ids, "known": known, "yes": (much > 0).astype(int), "much": much}).write_parquet(
        folder / "answered.parquet"
    )
    return folder


def project(folder: Path, text: str = PROJECT) -> Path:
    """The project's file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "project.py"
    file.write_text(text)
    return file
