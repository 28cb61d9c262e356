"""How good the answers were, on the requests whose labels have come.

Labels come late and not for all, so every number stands with how many requests it rests on, with the interval that its
sampling error leaves (``intervals``), and with how long labels take (``delays``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.engine.monitoring.delays import Delays
from homeostat.engine.monitoring.estimates import Estimate
from homeostat.engine.monitoring.fairness import Disparities
from homeostat.engine.monitoring.inputs import Inputs
from homeostat.engine.monitoring.intervals import Interval, analytical, likelihoods, mean
from homeostat.engine.monitoring.slices import Slice

Measure = Callable[..., Mapping[str, float]]


class Group(msgspec.Struct, frozen=True):
    """Quality where a column has one value: its rows, metrics, and the 95% intervals of those that have one."""

    rows: int
    metrics: dict[str, float]
    intervals: dict[str, Interval] = {}


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality over some requests.

    Args:
        labelled: Answered requests with a label.
        unlabelled: Answered requests without one, so far.
        metrics: By name; what has no value on these rows is absent.
        log_loss: With its interval; None below two labelled requests, and of a regression.
        positive: The share of labels that are 1, or their mean; None of several classes, which have none.
        predicted: The mean score on the same requests, likewise.
        intervals: The 95% interval of each metric that has one.
        delays: How long labels take; None where nothing says when one came.
        worst: Slices where the loss is larger than elsewhere, the worst first; empty where none was looked for.
        reliability: Bins of predicted probability: ``predicted``, ``observed``, ``count``, and ``low`` to ``high``, the
            95% interval of what was observed. Empty where it was not asked for.
        groups: By column, by value, for the columns of the model's slice gates, and the horizon of a forecast.
        estimates: By metric, what it probably is on all answered requests, labelled or not.
        inputs: The quality of the data that was asked with; None where it was not looked at.
        fairness: Rates of the declared groups; None where none are declared.
        one_in: How many requests each of those that are counted here stands for. Delays, estimates and fairness may
            be of another sample.
    """

    labelled: int
    unlabelled: int
    metrics: dict[str, float]
    log_loss: Interval | None = None
    positive: float | None = None
    predicted: float | None = None
    intervals: dict[str, Interval] = {}
    delays: Delays | None = None
    worst: list[Slice] = []
    reliability: list[dict[str, float]] = []
    groups: dict[str, dict[str, Group]] = {}
    estimates: dict[str, Estimate] = {}
    inputs: Inputs | None = None
    fairness: Disparities | None = None
    one_in: int = 1


def quality(
    predictions: pl.DataFrame,
    label: str,
    measure: Measure,
    *,
    score: str = "score",
    predicted: npt.NDArray[Any] | None = None,
    task: str = "binary",
    together: npt.NDArray[Any] | None = None,
    quantile: float | None = None,
) -> Quality:
    """Judge predictions by their labels.

    Args:
        predictions: Columns ``score``, null where a request was not answered, and ``label``,
            a number, null where it has not come.
        label: The name of the label's column.
        measure: Metrics of labels, scores, and which rows belong together (``registry.metrics.Measures.evaluate``).
        score: The name of the score's column.
        predicted: What was predicted where that is more than the score: shape ``(n, classes)``.
        task: The type of the task.
        together: Which rows belong together, as numbers; None: each is by itself.
        quantile: What is predicted, where it is a quantile.
    """
    answered = predictions[score].is_not_null().to_numpy()
    labels = predictions[label].cast(pl.Float64)
    known = answered & labels.is_not_null().to_numpy()
    scores = predictions[score].cast(pl.Float64).to_numpy() if predicted is None else predicted
    y, p = labels.to_numpy()[known], scores[known]
    ordered = task != "multiclass"
    groups = together[known] if together is not None else None
    metrics = dict(measure(y, p) if groups is None else measure(y, p, groups)) if len(y) else {}
    return Quality(
        labelled=len(y),
        unlabelled=int(answered.sum()) - len(y),
        metrics=metrics,
        log_loss=mean(likelihoods(y, p)) if len(y) > 1 and task != "regression" else None,
        positive=float(y.mean()) if len(y) and ordered else None,
        predicted=float(p.mean()) if len(y) and ordered else None,
        intervals=analytical(y, p, metrics, groups, quantile) if np.isfinite(p).all() else {},
    )
