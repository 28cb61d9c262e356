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
        positive: The share of labels that are 1.
        predicted: The mean score on the same requests.
    """

    labelled: int
    unlabelled: int
    metrics: dict[str, float]
    log_loss: Interval | None = None
    positive: float | None = None
    predicted: float | None = None


def quality(predictions: pl.DataFrame, label: str, measure: Measure, *, score: str = "score") -> Quality:
    """Judge predictions by their labels.

    Args:
        predictions: Columns ``score``, null where a request was not answered, and ``label``,
            boolean or 0 and 1, null where it has not come.
        label: The name of the label's column.
        measure: Metrics of labels and scores (``registry.metrics.evaluate``).
        score: The name of the score's column.
    """
    answered = predictions.select(y=pl.col(label).cast(pl.Float64), p=pl.col(score).cast(pl.Float64))
    answered = answered.filter(pl.col("p").is_not_null())
    judged = answered.filter(pl.col("y").is_not_null())
    y, p = judged["y"].to_numpy(), judged["p"].to_numpy()
    return Quality(
        labelled=len(judged),
        unlabelled=len(answered) - len(judged),
        metrics=dict(measure(y, p)) if len(judged) else {},
        log_loss=_interval(y, p) if len(judged) > 1 else None,
        positive=float(y.mean()) if len(judged) else None,
        predicted=float(p.mean()) if len(judged) else None,
    )


def _interval(y: npt.NDArray[Any], p: npt.NDArray[Any]) -> Interval:
    clipped = np.clip(p, _CLIP, 1 - _CLIP)
    losses = -np.log(np.where(y > 0.5, clipped, 1 - clipped))
    mean, error = float(losses.mean()), float(losses.std(ddof=1)) / len(losses) ** 0.5
    return Interval(mean, mean - _Z * error, mean + _Z * error)
