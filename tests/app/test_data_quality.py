"""Live data that do not hold what is declared open tickets, keep rules from training where they are skewed, and end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from homeostat.adapters.clock import SimulatedClock
from homeostat.app import explain
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.datasets import append_log
from homeostat.app.deliveries import ingest
from homeostat.app.outcomes import log_of
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.reading import read
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain.errors import DeclarationError
from homeostat.domain.records import Alert, Window
from tests.app.asking import ask

START = datetime(2024, 1, 1, tzinfo=UTC)
PROJECT = """
from datetime import datetime

import homeostat as hs
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


class Ask(hs.Contract):
    id: str
    at: datetime
    who: int
    size: float | None
    plan: str


class Answer(hs.Contract):
    id: str
    known_at: datetime
    who: int
    good: bool


asks = hs.Dataset("asks", key="id", time="at", contract=Ask)
answers = hs.Dataset("answers", key="id", time="known_at", contract=Answer)
who = hs.Entity("who")


@hs.feature_view(entity=who, source=answers)
def last(a):
    import polars as pl

    return a.select(good=pl.col("good").cast(pl.Float64))


@hs.on_request
def size(r):
    return r.select("size", "plan")


def train(data):
    known = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer((known, ["size__plan"]), remainder=SimpleImputer())
    return make_pipeline(columns, LogisticRegression()).fit(data.X, data.y)


model = hs.Model(
    "shop",
    task=hs.Binary(label="good", source=answers, request=asks),
    features=[last, size],
    train=train,
    data_quality=hs.DataQuality(freshness="2d", duplicates=0.2),
    retrain=hs.when(hs.new_labels(1), cooldown="1h"),
)
"""


def rows(count: int, first: int, at: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(first)
    times = [at + timedelta(minutes=2 * i) for i in range(count)]
    ids, people = [f"r{first + i}" for i in range(count)], [i % 4 for i in range(count)]
    asked = pl.DataFrame(
        {
            "id": ids,
            "at": times,
            "who": people,
            "size": rng.normal(size=count),
            "plan": rng.choice(["a", "b"], count),
        }
    )
    known = [time + timedelta(minutes=1) for time in times]
    return asked, pl.DataFrame({"id": ids, "known_at": known, "who": people, "good": rng.random(count) < 0.5})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose first model serves; each test has a copy."""
    folder, home = tmp_path_factory.mktemp("shop"), tmp_path_factory.mktemp("home")
    (folder / "project.py").write_text(PROJECT)
    SimulatedClock(home / "clock", START + timedelta(days=1)).close()
    with Container(Settings(home=home, clock="simulated")) as made:
        apply(made, load_project(folder))
        asked, known = rows(600, 0, START)
        ingest(made, "asks", asked)
        ingest(made, "answers", known)
        execute(made, submit(made, "shop", reason="asked for").id)
        react_all(made)
    return home


@pytest.fixture
def container(trained: Path, tmp_path: Path) -> Iterator[Container]:
    shutil.copytree(trained, tmp_path / "home")
    with Container(Settings(home=tmp_path / "home", clock="simulated")) as made:
        yield made


def wait(container: Container, days: float) -> datetime:
    clock = container.clock
    assert isinstance(clock, SimulatedClock)
    clock.set(clock.now() + timedelta(days=days))
    return clock.now()


def asked(container: Container, first: int, *change: pl.Expr, count: int = 200) -> None:
    """Requests within the last hours, and a look at them a day after the last."""
    requests = rows(count, first, container.clock.now() - timedelta(minutes=2 * count))[0]
    ask(container, "shop", requests.with_columns(*change))
    Controller(container).tick()


def tickets(container: Container) -> dict[str, Alert]:
    found = container.store.find(Alert, ("state", "=", "open"))
    assert {one.severity for one in found} <= {"ticket"}
    return {one.key.removeprefix("data:shop:"): one for one in found}


