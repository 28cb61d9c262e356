"""What quality probably is before labels come: estimates, and always called so.

Classification: confidence-based performance estimation (CBPE; Białek, Kuberski, Perrakis & Bifet, "Estimating model
performance under covariate shift without labels", 2024, arXiv:2401.08348, and NannyML's documentation). Scores are
calibrated on the rows held out from training, by isotonic regression (Zadrozny & Elkan, KDD 2002), of several classes
each against the rest. A calibrated probability says how often each label is to be expected for a row, so each metric
is taken with every label a row may have, weighted by that. Regression: direct loss estimation (DLE; NannyML's
documentation): a model of its own learns from the held-out rows how large the error is for which features and
prediction, and is asked about new rows.

Both see requests of another kind. Neither sees that the same request leads to another label by now (concept drift):
that shows only once labels come, and then beside each estimate stands how far it was off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
from threadpoolctl import threadpool_limits

Array = npt.NDArray[np.float64]

LEAST_ROWS: Final = 100  # held out: fewer calibrate nothing
_CLIP: Final = 1e-6
_KNOTS: Final = 200


class Curve(msgspec.Struct, frozen=True):
    """A probability as a function of a score: linear between points, level beyond them."""

    scores: list[float]
    probabilities: list[float]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """How often each score was right on held-out rows: a curve, or of several classes one each."""

    curves: list[Curve]
    rows: int


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that was estimated.

    Args:
        value: The estimate, over all answered requests.
        rows: How many they are.
        method: ``CBPE`` or ``DLE``.
        labelled: Of these, those whose labels have come.
        on_labelled: The estimate on the labelled ones alone.
        actual: What it was on them.
        error: By how much the estimate was off there: estimated less actual; None without labels.
    """

    value: float
    rows: int
    method: str
    labelled: int = 0
    on_labelled: float | None = None
    actual: float | None = None
    error: float | None = None


def calibration(y: npt.ArrayLike, p: Array) -> Calibration | None:
    """What held-out rows say of scores; None where they are too few.

    Args:
        y: Labels, 0 and 1, or places of classes.
        p: Scores, shape ``(n,)``, or ``(n, classes)``.
    """
    labels = np.asarray(y)
    if len(labels) < LEAST_ROWS:
        return None
    columns = [(p, labels)] if p.ndim == 1 else [(p[:, k], labels == k) for k in range(p.shape[1])]
    return Calibration(curves=[_curve(scores, hits) for scores, hits in columns], rows=len(labels))


def calibrated(known: Calibration, p: Array) -> Array:
    """The probability of each class, shape ``(n, classes)``; of two classes that of 0 comes first."""
    if p.ndim == 1:
        one = _read(known.curves[0], p)
        return np.stack([1 - one, one], axis=1)
    found = np.stack([_read(curve, p[:, k]) for k, curve in enumerate(known.curves)], axis=1)
    total = found.sum(axis=1, keepdims=True)
    out: Array = np.where(total > 0, found / np.where(total > 0, total, 1.0), p)
    return out


def expected(chance: Array, p: Array) -> dict[str, float]:
    """The metrics to be expected of scores: log loss and accuracy, of two classes also Brier score and AUC.

    Args:
        chance: How probable each class is (``calibrated``).
        p: The scores.
    """
    if not len(p) or not np.isfinite(p).all():
        return {}
    scores = np.stack([1 - p, p], axis=1) if p.ndim == 1 else p
    chosen = (p >= 0.5).astype(np.int64) if p.ndim == 1 else p.argmax(axis=1)
    tiny = float(np.finfo(np.float64).eps)  # as the loss itself is clipped
    out = {
        "log_loss": float(-(chance * np.log(np.clip(scores, tiny, 1.0))).sum()) / len(p),
        "accuracy": float(chance[np.arange(len(p)), chosen].mean()),
    }
    if p.ndim == 1:
        one = chance[:, 1]
        out["brier"] = float((one * (1 - p) ** 2 + (1 - one) * p**2).mean())
        if 0 < one.sum() < len(one):
            out["auc"] = _auc(p, one)
    return out


