"""How good the answers were, on the requests whose labels have come.

Labels come late and not for all, so every number stands with how many requests it rests on, and log loss,
which service levels are declared in, with the interval that its sampling error leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

Measure = Callable[[npt.NDArray[Any], npt.NDArray[Any]], Mapping[str, float]]

_CLIP: Final = float(np.finfo(np.float64).eps)  # as scikit-learn's log_loss
_Z: Final = 1.959963984540054  # 97.5% of a normal distribution lie below


class Interval(msgspec.Struct, frozen=True):
    """A mean with its 95% interval, by the normal approximation of the mean's error."""

    value: float
    low: float
    high: float


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality over some requests.

    Args:
        labelled: Answered requests with a label.
        unlabelled: Answered requests without one, so far.
        metrics: By name; what has no value on these rows is absent.
        log_loss: With its interval; None below two labelled requests.
        positive: The share of labels that are 1, or their mean; None of several classes, which have none.
        predicted: The mean score on the same requests, likewise.
    """

    labelled: int
    unlabelled: int
    metrics: dict[str, float]
    log_loss: Interval | None = None
    positive: float | None = None
    predicted: float | None = None


def quality(
    predictions: pl.DataFrame,
    label: str,
    measure: Measure,
    *,
    score: str = "score",
    predicted: npt.NDArray[Any] | None = None,
    task: str = "binary",
) -> Quality:
    """Judge predictions by their labels.

    Args:
        predictions: Columns ``score``, null where a request was not answered, and ``label``,
            a number, null where it has not come.
        label: The name of the label's column.
        measure: Metrics of labels and scores (``registry.metrics.evaluate``).
        score: The name of the score's column.
        predicted: What was predicted where that is more than the score: shape ``(n, classes)``.
        task: The type of the task.
    """
    answered = predictions[score].is_not_null().to_numpy()
    labels = predictions[label].cast(pl.Float64)
    known = answered & labels.is_not_null().to_numpy()
    scores = predictions[score].cast(pl.Float64).to_numpy() if predicted is None else predicted
    y, p = labels.to_numpy()[known], scores[known]
    ordered = task != "multiclass"
    return Quality(
        labelled=len(y),
        unlabelled=int(answered.sum()) - len(y),
        metrics=dict(measure(y, p)) if len(y) else {},
        log_loss=_interval(y, p) if len(y) > 1 and task != "regression" else None,
        positive=float(y.mean()) if len(y) and ordered else None,
        predicted=float(p.mean()) if len(y) and ordered else None,
    )


def _interval(y: npt.NDArray[Any], p: npt.NDArray[Any]) -> Interval:
    if p.ndim == 2:
        p, y = p[np.arange(len(p)), y.astype(np.int64)], np.ones(len(p))
    clipped = np.clip(p, _CLIP, 1 - _CLIP)
    losses = -np.log(np.where(y > 0.5, clipped, 1 - clipped))
    mean, error = float(losses.mean()), float(losses.std(ddof=1)) / len(losses) ** 0.5
    return Interval(mean, mean - _Z * error, mean + _Z * error)
