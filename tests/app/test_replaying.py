"""A prediction is what its request, its features as of then and its model give; a replay shows where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from homeostat.adapters.clock import SimulatedClock
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.datasets import append_log, seal
from homeostat.app.deliveries import ingest
from homeostat.app.projects import load_project
from homeostat.app.quality import assess
from homeostat.app.reactors import react_all
from homeostat.app.replaying import replay
from homeostat.app.serving import load_version
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain.errors import Conflict, NotFound
from homeostat.engine.serving.log import to_frame
from homeostat.engine.serving.predictions import Prediction, decide
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.routing import LiveArm, Routes

START = datetime(2024, 1, 1, tzinfo=UTC)
PROJECT = """
from datetime import datetime

import homeostat as hs
from sklearn.linear_model import LogisticRegression


class Ask(hs.Contract):
    id: str
    at: datetime
    who: int
    size: float


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


rate = hs.windows("rate", entity=who, source=answers, mean="good", over=["1d"])


@hs.on_request
def size(r):
    return r.select("size")


def train(data):
    return LogisticRegression().fit(data.X.fill_null(0.5), data.y)




model = hs.Model(
    "shop",
    task=hs.Binary(label="good", source=answers, request=asks),
    features={features},
    train=train,
)
"""


def rows(count: int, first: int, at: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(first)
    times = [at + timedelta(minutes=10 * i) for i in range(count)]
    ids, people = [f"r{first + i}" for i in range(count)], [i % 4 for i in range(count)]
    good = rng.random(count) < 0.5
    asked = pl.DataFrame({"id": ids, "at": times, "who": people, "size": rng.normal(size=count)})
    known = [time + timedelta(minutes=1) for time in times]
    return asked, pl.DataFrame({"id": ids, "known_at": known, "who": people, "good": good})


@pytest.fixture
def features() -> str:
    return "[last, rate, size]"


@pytest.fixture
def container(tmp_path: Path, features: str) -> Iterator[Container]:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "project.py").write_text(PROJECT.format(features=features))
    home = tmp_path / "home"
    home.mkdir()
    SimulatedClock(home / "clock", START + timedelta(days=2)).close()
    with Container(Settings(home=home, clock="simulated")) as made:
        apply(made, load_project(folder))
        for name, frame in zip(("asks", "answers"), rows(200, 0, START), strict=True):
            ingest(made, name, frame)
        execute(made, submit(made, "shop", reason="first").id)
        react_all(made)
        yield made


def answered(container: Container, id: str) -> Prediction:
    """A prediction as a model server makes and logs it."""
    loaded = load_version(container, "shop", 1)
    now = container.clock.now()
    values = {"id": id, "at": now.isoformat(), "who": 1, "size": 0.25}
    row = RequestReader(loaded.columns).convert(values)
    item = Prediction(id, row, id, now, now, Routes("shop", [LiveArm(1, "champion", 1.0, loaded.scorer)]))
    decide([item])
    assert item.error is None
    append_log(container, "shop.predictions", to_frame([item]))
    return item


def test_a_prediction_is_computed_again_as_of_then(container: Container) -> None:
    item = answered(container, "p1")
    then = replay(container, "prediction/p1")
    assert then.matches, then
    assert then.answered == then.from_logged == item.score
    assert then.request == {"id": "p1", "at": "2024-01-03T00:00:00Z", "who": 1, "size": 0.25}
    assert then.model == "model/shop@1"
    assert then.digest.startswith("sha256:")
    assert then.features["size__size"] == 0.25
    assert then.features["rate__mean_1d"] is not None
    assert then.as_of["rate"] is not None
    # What came afterwards, also about the time before, was not there to be seen.
    _, late = rows(8, 500, START + timedelta(days=1, hours=20))
    ingest(container, "answers", late)
    seal(container, "answers")
    again = replay(container, "p1")
    assert again == then
    changed = answered(container, "p2")
    assert changed.scored is not None
    assert changed.scored.X["rate__mean_1d"][0] != then.features["rate__mean_1d"]
    assert replay(container, "p2").matches


@pytest.mark.parametrize("features", ["[]"])
def test_a_model_of_the_requests_own_columns_replays_too(container: Container) -> None:
    answered(container, "p1")
    found = replay(container, "p1")
    assert found.matches, found
    assert found.request["who"] == 1


@pytest.mark.parametrize("features", ["[size]"])
def test_an_answer_that_its_model_does_not_give_is_told(container: Container) -> None:
    item = answered(container, "p1")
    item.id, item.score = "p2", 0.9
    append_log(container, "shop.predictions", to_frame([item]))
    found = replay(container, "p2")
    assert not found.matches
    assert found.verdict.startswith("it does not match: 0.9 was answered")
    frame = to_frame([item]).with_columns(prediction_id=pl.lit("p3"), size__size=pl.lit(2.0))
    append_log(container, "shop.predictions", frame)
    assert [one.feature for one in replay(container, "p3").differing] == ["size__size"]
    with pytest.raises(NotFound, match="no prediction log holds prediction/none"):
        replay(container, "none")
    item.id, item.error, item.score, item.status = "p4", ValueError("no"), None, 500
    append_log(container, "shop.predictions", to_frame([item]))
    with pytest.raises(Conflict, match="was not answered: ValueError: no"):
        replay(container, "p4")


def test_features_that_serving_computed_otherwise_are_counted_by_name(container: Container) -> None:
    items = [answered(container, f"p{n}") for n in range(6)]
    rate = to_frame(items[:2]).with_columns(
        prediction_id=pl.col("prediction_id") + "x", rate__mean_1d=pl.lit(9.0)
    )
    append_log(container, "shop.predictions", rate)
    found = assess(container, "shop").inputs
    assert found is not None
    assert found.skew is not None
    assert (found.skew.sampled, found.skew.differing) == (8, 2)
    assert found.skew.features == {"rate__mean_1d": 2}
    assert found.rows == 8
    assert found.repeated == 0.0
    assert found.ages["rate"].p50 is not None
    assert 0 <= found.ages["rate"].p50 < 86_400


TABLE = """
import homeostat as hs
from sklearn.linear_model import LogisticRegression

people = hs.Dataset("people", key="person id", path="people.csv")


def train(data):
    return LogisticRegression().fit(data.X, data.y)


model = hs.Model("churn", task=hs.Binary(label="left", source=people), train=train)
"""


def test_columns_of_a_file_may_have_any_names(tmp_path: Path) -> None:
    """Trained, answered, logged and computed again under the names that the file gives them."""
    rng = np.random.default_rng(0)
    table = {"person id": [f"p{n}" for n in range(100)], "monthly fee (€)": rng.normal(size=100)}
    table |= {"class": rng.normal(size=100), "left": [n % 2 for n in range(100)]}
    (tmp_path / "project.py").write_text(TABLE)
    pl.DataFrame(table).write_csv(tmp_path / "people.csv")
    with Container(Settings(home=tmp_path / "home")) as made:
        apply(made, load_project(tmp_path))
        execute(made, submit(made, "churn", reason="first").id)
        loaded = load_version(made, "churn", 1)
        values = {"person id": "p3", "monthly fee (€)": 0.5, "class": -1.0}
        row = RequestReader(loaded.columns).convert(values)
        now = made.clock.now()
        item = Prediction("a", row, "p3", now, now, Routes("c", [LiveArm(1, "champion", 1.0, loaded.scorer)]))
        decide([item])
        react_all(made)
        append_log(made, "churn.predictions", to_frame([item]))
        found = replay(made, "a")
    assert found.matches, found
    assert found.request == values