def errors(X: pl.DataFrame, y: Array, p: Array) -> tuple[Any, Any] | None:
    """Models of the squared and of the absolute error of predictions; None where held-out rows are too few.

    Args:
        X: The features of held-out rows; numbers count.
        y: Their labels.
        p: What was predicted.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    if len(y) < LEAST_ROWS:
        return None
    table = told(X, p)
    shape: dict[str, Any] = {"max_iter": 60, "max_leaf_nodes": 8, "min_samples_leaf": 20, "random_state": 0}
    with threadpool_limits(1):  # more threads take longer on so few rows
        squared, absolute = (
            HistGradientBoostingRegressor(early_stopping=False, **shape).fit(table, error)
            for error in ((y - p) ** 2, np.abs(y - p))
        )
    return squared, absolute


def expected_errors(models: tuple[Any, Any], X: pl.DataFrame, p: Array) -> tuple[Array, Array]:
    """The squared and the absolute error to be expected of each prediction."""
    table = told(X, p)
    with threadpool_limits(1):
        squared, absolute = (np.maximum(model.predict(table), 0.0) for model in models)
    return squared, absolute


def overall(squared: Array, absolute: Array) -> dict[str, float]:
    """RMSE and MAE to be expected of predictions with such errors, in the label's unit."""
    if not len(squared):
        return {}
    return {"rmse": float(squared.mean() ** 0.5), "mae": float(absolute.mean())}


def told(X: pl.DataFrame, p: Array) -> Array:
    """What errors are learned from: numbers and truths among the features, and the prediction."""
    columns = [
        column for column in X.iter_columns() if column.dtype.is_numeric() or column.dtype == pl.Boolean
    ]
    return np.column_stack([*(column.cast(pl.Float64).to_numpy() for column in columns), p])


def scored(
    estimates: Mapping[str, float],
    method: str,
    rows: int,
    known: Mapping[str, float],
    actual: Mapping[str, float],
    labelled: int,
) -> dict[str, Estimate]:
    """Estimates with what came of them.

    Args:
        estimates: By metric, over all requests.
        method: How.
        rows: How many requests.
        known: The same over those that have labels.
        actual: What the metrics were on these.
        labelled: How many these are.
    """
    out = {}
    for name, value in estimates.items():
        there, was = known.get(name), actual.get(name)
        error = there - was if there is not None and was is not None else None
        out[name] = Estimate(
            value=value,
            rows=rows,
            method=method,
            labelled=labelled,
            on_labelled=there,
            actual=was,
            error=error,
        )
    return out


def _curve(scores: Array, hits: npt.NDArray[Any]) -> Curve:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=_CLIP, y_max=1 - _CLIP, out_of_bounds="clip").fit(scores, hits)
    x, y = fitted.X_thresholds_, fitted.y_thresholds_
    if len(x) > _KNOTS:
        kept = np.unique(np.linspace(0, len(x) - 1, _KNOTS).astype(np.int64))
        x, y = x[kept], y[kept]
    return Curve(x.tolist(), y.tolist())


def _read(curve: Curve, scores: Array) -> Array:
    found: Array = np.interp(scores, curve.scores, curve.probabilities)
    return found


def _auc(p: Array, one: Array) -> float:
    """Each row counts as a hit and as a miss, weighted by how likely it is either; of equal scores half is above."""
    order = np.argsort(p)
    scores, hits = p[order], one[order]
    first = np.flatnonzero(np.diff(scores, prepend=-np.inf))  # of rows with equal scores
    hit, miss = np.add.reduceat(hits, first), np.add.reduceat(1 - hits, first)
    below = np.cumsum(miss) - miss / 2
    return float((hit * below).sum() / (hit.sum() * miss.sum()))
