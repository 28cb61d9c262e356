"""Estimates of quality without labels, wired: what a training keeps for them, and what they say of live requests.

A package holds what its held-out rows say of its answers (``estimates.json``, ``squared_error.skops``,
``absolute_error.skops``); versions without that have no estimates. An estimate breaks no promise by itself: it is a
window named ``estimated …``, and rules may look at it under that name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.app.answers import Array, predictions
from homeostat.app.container import Container
from homeostat.domain.declarations import Model
from homeostat.domain.declarations.tasks import Ranking, Regression
from homeostat.domain.records import ModelVersion, Window
from homeostat.engine.data.schema import schema_of
from homeostat.engine.monitoring.estimates import (
    Calibration,
    Estimate,
    calibrated,
    calibration,
    errors,
    expected,
    expected_errors,
    overall,
    scored,
)
from homeostat.engine.registry import package
from homeostat.engine.registry.formats import scikit
from homeostat.engine.registry.metrics import measures
from homeostat.engine.serving.predictions import PROBABILITIES

PREFIX: Final = "estimated "
CALIBRATION: Final = "estimates.json"
_ERRORS: Final = ("squared_error.skops", "absolute_error.skops")

Chosen = npt.NDArray[np.bool_] | slice
Expect = Callable[[pl.LazyFrame, Array], Callable[[Chosen], dict[str, float]]]


def kept(model: Model, X: pl.DataFrame, y: npt.NDArray[Any], p: Array) -> dict[str, bytes]:
    """The files that a package gets for estimates; none where too few rows were held out.

    Args:
        model: The declaration.
        X: The features of the rows held out.
        y: Their labels as numbers.
        p: What the model predicts for them.
    """
    if isinstance(model.task, Ranking):  # an order is not estimated from single items
        return {}
    if isinstance(model.task, Regression):
        fitted = errors(X, y, p) if model.task.quantile is None else None
        return {n: scikit.dump(one, ())[scikit.FILE] for n, one in zip(_ERRORS, fitted or (), strict=False)}
    found = calibration(y, p)
    return {CALIBRATION: msgspec.json.encode(found)} if found is not None else {}


def estimates(
    container: Container, model: Model, version: ModelVersion | None, joined: pl.DataFrame
) -> dict[str, Estimate]:
    """By metric, what is to be expected of the champion's answers, and how far off that was where labels have come.

    Args:
        container: The ports.
        model: The declaration.
        version: The champion; None: there is none.
        joined: Rows of the prediction log with labels as numbers (``quality.join_labels``).
    """
    if version is None:
        return {}
    expect, method = _expecting(container, model, version)
    if expect is None:
        return {}
    task = model.task
    mine = (joined["version"] == version.version) & joined["score"].is_not_null()
    judged = {task.label, "score", PROBABILITIES}
    rows = pl.DataFrame([one.filter(mine) for one in joined.iter_columns() if one.name in judged])
    if not rows.height:
        return {}
    p = predictions(task, rows)
    told, labelled = expect(joined.lazy().filter(mine), p), rows[task.label].is_not_null().to_numpy()
    whole = {name: value for name, value in told(slice(None)).items() if name in task.names}
    y = rows[task.label].cast(pl.Float64).to_numpy()[labelled]
    actual = measures(task).evaluate(y, p[labelled], only=list(whole))
    return scored(whole, method, len(p), told(labelled), actual, len(y))


def estimate_windows(
    model: Model, found: Mapping[str, Estimate], since: datetime, now: datetime
) -> list[Window]:
    """A window for each estimate of a metric that is promised or shown; none of them is a breach."""
    assert model.slo is not None
    wanted = (*model.task.names[:2], *model.slo.quality)
    return [
        Window(
            deployment=model.name,
            monitor=f"{PREFIX}{name}",
            start=since,
            end=now,
            rows=one.rows,
            value=one.value,
            threshold=model.slo.bound(name),
            breached=False,
            detail=msgspec.to_builtins(one),
        )
        for name, one in found.items()
        if name in wanted
    ]


def _expecting(container: Container, model: Model, version: ModelVersion) -> tuple[Expect | None, str]:
    """What gives the metrics to be expected of those that are chosen among rows of the log, and its name."""
    files = version.manifest.get("files", {})
    if CALIBRATION in files:
        known = msgspec.json.decode(container.blobs.get(files[CALIBRATION]), type=Calibration)

        def by_chance(asked: pl.LazyFrame, p: Array) -> Callable[[Chosen], dict[str, float]]:
            chance = calibrated(known, p)
            return lambda chosen: expected(chance[chosen], p[chosen])

        return by_chance, "CBPE"
    if all(name in files for name in _ERRORS):
        squared, absolute = (scikit.restore(container.blobs.get(files[name]), ()) for name in _ERRORS)
        signature = package.signature(container.blobs.get(files[package.SIGNATURE]))
        assert signature is not None  # the package is ours
        schema = schema_of(signature.features)

        def by_features(asked: pl.LazyFrame, p: Array) -> Callable[[Chosen], dict[str, float]]:
            # A column that held nothing but nulls is not in the log, or has no type.
            known = asked.collect_schema()
            missing = [pl.lit(None).alias(name) for name in schema if name not in known]
            X = asked.with_columns(missing).select(list(schema)).cast(schema).collect()
            each = expected_errors((squared, absolute), X, p)
            return lambda chosen: overall(*(errors[chosen] for errors in each))

        return by_features, "DLE"
    return None, ""
