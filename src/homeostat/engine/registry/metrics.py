"""Metrics of labels ``y`` and predictions ``p``, for each kind of task.

Binary: ``y`` 0 and 1, ``p`` the probability of 1, both of shape ``(n,)``. Multi-class: ``y`` the places of the classes,
``p`` their probabilities, shape ``(n, classes)``. Regression: numbers, both of shape ``(n,)``. Ranking: likewise, with
the number of the query that each row belongs to.

They are scikit-learn's. Those of two classes are computed here, the same numbers: they are taken at each look at what
serves, several times over, and of a week of requests scikit-learn takes eight times as long to see what it was given.

A metric that has no value on the rows given, because there are none, because a prediction is not finite or because
the ranking of a single class means nothing, is None: it is never a number that a comparison could let pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.domain import metrics as names
from homeostat.domain.declarations.tasks import Ranking, Regression, Task
from homeostat.domain.errors import BadRequest
from homeostat.engine.registry import ranking

Array = npt.NDArray[Any]
Function = Callable[..., float | None]

BINS: Final = 10
NAIVE_ERROR: Final = "train_naive_error"


class Bin(msgspec.Struct, frozen=True):
    """One bin of a reliability table: mean predicted probability, observed rate, rows."""

    predicted: float
    observed: float
    count: int


def log_loss(y: Array, p: Array) -> float | None:
    """Mean negative log likelihood in nats; scores of exactly 0 or 1 are clipped as scikit-learn does."""
    if not _defined(y, p):
        return None
    if p.ndim == 2:
        from sklearn.metrics import log_loss as measured

        return float(measured(y, p, labels=range(p.shape[1])))
    tiny = np.finfo(np.result_type(p, np.float32)).eps
    return float(-np.log(np.clip(np.where(_hits(y, p), p, 1 - p), tiny, 1 - tiny)).mean())


def auc(y: Array, p: Array) -> float | None:
    """Area under the ROC curve; None when ``y`` holds a single class.

    The share of pairs of both classes that are in order, those with equal scores by half: the statistic of Mann &
    Whitney (Annals of Mathematical Statistics 18, 1947).
    """
    if not _defined(y, p) or y.min() == y.max():
        return None
    hits = _hits(y, p, probable=False)
    above, below = np.sort(p[hits]), np.sort(p[~hits])  # places are looked up in order, which is fast
    in_order = np.searchsorted(below, above, "left").sum() + np.searchsorted(below, above, "right").sum()
    return float(in_order / 2) / (len(above) * len(below))


def brier(y: Array, p: Array) -> float | None:
    """Mean squared error of the probability."""
    return float(np.square(p - _hits(y, p)).mean()) if _defined(y, p) else None


def accuracy(y: Array, p: Array) -> float | None:
    """The share of rows that a threshold of one half, or the likeliest class, gets right."""
    return float((answers(p) == y).mean()) if _defined(y, p) else None


def balanced_accuracy(y: Array, p: Array) -> float | None:
    """The mean over classes of the share of their rows that is found; None when ``y`` holds a single class."""
    from sklearn.metrics import recall_score

    if not _defined(y, p) or y.min() == y.max():
        return None
    return float(recall_score(y, answers(p), labels=np.unique(y), average="macro"))


def macro_f1(y: Array, p: Array) -> float | None:
    """The mean over classes, that are there or were predicted, of the F1 score."""
    from sklearn.metrics import f1_score

    return float(f1_score(y, answers(p), average="macro", zero_division=0.0)) if _defined(y, p) else None


def rmse(y: Array, p: Array) -> float | None:
    """The root of the mean squared error, in the label's unit."""
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(y, p)) if _defined(y, p) else None


def mae(y: Array, p: Array) -> float | None:
    """The mean absolute error, in the label's unit."""
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(y, p)) if _defined(y, p) else None


def r2(y: Array, p: Array) -> float | None:
    """The share of the labels' variance that is explained; None where they do not vary."""
    from sklearn.metrics import r2_score

    return float(r2_score(y, p)) if _defined(y, p) and len(y) > 1 and np.ptp(y) > 0 else None


