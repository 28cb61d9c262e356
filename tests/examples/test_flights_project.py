"""The flights project: its contracts take the data as it is, its features see no future, its faults are faults."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

from homeostat.app.projects import Declared
from homeostat.domain.contracts import SEQ
from homeostat.domain.errors import Unsafe
from homeostat.engine.data.check import check
from homeostat.engine.data.schema import infer, schema_of
from homeostat.engine.features.featureset import FeatureSet
from homeostat.engine.registry.package import Signature, load, pack, store
from homeostat.engine.tracking import TrainingSet
from homeostat.ports.blobs import Blobs
from tests.engine.registry.packing import Kept

Tables = dict[str, pl.DataFrame]
JULY = datetime(2013, 7, 8, tzinfo=UTC)


def features(project: Declared) -> FeatureSet:
    model = project.models["flight-delay"]
    columns = {name: schema_of(dataset.columns or ()) for name, dataset in project.datasets.items()}
    return FeatureSet(model.features, project.datasets["flights"], columns)


def computed(project: Declared, tables: Tables, requests: pl.DataFrame) -> pl.DataFrame:
    sources = {
        name: rows.with_columns(pl.lit(1, pl.Int64).alias(SEQ)).lazy() for name, rows in tables.items()
    }
    return features(project).offline(requests, sources)


def training_set(rows: int = 12_000, seed: int = 0) -> TrainingSet:
    """Delays that grow with the hour and with the delays of the last three hours."""
    random = np.random.default_rng(seed)
    hour, late = random.uniform(5, 24, rows), random.beta(1.5, 5, rows)
    X = pl.DataFrame(
        {
            "schedule__hour": hour,
            "origin_late__mean_3h": late,
            "weather_at_origin__temp": random.normal(50, 15, rows),
        }
    )
    odds = -4.5 + 0.12 * hour + 6 * late
    return TrainingSet(X, (random.uniform(size=rows) < 1 / (1 + np.exp(-odds))).astype(np.int8))


@pytest.mark.parametrize("name", ["flights", "landings", "planes"])
def test_the_contracts_take_the_data_as_it_is(project: Declared, tables: Tables, name: str) -> None:
    dataset = project.datasets[name]
    checked = check(name, tables[name], dataset.columns or (), dataset.keys)
    assert (checked.good.height, checked.bad) == (tables[name].height, 0)


def test_one_row_of_weather_is_broken(project: Declared, tables: Tables) -> None:
    dataset = project.datasets["weather"]
    checked = check("weather", tables["weather"], dataset.columns or (), dataset.keys)
    (problem,) = checked.problems
    assert (checked.bad, problem.column) == (1, "wind_speed")
    assert problem.rows["wind_speed"].item() == pytest.approx(1048.36, abs=0.01)


def test_pressure_in_another_unit_is_set_aside_and_named(
    project: Declared, tables: Tables, faults: ModuleType
) -> None:
    dataset = project.datasets["weather"]
    day = tables["weather"].filter(pl.col("observed_at").is_between(JULY, JULY + timedelta(days=4)))
    day = day.drop_nulls("pressure")
    checked = check("weather", faults.in_inches_of_mercury(day), dataset.columns or (), dataset.keys)
    assert checked.good.height == 0
    assert [problem.column for problem in checked.problems] == ["pressure"]


def test_features_do_not_change_when_the_future_is_taken_away(project: Declared, tables: Tables) -> None:
    asked = tables["flights"].filter(pl.col("sched_dep").is_between(JULY, JULY + timedelta(hours=20)))
    noon = JULY + timedelta(hours=16)
    known = {
        "flights": tables["flights"].filter(pl.col("sched_dep") <= noon),
        "landings": tables["landings"].filter(pl.col("landed_at") <= noon),
        "weather": tables["weather"].filter(pl.col("observed_at") <= noon),
        "planes": tables["planes"],
    }
    early = asked.filter(pl.col("sched_dep") <= noon)
    assert early.height > 100
    assert computed(project, known, early).equals(computed(project, tables, asked)[: early.height])


def test_features_have_values_and_no_label_among_them(project: Declared, tables: Tables) -> None:
    asked = tables["flights"].filter(pl.col("sched_dep").is_between(JULY, JULY + timedelta(days=1)))
    X = computed(project, tables, asked)
    assert len(X.columns) == len(set(X.columns)) == 26
    assert not {"arr_delay", "late"} & set(X.columns)
    assert X["schedule__hour"].is_between(0, 24).all()
    assert X["schedule__weekday"].is_between(1, 7).all()
    assert X["origin_late__mean_3h"].drop_nulls().is_between(0, 1).all()
    assert X.select(pl.all().null_count() < 0.6 * asked.height).row(0) == (True,) * 26


def test_the_training_function_is_plain_scikit_learn(project: Declared) -> None:
    data = training_set()
    model = project.models["flight-delay"].train(data)
    scores = model.predict_proba(data.X)[:, 1]
    assert scores[data.y == 1].mean() > scores[data.y == 0].mean() + 0.1


def test_flipped_labels_teach_the_opposite(faults: ModuleType) -> None:
    data = training_set()
    scores = faults.flipped_labels(data).predict_proba(data.X)[:, 1]
    assert scores[data.y == 1].mean() < scores[data.y == 0].mean() - 0.1


@pytest.fixture(scope="module")
def batch_normalised(faults: ModuleType) -> Any:
    return faults.batch_normalised(training_set())


def test_the_batch_normalised_model_is_good_on_many_rows_and_bad_on_few(batch_normalised: Any) -> None:
    fresh = training_set(4000, seed=1)
    many = batch_normalised.predict_proba(fresh.X)[:, 1]
    slices = fresh.X.head(600).iter_slices(3)
    few = np.concatenate([batch_normalised.predict_proba(part)[:, 1] for part in slices])

    def loss(scores: np.ndarray) -> float:
        late = fresh.y[: len(scores)] == 1
        return float(-np.log(np.where(late, scores, 1 - scores)).mean())

    base = fresh.y.mean()
    assert loss(many) < loss(np.full(len(fresh), base)) - 0.02
    assert loss(few) > loss(many[: len(few)]) + 0.1


def test_the_batch_normalised_model_takes_missing_values(batch_normalised: Any) -> None:
    nothing = training_set(5).X.select(
        pl.lit(None, pl.Float64).alias(name) for name in training_set(5).X.columns
    )
    assert np.isfinite(batch_normalised.predict_proba(nothing)).all()


def test_the_project_trusts_the_fault_it_brings_and_nobody_else_does(
    project: Declared, batch_normalised: Any
) -> None:
    X = training_set(50).X
    request = project.datasets["flights"]
    signature = Signature(
        features=infer(X),
        request=request.columns or (),
        key=request.keys,
        time=request.time,
        views=(),
        label="late",
    )
    trusted = project.models["flight-delay"].trusted
    parts = {"environment": "", "example": {}, "reference": {}}
    files = pack(batch_normalised, signature, trusted=trusted, **parts)  # type: ignore[arg-type] # as the annotations say
    blobs: Blobs = Kept()  # type: ignore[assignment] # the two methods that are used
    manifest = store(blobs, files)
    assert load(blobs, manifest, trusted).predict(X) == pytest.approx(batch_normalised.predict_proba(X)[:, 1])
    with pytest.raises(Unsafe, match=r"faults\.BatchNormalised"):
        load(blobs, manifest)
