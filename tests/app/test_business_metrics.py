"""What came of answers is joined to the version that gave them, each row once, and shown with its interval."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import homeostat as hs
from homeostat.adapters.clock import SimulatedClock
from homeostat.app import explain
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.datasets import append_log
from homeostat.app.deliveries import ingest
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain.errors import DeclarationError
from homeostat.domain.records import Window

START = datetime(2024, 1, 1, tzinfo=UTC)
PROJECT = """
import homeostat as hs
from sklearn.linear_model import LogisticRegression

rows = hs.Dataset("rows", key="id", path="rows.csv")
orders = hs.Dataset("orders", key=["id", "at"], time="at")
ratings = hs.Dataset("ratings", key="prediction_id")

shop = hs.Model(
    "shop",
    task=hs.Binary(label="good", source=rows),
    train=lambda data: LogisticRegression().fit(data.X, data.y),
    business=[
        hs.BusinessMetric(orders, "revenue", empty=0.0, window="7d"),
        hs.BusinessMetric(ratings, "stars", name="rating", window="7d"),
    ],
)
"""


def test_values_are_of_the_version_that_answered(tmp_path: Path) -> None:
    folder, home = tmp_path / "shop", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    (folder / "project.py").write_text(PROJECT)
    lines = [f"{i},{(i * 37) % 100 / 50 - 1},{int((i * 37) % 100 > 50)}" for i in range(200)]
    (folder / "rows.csv").write_text("\n".join(["id,size,good", *lines]))
    SimulatedClock(home / "clock", START + timedelta(days=3)).close()
    with Container(Settings(home=home, clock="simulated")) as container:
        apply(container, load_project(folder))
        execute(container, submit(container, "shop", reason="first").id)
        react_all(container)
        # Key 0 asked twice, the second time of the canary; key 4 was not answered.
        log = pl.DataFrame(
            {
                "prediction_id": [f"p{n}" for n in range(6)],
                "key": ["0", "0", "1", "2", "3", "4"],
                "at": [START + timedelta(hours=n) for n in range(6)],
                "time": [START + timedelta(hours=n) for n in range(6)],
                "version": [1, 2, 1, 1, 2, 1],
                "arm": ["champion", "canary", "champion", "champion", "canary", "champion"],
                "score": [0.5, 0.5, 0.5, 0.5, 0.5, None],
                "error": [None] * 5 + ["no"],
                "status": [200] * 5 + [500],
                "latency_us": [900] * 6,
            },
            schema_overrides={"error": pl.String},
        )
        append_log(container, "shop.predictions", log)
        when = [START + timedelta(hours=h) for h in (0.5, 3, 4, 5, -1, 9)]
        bought = {"id": [0, 0, 1, 1, 2, 4], "at": when, "revenue": [10.0, 20.0, 1.0, 2.0, 99.0, 50.0]}
        ingest(container, "orders", pl.DataFrame(bought))
        ingest(container, "ratings", pl.DataFrame({"prediction_id": ["p0", "p4", "p9"], "stars": [5, 3, 1]}))
        Controller(container).tick()
        windows = container.store.find(Window, ("deployment", "=", "shop"))
        found = {one.monitor: one for one in windows}
        assert set(found) == {"business revenue", "business rating"}
        assert (found["business revenue"].rows, found["business revenue"].threshold) == (5, None)
        champion, canary = found["business revenue"].detail["versions"]
        # 10 before the second request of key 0, 1 + 2 of key 1, nothing of key 2 since it was asked.
        assert (champion["version"], champion["arm"]) == (1, "champion")
        assert (champion["requests"], champion["valued"], champion["total"]) == (3, 2, 13.0)
        assert found["business revenue"].value == champion["mean"] == pytest.approx(13 / 3)
        assert champion["low"] < champion["mean"] < champion["high"]
        assert (canary["total"], canary["valued"], canary["mean"]) == (20.0, 1, 10.0)
        rated = {one["version"]: one for one in found["business rating"].detail["versions"]}
        assert (rated[1]["mean"], rated[1]["low"], rated[2]["mean"]) == (5.0, None, 3.0)
        shown = explain.status(container)["business"]
        assert [(one["model"], one["metric"]) for one in shown] == [("shop", "revenue"), ("shop", "rating")]
        assert shown[0]["versions"][0]["mean"] == champion["mean"]
        assert isinstance(container.clock, SimulatedClock)
        container.clock.set(container.clock.now() + timedelta(hours=1))
        Controller(container).tick()
        assert len(container.store.find(Window, ("deployment", "=", "shop"))) == 2  # once a day


def test_what_is_no_value_is_refused() -> None:
    class Order(hs.Contract):
        id: int
        what: str

    orders = hs.Dataset("orders", key="id", contract=Order)
    with pytest.raises(DeclarationError, match="is no number of dataset 'orders'"):
        hs.BusinessMetric(orders, "what")
    with pytest.raises(DeclarationError, match="is no dataset"):
        hs.BusinessMetric("orders", "what")  # type: ignore[arg-type] # that is the point