def pinball(quantile: float) -> Function:
    """The mean pinball loss of a quantile, in the label's unit (Koenker & Bassett, Econometrica 46, 1978)."""

    def measured(y: Array, p: Array) -> float | None:
        from sklearn.metrics import mean_pinball_loss

        return float(mean_pinball_loss(y, p, alpha=quantile)) if _defined(y, p) else None

    return measured


def coverage_error(quantile: float) -> Function:
    """How far the share of labels that are at most what was predicted is from the quantile."""

    def measured(y: Array, p: Array) -> float | None:
        return float(abs((y <= p).mean() - quantile)) if _defined(y, p) else None

    return measured


def wape(y: Array, p: Array) -> float | None:
    """The sum of absolute errors as a share of that of the labels' sizes; None where all of them are 0."""
    whole = float(np.abs(y).sum())
    return float(np.abs(y - p).sum()) / whole if _defined(y, p) and whole else None


def mase(naive: float | None) -> Function:
    """The mean absolute error as a multiple of the naive forecast's on the training rows.

    Hyndman & Koehler, "Another look at measures of forecast accuracy", International Journal of Forecasting 22, 2006.
    """

    def measured(y: Array, p: Array) -> float | None:
        error = mae(y, p)
        return error / naive if error is not None and naive and np.isfinite(naive) else None

    return measured


def answers(p: Array) -> Array:
    """The label that each prediction is for: true from one half on, or the place of the likeliest class."""
    found: Array = p >= 0.5 if p.ndim == 1 else p.argmax(axis=1)
    return found


def calibration_error(y: Array, p: Array) -> float | None:
    """Expected calibration error over ten bins of equal count (Naeini, Cooper & Hauskrecht, 2015).

    Of several classes it is that of the likeliest one (Guo et al., "On calibration of modern neural networks", 2017).
    """
    if not _defined(y, p):
        return None
    return sum(b.count * abs(b.predicted - b.observed) for b in reliability(y, p)) / len(y)


def reliability(y: Array, p: Array, bins: int = BINS) -> list[Bin]:
    """Predicted against observed, in bins between quantiles of ``p``; equal scores share a bin.

    The bins are those of ``calibration_curve(strategy="quantile")`` in scikit-learn, which gives no counts.
    """
    if not _defined(y, p):
        return []
    if p.ndim == 2:
        y, p = (answers(p) == y).astype(np.float64), p.max(axis=1)
    edges = np.quantile(p, np.linspace(0, 1, bins + 1))
    which = (p > edges[1:-1, None]).sum(axis=0)  # for so few edges faster than to look each score up
    counts = np.bincount(which, minlength=bins)
    scores = np.bincount(which, weights=p, minlength=bins)
    hits = np.bincount(which, weights=y, minlength=bins)
    return [
        Bin(float(s / n), float(h / n), int(n)) for n, s, h in zip(counts, scores, hits, strict=True) if n
    ]


