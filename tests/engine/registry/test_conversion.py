"""A graph serves in a model's place where it gives the same, and the verdict says what was compared."""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from homeostat.adapters.blobs.file import FileBlobs
from homeostat.engine.registry import package
from homeostat.engine.registry.conversion import GRAPH, VERDICT, convert, verdict_of
from homeostat.engine.registry.formats.graphs import OnnxModel

rng = np.random.default_rng(0)
X = pl.DataFrame(rng.normal(size=(400, 4)), schema=["a", "b", "c", "d"])
y = (X.sum_horizontal().to_numpy() + rng.normal(size=400) > 0).astype(int)


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(5, max_depth=4, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_gives_the_same_is_kept(model: LogisticRegression) -> None:
    files = convert(model.fit(X, y), X, 1e-6)
    verdict = verdict_of(files)
    assert verdict is not None
    assert verdict.kept, verdict.reason
    assert verdict.rows == 400
    assert verdict.largest is not None
    assert verdict.largest <= 1e-6
    graph = OnnxModel(files[GRAPH])
    assert package.predict(graph, X) == pytest.approx(model.predict_proba(X)[:, 1], abs=1e-6)


def test_what_cannot_be_converted_is_served_as_it_is_and_says_why() -> None:
    class Own(LogisticRegression):  # type: ignore[misc] # scikit-learn has no types
        pass

    for model in (Own(), HistGradientBoostingClassifier(max_iter=5)):
        files = convert(model.fit(X, y), X, 1e-6)
        verdict = verdict_of(files)
        assert verdict is not None
        if not verdict.kept:  # a converter may learn to do what it cannot do today
            assert list(files) == [VERDICT]
            assert verdict.reason.startswith("the original serves: ")
    assert not verdict_of(convert(Own().fit(X, y), X, 1e-6)).kept  # type: ignore[union-attr] # there is one


def test_what_differs_by_more_than_is_tolerated_is_not_kept() -> None:
    files = convert(LogisticRegression().fit(X, y), X, 0.0)
    verdict = verdict_of(files)
    assert verdict is not None
    if verdict.largest:
        assert not verdict.kept
        assert "0 is tolerated" in verdict.reason
        assert GRAPH not in files


def test_a_package_serves_the_graph_and_keeps_the_original(tmp_path: object) -> None:
    model = LogisticRegression().fit(X, y)
    converted = convert(model, X, 1e-6)
    columns = tuple(package.Column(name=name, type="float") for name in X.columns)
    signature = package.Signature(features=columns, request=columns, key=(), time=None, views=(), label="y")
    files = package.pack(model, signature, environment="", example={}, reference={}, extra=converted)
    assert {"model.skops", GRAPH, VERDICT} <= set(files)
    blobs = FileBlobs(tmp_path)  # type: ignore[arg-type] # a folder
    manifest = package.store(blobs, files)
    loaded = package.load(blobs, manifest)
    assert isinstance(loaded.estimator, OnnxModel)
    assert loaded.predict(X) == pytest.approx(model.predict_proba(X)[:, 1], abs=1e-6)
    refused = msgspec.json.encode(msgspec.structs.replace(verdict_of(converted), kept=False))  # type: ignore[type-var] # there is one
    original = package.load(blobs, package.store(blobs, files | {VERDICT: refused}))
    assert isinstance(original.estimator, LogisticRegression)
