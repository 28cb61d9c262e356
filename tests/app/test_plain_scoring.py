"""Features that are numbers of the request itself: rows go straight to the model, and nothing comes out otherwise."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import homeostat as hs
from homeostat.adapters.clock import ManualClock
from homeostat.app.serving import ModelScorer
from homeostat.app.standalone import TableScorer
from homeostat.domain.contracts import Column
from homeostat.domain.errors import FeaturesMissing, StoreUnavailable
from homeostat.engine.data.schema import schema_of
from homeostat.engine.features.featureset import FeatureSet
from homeostat.engine.registry import package
from homeostat.engine.registry.answering import Answering
from homeostat.engine.registry.arrays import by_position
from homeostat.engine.serving.log import to_frame
from homeostat.engine.serving.predictions import Prediction, decide
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.routing import LiveArm, Routes
from homeostat.engine.serving.scorer import Scored
from tests.engine.serving.fakes import NOON

COLUMNS = (
    Column(name="id", type="string"),
    Column(name="far", type="float"),
    Column(name="seats", type="integer"),
    Column(name="late", type="boolean"),
)
OWN = ["far", "seats", "late"]
NULLABLE = (*COLUMNS[:3], msgspec.structs.replace(COLUMNS[3], nullable=True))
REQUESTS = hs.Dataset("requests", key="id")
MODELS: list[Any] = [
    LogisticRegression(),
    RandomForestClassifier(10, random_state=0),
    HistGradientBoostingClassifier(max_iter=5),
    make_pipeline(StandardScaler(), LogisticRegression()),
]


class Nowhere:
    """No feature is stored."""

    def read(self, wanted: Any) -> Any:
        raise AssertionError("it was asked")


class Eager:
    """Scores as where features are computed before the model is asked."""

    def __init__(self, features: FeatureSet, package: package.Package, schema: pl.Schema) -> None:
        self.features, self.package, self.schema = features, package, schema

    def score(self, rows: Any, times: Any) -> Scored:
        columns = {name: [getattr(row, name) for row in rows] for name in self.schema}
        store: Any = Nowhere()
        X = self.features.online(pl.DataFrame(columns, schema=self.schema), times, store).X
        return Scored(self.package.predict(X).tolist(), X)


def fitted(model: Any) -> Any:
    rng = np.random.default_rng(0)
    X = pl.DataFrame(rng.normal(size=(200, 3)), schema=OWN)
    return model.fit(X, X["far"].to_numpy() + rng.normal(size=200) > 0)


def scorers(model: Any, columns: tuple[Column, ...]) -> tuple[ModelScorer, Eager]:
    signature = package.Signature(
        features=(), request=columns, key=("id",), time=None, views=(), label="good"
    )
    made = package.Package(fitted(model), signature, "", {}, {}, {}, "")
    schema = schema_of(columns)
    features = FeatureSet([], REQUESTS, {"requests": schema})
    store: Any = Nowhere()
    return ModelScorer(features, schema, made, store, ManualClock(NOON)), Eager(features, made, schema)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_scores_and_logged_rows_are_those_of_a_frame(model: Any) -> None:
    columns = NULLABLE if isinstance(model, HistGradientBoostingClassifier) else COLUMNS
    plain, eager = scorers(model, columns)
    late = [True, None if columns is NULLABLE else False]
    rows = RequestReader(columns).take(
        [{"id": str(n), "far": n / 7, "seats": n, "late": late[n % 2]} for n in range(20)]
    )
    frames = []
    for scorer in (plain, eager):
        routes = Routes("d", [LiveArm(1, "champion", 1.0, scorer)])
        items = [Prediction(f"p{n}", row, str(n), NOON, NOON, routes) for n, row in enumerate(rows)]
        for part in (items[::3], items[1::3], items[2::3]):
            decide(part)
        assert {item.status for item in items} == {200}
        frames.append(to_frame(items))
    same = [frame.drop("scoring_us") for frame in frames]  # it is what each took
    assert same[0].equals(same[1])
    assert frames[0].select(OWN).row(1) == (1 / 7, 1.0, None if columns is NULLABLE else 0.0)
    assert frames[0]["request"][1] == '{"id":"1"}'


def test_the_error_of_a_model_that_takes_no_missing_value_names_what_is_missing() -> None:
    plain, _ = scorers(LogisticRegression(), NULLABLE)
    rows = [{"id": str(n), "far": 0.5, "seats": 3, "late": None if n else True} for n in range(2)]
    # Which of several rows is at fault shows when they are parted.
    with pytest.raises(ValueError, match="contains NaN"):
        plain.score(RequestReader(NULLABLE).take(rows), [NOON] * 2)
    with pytest.raises(FeaturesMissing, match="late is missing: ValueError: Input X contains NaN"):
        plain.score(RequestReader(NULLABLE).take(rows[1:]), [NOON])


def test_what_fails_for_another_reason_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: package.Package, X: Any) -> Any:
        raise StoreUnavailable("its store is away")

    plain, _ = scorers(LogisticRegression(), NULLABLE)
    monkeypatch.setattr(package.Package, "predict", away)
    row = {"id": "1", "far": 0.5, "seats": 3, "late": None}
    with pytest.raises(StoreUnavailable, match="its store is away"):
        plain.score(RequestReader(NULLABLE).take([row]), [NOON])


@pytest.mark.parametrize("model", [*MODELS, LinearRegression()], ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("names", [OWN, None])
def test_a_model_by_itself_gives_what_it_gives_of_a_frame(model: Any, names: list[str] | None) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3))
    framed = pl.DataFrame(X, schema=OWN) if names else X
    answering = Answering(clone(model).fit(framed, X[:, 0] > 0))
    rows = RequestReader(answering.columns, whole=True).take(
        [dict(zip([column.name for column in answering.columns], one, strict=True)) for one in X.tolist()]
    )
    scored = TableScorer(answering).score(rows, [NOON] * len(rows))
    wanted = answering.ask(scored.X)
    assert scored.outputs.keys() == wanted.keys()
    assert all(np.array_equal(scored.outputs[name], wanted[name]) for name in wanted)
    assert scored.scores == answering.score(wanted)


def test_an_estimator_that_may_look_at_names_gets_them() -> None:
    logistic, piped = (
        fitted(LogisticRegression()),
        fitted(make_pipeline(StandardScaler(), LogisticRegression())),
    )
    assert by_position(logistic, OWN) is not None
    assert list(logistic.feature_names_in_) == OWN  # the estimator itself keeps its names
    assert by_position(logistic, OWN[::-1]) is None
    assert by_position(piped, OWN) is None
    X = np.random.default_rng(0).normal(size=(50, 3))
    bare = LinearRegression().fit(X, X[:, 0])  # knows no names, and warns of those that it is asked with
    assert by_position(bare, OWN) is bare
    assert by_position(object(), OWN) is None