class Measures:
    """The metrics that a task has, by name.

    Args:
        functions: By name, the first of them the ones that people look at first.
        higher: The names of those that are better when they are higher.
        top: Of a ranking, how many items from the top of a query count; its functions are given the queries too.
    """

    def __init__(
        self, functions: Mapping[str, Function], higher: Sequence[str], top: int | None = None
    ) -> None:
        self._functions = dict(functions)
        self._higher = frozenset(higher)
        self._top = top

    def measure(self, metric: str, y: Array, p: Array, together: Array | None = None) -> float | None:
        """The metric of that name, None where it has no value.

        Args:
            metric: Its name.
            y: Labels.
            p: Predictions.
            together: The number of the query, or of what else belongs together, of each row.

        Raises:
            BadRequest: no metric has that name, or ``y`` and ``p`` do not match.
        """
        if metric not in self._functions:
            known = ", ".join(self._functions)
            raise BadRequest(f"{metric!r} is no metric", remedy=f"Use one of {known}")
        return self._functions[metric](y, p) if self._top is None else self._functions[metric](y, p, together)

    def evaluate(
        self, y: Array, p: Array, together: Array | None = None, only: Collection[str] | None = None
    ) -> dict[str, float]:
        """Every metric that has a value on these rows, or of some of them."""
        values = {
            name: self.measure(name, y, p, together) for name in (self._functions if only is None else only)
        }
        return {name: value for name, value in values.items() if value is not None}

    def cuts(self, values: pl.Series, together: Array | None) -> bool:
        """Whether slices by ``values`` would cut what is judged as a whole: the queries of a ranking."""
        if self._top is None or together is None:
            return False
        return values.to_frame("value").group_by(pl.Series(together)).n_unique()["value"].gt(1).any()

    def by_query(self, y: Array, p: Array, together: Array | None) -> dict[str, Array]:
        """The values whose means are the metrics of a ranking, of queries that have any; empty of other tasks."""
        if self._top is None or together is None or not _defined(y, p):
            return {}
        found = ranking.by_query(y, p, together, self._top)
        return {name: values[~np.isnan(values)] for name, values in found.items()}

    def sign(self, metric: str) -> float:
        """1 where higher is better, -1 where lower is."""
        return 1.0 if metric in self._higher else -1.0


def measures(task: Task, told: Mapping[str, float] | None = None) -> Measures:
    """The metrics of a task, those of the project's own among them.

    Args:
        task: The model's.
        told: What is known of a training: ``NAIVE_ERROR``, where MASE is wanted.
    """
    functions = _METRICS | {"mase": mase((told or {}).get(NAIVE_ERROR))}
    if isinstance(task, Regression):
        quantile = task.quantile or 0.5
        functions |= {"pinball": pinball(quantile), "coverage_error": coverage_error(quantile)}
    top = task.k if isinstance(task, Ranking) else None
    if top is not None:
        functions |= {name: _ranked(name, top) for name in names.RANKING}
    functions |= {one.name: _own(one) for one in task.metrics}
    return Measures(
        {name: functions[name] for name in task.names},
        [name for name in task.names if task.higher_is_better(name)],
        top,
    )


def _ranked(metric: str, top: int) -> Function:
    """The mean over queries; None where no query has anything relevant."""

    def measured(y: Array, p: Array, queries: Array) -> float | None:
        if not _defined(y, p):
            return None
        values = ranking.by_query(y, p, queries, top)[metric]
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else None

    return measured


def _own(metric: names.Metric) -> Function:
    """A metric of the project's own, which has no value where none of ours would have one."""

    def measured(y: Array, p: Array, *queries: Array) -> float | None:
        value = metric.function(y, p, *queries) if _defined(y, p) else None
        return None if value is None or not np.isfinite(value) else float(value)

    return measured


_METRICS: Final[dict[str, Function]] = {
    "log_loss": log_loss,
    "auc": auc,
    "brier": brier,
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "calibration_error": calibration_error,
    "rmse": rmse,
    "mae": mae,
    "r2": r2,
    "wape": wape,
}

BINARY: Final = Measures({name: _METRICS[name] for name in names.BINARY}, sorted(names.HIGHER_IS_BETTER))
measure, evaluate = BINARY.measure, BINARY.evaluate


def _defined(y: Array, p: Array) -> bool:
    if y.ndim != 1 or p.ndim not in (1, 2) or len(y) != len(p):
        raise BadRequest(
            f"labels have shape {y.shape} and scores {p.shape}", remedy="Give one score for each label"
        )
    return bool(len(y) and np.isfinite(p).all())


def _hits(y: Array, p: Array, *, probable: bool = True) -> npt.NDArray[np.bool_]:
    """Where the label is 1, of labels 0 and 1 and of probabilities, or of any scores."""
    hits: npt.NDArray[np.bool_] = y == 1
    if not (hits | (y == 0)).all():
        raise BadRequest("a label is neither 0 nor 1", remedy="Give the labels of two classes as 0 and 1")
    if probable and (p.min() < 0 or p.max() > 1):
        raise BadRequest(
            f"scores from {p.min():g} to {p.max():g} are no probabilities", remedy="Give the probability of 1"
        )
    return hits