def test_data_as_in_training_hold_all_that_is_declared(container: Container) -> None:
    wait(container, 0.5)
    asked(container, 1000)
    assert tickets(container) == {}
    windows = container.store.find(Window, ("deployment", "=", "shop"))
    assert {one.monitor: (one.value, one.breached) for one in windows} == {
        "schema": (0.0, False),
        "instability": (0.0, False),
        "missing values": (0.0, False),
        "out of range": (0.0, False),
        "new values": (0.0, False),
        "volume": (None, False),  # nobody asked a week ago
        "freshness": (57_540.0, False),
        "duplicates": (0.0, False),
        "skew": (0.0, False),
    }


def test_what_breaks_opens_a_ticket_each_that_says_what_and_ends(container: Container) -> None:
    wait(container, 1)
    some = pl.int_range(pl.len()) % 2 == 0
    asked(
        container,
        2000,
        pl.when(some).then(pl.col("size")).alias("size"),
        pl.when(some).then(pl.lit("z")).otherwise(pl.col("plan")).alias("plan"),
    )
    found = tickets(container)
    assert set(found) == {"missing values", "new values"}
    assert found["missing values"].summary.startswith("size__size missing (50.0%) of 200 requests since ")
    assert found["new values"].detail["suspects"] == ["size__plan"]
    assert set(found["new values"].suspects.features) == {"size__plan", "size__size"}
    wait(container, 1.1)
    asked(container, 3000, pl.col("size") * 100, count=90)
    assert set(tickets(container)) == set(found)  # too few to say that it is over
    wait(container, 1.1)
    asked(container, 4000, (pl.col("size") + 100).alias("size"))
    broken = tickets(container)
    assert set(broken) == {"out of range", "freshness"}
    assert "features of last are up to " in broken["freshness"].summary


def test_fewer_requests_than_a_week_before_and_the_same_again(container: Container) -> None:
    wait(container, 0.5)
    asked(container, 1000)
    wait(container, 7)
    requests = rows(30, 5000, container.clock.now() - timedelta(hours=1))[0]
    ask(container, "shop", pl.concat([requests] * 2))
    Controller(container).tick()
    (volume,) = (one for name, one in tickets(container).items() if name == "volume")
    assert "60 requests came since " in volume.summary
    assert "30% of the 200 a week before" in volume.summary
    wait(container, 1.1)
    requests = rows(60, 6000, container.clock.now() - timedelta(hours=3))[0]
    ask(container, "shop", pl.concat([requests] * 2))
    Controller(container).tick()
    assert "50% of 120 requests ask the same again" in tickets(container)["duplicates"].summary


def test_skew_is_a_ticket_and_keeps_rules_from_training(container: Container) -> None:
    wait(container, 0.5)
    asked(container, 1000)
    (due,) = explain.why(container, "shop", limit=1)
    assert not due.fired  # no label has come since the training
    logged = read(container, log_of("shop")).collect().drop("_seq", strict=False)
    wrong = logged.with_columns(last__good=pl.lit(0.25), prediction_id=pl.format("w{}", "prediction_id"))
    wait(container, 1.1)
    ingest(container, "answers", rows(10, 900, START + timedelta(hours=30))[1])
    ingest(container, "asks", rows(10, 900, START + timedelta(hours=30))[0])
    append_log(container, log_of("shop"), wrong.with_columns(at=pl.lit(container.clock.now())))
    Controller(container).tick()
    ticket = tickets(container)["skew"]
    assert "20 of 20 predictions have other features when computed anew: last__good" in ticket.summary
    (due,) = explain.why(container, "shop", limit=1)
    assert due.fired
    assert "training is frozen, deployment/shop: 20 of 20 predictions" in due.reason
    wait(container, 1.1)
    asked(container, 7000)
    assert "skew" not in tickets(container)
    (due,) = explain.why(container, "shop", limit=1)
    assert due.run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"missing": 1.5}, "missing=1.5"),
        ({"sample": 0}, "sample=0"),
        ({"window": "soon"}, "soon"),
    ],
)
def test_what_is_no_bound_is_refused(words: dict[str, object], said: str) -> None:
    import homeostat as hs

    with pytest.raises(DeclarationError, match=said):
        hs.DataQuality(**words)  # type: ignore[arg-type] # that is the point
