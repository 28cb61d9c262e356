"""Metrics of a binary classifier on ``y`` (0 and 1) and ``p`` (the probability of 1), one-dimensional arrays.

A metric that has no value on the rows given, because there are none, because a score is not finite or because
the ranking of a single class means nothing, is None: it is never a number that a comparison could let pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.domain.errors import BadRequest

Array = npt.NDArray[Any]

BINS: Final = 10


class Bin(msgspec.Struct, frozen=True):
    """One bin of a reliability table: mean predicted probability, observed rate, rows."""

    predicted: float
    observed: float
    count: int


def log_loss(y: Array, p: Array) -> float | None:
    """Mean negative log likelihood in nats; scores of exactly 0 or 1 are clipped as scikit-learn does."""
    from sklearn.metrics import log_loss as measured

    return float(measured(y, p, labels=[0, 1])) if _defined(y, p) else None


def auc(y: Array, p: Array) -> float | None:
    """Area under the ROC curve; None when ``y`` holds a single class."""
    from sklearn.metrics import roc_auc_score

    if not _defined(y, p) or y.min() == y.max():
        return None
    return float(roc_auc_score(y, p))


def brier(y: Array, p: Array) -> float | None:
    """Mean squared error of the probability."""
    from sklearn.metrics import brier_score_loss

    return float(brier_score_loss(y, p, pos_label=1, labels=[0, 1])) if _defined(y, p) else None


def accuracy(y: Array, p: Array) -> float | None:
    """The share of rows that a threshold of one half gets right."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(y, p >= 0.5)) if _defined(y, p) else None


def calibration_error(y: Array, p: Array) -> float | None:
    """Expected calibration error over ten bins of equal count (Naeini, Cooper & Hauskrecht, 2015)."""
    if not _defined(y, p):
        return None
    return sum(b.count * abs(b.predicted - b.observed) for b in reliability(y, p)) / len(y)


def reliability(y: Array, p: Array, bins: int = BINS) -> list[Bin]:
    """Predicted against observed, in bins between quantiles of ``p``; equal scores share a bin.

    The bins are those of ``calibration_curve(strategy="quantile")`` in scikit-learn, which gives no counts.
    """
    if not _defined(y, p):
        return []
    edges = np.quantile(p, np.linspace(0, 1, bins + 1))
    which = np.searchsorted(edges[1:-1], p)
    counts = np.bincount(which, minlength=bins)
    scores = np.bincount(which, weights=p, minlength=bins)
    hits = np.bincount(which, weights=y, minlength=bins)
    return [
        Bin(float(s / n), float(h / n), int(n)) for n, s, h in zip(counts, scores, hits, strict=True) if n
    ]


_METRICS: Final[dict[str, Callable[[Array, Array], float | None]]] = {
    "log_loss": log_loss,
    "auc": auc,
    "brier": brier,
    "accuracy": accuracy,
    "calibration_error": calibration_error,
}


def measure(metric: str, y: Array, p: Array) -> float | None:
    """The metric of that name, None where it has no value.

    Raises:
        BadRequest: no metric has that name, or ``y`` and ``p`` do not match.
    """
    if metric not in _METRICS:
        raise BadRequest(f"{metric!r} is no metric", remedy=f"Use one of {', '.join(_METRICS)}")
    return _METRICS[metric](y, p)


def evaluate(y: Array, p: Array) -> dict[str, float]:
    """Every metric that has a value on these rows."""
    values = {name: metric(y, p) for name, metric in _METRICS.items()}
    return {name: value for name, value in values.items() if value is not None}


def _defined(y: Array, p: Array) -> bool:
    if y.shape != p.shape or y.ndim != 1:
        raise BadRequest(
            f"labels have shape {y.shape} and scores {p.shape}", remedy="Give one score for each label"
        )
    return bool(len(y) and np.isfinite(p).all())
