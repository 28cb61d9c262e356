"""A table is answered as its rows would be by a server, in parts, and appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from homeostat.adapters.clock import SimulatedClock
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.deliveries import ingest
from homeostat.app.predicting import predict
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.serving import load_version
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.domain.errors import BadRequest, Conflict, HomeostatError, NotFound
from homeostat.engine.serving.requests import RequestReader

START = datetime(2024, 1, 1, tzinfo=UTC)
PROJECT = """
from datetime import datetime

import homeostat as hs
from sklearn.ensemble import HistGradientBoostingClassifier


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
rate = hs.windows("rate", entity=hs.Entity("who"), source=answers, mean="good", over=["1d"])


@hs.on_request
def size(r):
    return r.select("size")


def train(data):
    return HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5).fit(data.X, data.y)


model = hs.Model(
    "shop", task=hs.Binary(label="good", source=answers, request=asks), features=[rate, size], train=train
)
"""


def asks(count: int, at: datetime = START) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(count)],
            "at": [at + timedelta(minutes=10 * i) for i in range(count)],
            "who": [i % 4 for i in range(count)],
            "size": rng.normal(size=count),
        }
    )


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    folder: Path = tmp_path_factory.mktemp("shop")
    (folder / "project.py").write_text(PROJECT)
    (folder / "home").mkdir()
    SimulatedClock(folder / "home" / "clock", START + timedelta(days=2)).close()
    with Container(Settings(home=folder / "home", clock="simulated")) as made:
        apply(made, load_project(folder))
        asked = asks(200)
        ingest(made, "asks", asked)
        answers = asked.select(
            "id", known_at=pl.col("at") + timedelta(minutes=1), who="who", good=pl.col("size") > 0
        )
        ingest(made, "answers", answers)
        execute(made, submit(made, "shop", reason="first").id)
        react_all(made)
        yield made


def served(container: Container, rows: pl.DataFrame) -> list[float]:
    """The scores that a server gives, one request a row."""
    loaded = load_version(container, "shop", 1)
    reader = RequestReader(loaded.columns)
    taken = reader.take(rows.to_dicts())
    return [loaded.scorer.score([row], [row.at]).scores[0] for row in taken]  # type: ignore[attr-defined] # a time


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".ndjson"])
def test_a_table_is_answered_as_a_server_would(container: Container, tmp_path: Path, suffix: str) -> None:
    rows = asks(50, START + timedelta(days=1)).with_columns(note=pl.lit("kept"))
    source, target = tmp_path / f"rows{suffix}", tmp_path / f"answers{suffix}"
    if suffix == ".parquet":
        rows.write_parquet(source)
    elif suffix == ".csv":
        rows.write_csv(source)
    else:
        rows.with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).write_ndjson(source)
    told: list[int] = []
    done = predict(container, "model/shop@champion", source, target, part=20, tell=told.append)
    assert (done.rows, done.failed, done.model) == (50, 0, "model/shop@1")
    assert told == [20, 40, 50]
    read = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".ndjson": pl.read_ndjson}[suffix]
    found = read(target)
    assert found["id"].to_list() == rows["id"].to_list()
    assert found["note"].unique().to_list() == ["kept"]
    assert found["score"].to_list() == pytest.approx(served(container, rows.drop("note")), abs=1e-12)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_features_of_the_requests_time_are_those_of_training(container: Container, tmp_path: Path) -> None:
    rows = asks(60)
    rows.write_parquet(tmp_path / "rows.parquet")
    for as_of in ("now", "request"):
        predict(
            container,
            "model/shop@1",
            tmp_path / "rows.parquet",
            tmp_path / f"{as_of}.parquet",
            as_of=as_of,  # type: ignore[arg-type] # one of the two
            part=25,
        )
    now, then = (pl.read_parquet(tmp_path / f"{as_of}.parquet")["score"] for as_of in ("now", "request"))
    assert now.to_list() != then.to_list()
    assert then.is_not_null().all()


def test_a_row_that_breaks_the_contract_is_named_or_kept_with_its_error(
    container: Container, tmp_path: Path
) -> None:
    rows = asks(30).with_columns(who=pl.when(pl.col("id") == "r22").then(None).otherwise("who"))
    source, target = tmp_path / "rows.parquet", tmp_path / "answers.parquet"
    rows.write_parquet(source)
    with pytest.raises(BadRequest, match="row 23: who: Expected") as refused:
        predict(container, "model/shop@1", source, target, part=10)
    assert refused.value.field == "who"
    assert not target.exists()
    done = predict(container, "model/shop@1", source, target, part=10, on_error="keep")
    assert (done.rows, done.failed) == (30, 1)
    wrong = pl.read_parquet(target).filter(pl.col("error").is_not_null())
    assert wrong["id"].to_list() == ["r22"]
    assert wrong["score"].to_list() == [None]


def test_a_plain_model_gives_all_it_knows(container: Container, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(100, 2))
    model = LogisticRegression().fit(X, X[:, 0] > 0)
    skops.io.dump(model, tmp_path / "model.skops")
    table = pl.DataFrame(X, schema=["x0", "x1"]).with_columns(label=pl.lit("mine"))
    table.write_parquet(tmp_path / "rows.parquet")
    done = predict(
        container, str(tmp_path / "model.skops"), tmp_path / "rows.parquet", tmp_path / "out.parquet", part=30
    )
    assert done.rows == 100
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["label"].unique().to_list() == ["mine"]
    assert found["predicted_label"].to_list() == model.predict(X).tolist()
    assert np.array(found["probabilities"].to_list()) == pytest.approx(model.predict_proba(X))


@pytest.mark.parametrize("suffix", [".csv", ".ndjson"])
def test_probabilities_have_a_column_a_class_where_a_column_holds_one_number(
    container: Container, tmp_path: Path, suffix: str
) -> None:
    X = np.random.default_rng(3).normal(size=(90, 2))
    model = LogisticRegression().fit(
        X, np.array(["air", "sea", "land"])[(X[:, 0] * 2).round().astype(int) % 3]
    )
    skops.io.dump(model, tmp_path / "model.skops")
    table = pl.DataFrame(X, schema=["x0", "x1"]).with_columns(probabilities_sea=pl.lit("mine"))
    table = table.with_columns(x1=pl.when(pl.int_range(pl.len()) == 7).then(None).otherwise("x1"))
    source, target = tmp_path / "rows.csv", tmp_path / f"out{suffix}"
    table.write_csv(source)
    done = predict(container, str(tmp_path / "model.skops"), source, target, part=40, on_error="keep")
    assert (done.rows, done.failed) == (90, 1)
    kept = np.arange(90) != 7
    if suffix == ".csv":
        found = pl.read_csv(target)
        answers = ["label", "probabilities_air", "probabilities_land", "predicted_probabilities_sea", "error"]
        assert found.columns == [*table.columns, *answers]
        assert found["probabilities_sea"].unique().to_list() == ["mine"]
        probabilities = found.select(answers[1:-1]).filter(pl.Series(kept)).to_numpy()
    else:
        found = pl.read_ndjson(target)
        probabilities = np.array(found["probabilities"].filter(pl.Series(kept)).to_list())
    assert found["label"][7] is None
    assert "x1" in found["error"][7]
    assert found["label"].filter(pl.Series(kept)).to_list() == model.predict(X[kept]).tolist()
    assert probabilities == pytest.approx(model.predict_proba(X[kept]))


def test_what_cannot_be_is_refused_before_anything_is_written(container: Container, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    asks(5).write_csv(rows)
    out = tmp_path / "out.parquet"
    with pytest.raises(NotFound, match="no file"):
        predict(container, "model/shop@1", tmp_path / "none.csv", out)
    with pytest.raises(BadRequest, match="no format"):
        predict(container, "model/shop@1", rows, tmp_path / "out.xlsx")
    with pytest.raises(NotFound, match="no folder"):  # before any row is answered
        predict(container, "model/shop@1", rows, tmp_path / "none" / "out.csv")
    with pytest.raises(BadRequest, match="the input itself"):
        predict(container, "model/shop@1", rows, rows)
    with pytest.raises(NotFound):
        predict(container, "model/shop@9", rows, out)
    (tmp_path / "empty.csv").write_text("id,at,who,size\n")
    with pytest.raises(BadRequest, match="no rows"):
        predict(container, "model/shop@1", tmp_path / "empty.csv", out)
    skops.io.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "model.skops")
    with pytest.raises(Conflict, match="no features that depend on the time"):
        predict(container, str(tmp_path / "model.skops"), rows, out, as_of="request")
    with pytest.raises(HomeostatError, match="x0"):
        predict(container, str(tmp_path / "model.skops"), rows, out)
    assert not out.exists()
