"""What a fitted model gives for rows, by the kind of its task: checked, in one form, whatever library fitted it.

Binary: the probability of class 1, shape ``(n,)``. Multi-class: those of all classes, shape ``(n, classes)``, in the
order of their numbers. Regression: a number each, shape ``(n,)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.domain.errors import BadScores

Scores = npt.NDArray[np.float64]

# What rounding to 32 bits, as boosters do, may take from a sum of one.
_ROUNDING: Final = 1e-3


def predict(estimator: Any, X: pl.DataFrame, kind: str = "binary", classes: int = 0) -> Scores:
    """The predictions of a fitted model, float64.

    Args:
        estimator: With ``predict_proba``, of a regression with ``predict``.
        X: The features.
        kind: The type of the task.
        classes: How many classes there are, of a multi-class task.

    Raises:
        BadScores: it gave another number of scores, one that is not finite, or what is no probability.
    """
    return _PREDICT[kind](estimator, X, classes)


def method(kind: str) -> str:
    """What a fitted model must be asked by."""
    return "predict" if kind == "regression" else "predict_proba"


def one_number(scores: Scores) -> Scores:
    """The number that stands for each prediction: itself, or the highest probability of several classes."""
    found: Scores = scores if scores.ndim == 1 else scores.max(axis=1)
    return found


def _binary(estimator: Any, X: pl.DataFrame, classes: int) -> Scores:
    scores = np.asarray(estimator.predict_proba(X))
    if scores.ndim == 2:
        scores = _positive(estimator, scores)
    if scores.shape != (len(X),):
        raise _bad(estimator, f"gave scores of shape {scores.shape} for {len(X)} rows")
    return _probabilities(estimator, scores)


def _multiclass(estimator: Any, X: pl.DataFrame, classes: int) -> Scores:
    """All classes, also those that training had no row of: their probability is 0."""
    scores = np.asarray(estimator.predict_proba(X))
    seen = [int(one) for one in getattr(estimator, "classes_", range(classes))]
    if scores.shape != (len(X), len(seen)):
        raise _bad(estimator, f"gave scores of shape {scores.shape} for {len(X)} rows of {len(seen)} classes")
    if any(not 0 <= one < classes for one in seen):
        raise _bad(estimator, f"has the classes {seen}, where there are {classes}")
    whole = np.zeros((len(X), classes))
    whole[:, seen] = _probabilities(estimator, scores)
    if len(X) and np.abs(whole.sum(axis=1) - 1).max() > _ROUNDING:
        raise _bad(estimator, "gave probabilities that do not add up to 1")
    return whole


def _regression(estimator: Any, X: pl.DataFrame, classes: int) -> Scores:
    scores = np.asarray(estimator.predict(X), dtype=np.float64)
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if scores.shape != (len(X),):
        raise _bad(estimator, f"gave numbers of shape {scores.shape} for {len(X)} rows")
    if not np.isfinite(scores).all():
        raise _bad(estimator, f"gave {scores[~np.isfinite(scores)][0]}, which is no number")
    return scores


_PREDICT: Final[Mapping[str, Callable[[Any, pl.DataFrame, int], Scores]]] = {
    "binary": _binary,
    "multiclass": _multiclass,
    "regression": _regression,
}


def _probabilities(estimator: Any, scores: npt.NDArray[Any]) -> Scores:
    scores = scores.astype(np.float64, copy=False)
    # One comparison finds NaN and infinities too: neither lies in the interval.
    if not ((scores >= 0) & (scores <= 1)).all():
        wrong = scores[~((scores >= 0) & (scores <= 1))][0]
        raise _bad(estimator, f"gave the score {wrong}, which is no probability")
    return scores


def _positive(estimator: Any, scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The column of class 1: an estimator that saw one class has one column."""
    classes = list(getattr(estimator, "classes_", [0, 1]))
    if len(classes) != scores.shape[1]:
        raise _bad(estimator, f"gave {scores.shape[1]} columns for {len(classes)} classes")
    if 1 in classes:
        column: npt.NDArray[Any] = scores[:, classes.index(1)]
        return column
    if classes == [0]:
        return np.zeros(len(scores))
    raise _bad(estimator, f"has the classes {classes}, none of which is 1")


def _bad(estimator: Any, what: str) -> BadScores:
    return BadScores(
        f"{type(estimator).__name__} {what}", remedy="Look at what it was fitted on and is asked with"
    )
