"""How far a metric on some requests may be from the one on all of their kind: 95% intervals.

Of means, as log loss or absolute error, by the normal approximation of the mean's error; of the AUC by DeLong, DeLong &
Clarke-Pearson ("Comparing the areas under two or more correlated ROC curves", Biometrics 44, 1988), computed from
midranks as by Sun & Xu (IEEE Signal Processing Letters 21, 2014); of the RMSE by the delta method. Anything else by the
percentile bootstrap of a fixed seed (Efron, "Bootstrap methods", Annals of Statistics 7, 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Measure = Callable[[Array, Array], Mapping[str, float]]

DRAWS: Final = 200
_CLIP: Final = float(np.finfo(np.float64).eps)  # as scikit-learn's log_loss
_Z: Final = 1.959963984540054  # 97.5% of a normal distribution lie below
_MOST: Final = (
    20_000  # rows that are drawn from, the newest: more change the interval by less than its own error
)


class Interval(msgspec.Struct, frozen=True):
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


def analytical(y: Array, p: Array, metrics: Mapping[str, float]) -> dict[str, Interval]:
    """The intervals of those metrics that have a formula.

    Args:
        y: Labels as numbers.
        p: Predictions, shape ``(n,)``, or ``(n, classes)``.
        metrics: What was measured, by name.
    """
    out = {}
    for name, value in metrics.items():
        formula = _FORMULAS.get(name)
        found = formula(y, p, value) if formula is not None and len(y) > 1 else None
        if found is not None:
            out[name] = found
    return out


def bootstrapped(
    y: Array, p: Array, metrics: Mapping[str, float], measure: Measure, *, draws: int = DRAWS
) -> dict[str, Interval]:
    """Intervals of any metrics, from rows drawn with replacement.

    Args:
        y: Labels as numbers, oldest first.
        p: Predictions.
        metrics: What was measured, by name; those that are wanted.
        measure: Metrics of labels and predictions.
        draws: How often.
    """
    y, p = y[-_MOST:], p[-_MOST:]
    rng = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {name: [] for name in metrics}
    for _ in range(draws if len(y) > 1 else 0):
        rows = rng.integers(0, len(y), len(y))
        for name, value in measure(y[rows], p[rows]).items():
            if name in drawn:
                drawn[name].append(value)
    out = {}
    for name, found in drawn.items():
        if len(found) > draws / 2:  # one that most draws have no value of has no interval either
            low, high = np.quantile(found, (0.025, 0.975))
            out[name] = Interval(metrics[name], float(low), float(high))
    return out


def rate(count: int, of: int, z: float = _Z) -> Interval | None:
    """Of a share (Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927).

    Args:
        count: How often.
        of: Of how many.
        z: How many standard deviations wide to each side.
    """
    if not of:
        return None
    share, z2 = count / of, z**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = z / (1 + z2 / of) * (share * (1 - share) / of + z2 / (4 * of**2)) ** 0.5
    return Interval(share, max(middle - half, 0.0), min(middle + half, 1.0))


def mean(values: Array) -> Interval:
    """Of the mean of two values or more."""
    middle, error = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
    return Interval(middle, middle - _Z * error, middle + _Z * error)


def likelihoods(y: Array, p: Array) -> Array:
    """The negative log likelihood of each label, in nats."""
    if p.ndim == 2:
        p, y = p[np.arange(len(p)), y.astype(np.int64)], np.ones(len(p))
    clipped = np.clip(p, _CLIP, 1 - _CLIP)
    found: Array = -np.log(np.where(y > 0.5, clipped, 1 - clipped))
    return found


def _log_loss(y: Array, p: Array, value: float) -> Interval | None:
    return mean(likelihoods(y, p))


def _brier(y: Array, p: Array, value: float) -> Interval | None:
    return mean((p - y) ** 2)


def _accuracy(y: Array, p: Array, value: float) -> Interval | None:
    return rate(round(value * len(y)), len(y))


def _mae(y: Array, p: Array, value: float) -> Interval | None:
    return mean(np.abs(p - y))


def _rmse(y: Array, p: Array, value: float) -> Interval | None:
    """The square root has the derivative 1 / (2 rmse)."""
    squared = mean((p - y) ** 2)
    half = (squared.high - squared.low) / 4 / value if value else 0.0
    return Interval(value, max(value - half, 0.0), value + half)


def _auc(y: Array, p: Array, value: float) -> Interval | None:
    from scipy.stats import rankdata

    hit, miss = p[y > 0.5], p[y <= 0.5]
    m, n = len(hit), len(miss)
    if m < 2 or n < 2:
        return None
    ranks = rankdata(np.concatenate([hit, miss]))
    above = (ranks[:m] - rankdata(hit)) / n
    below = 1 - (ranks[m:] - rankdata(miss)) / m
    error = float(above.var(ddof=1) / m + below.var(ddof=1) / n) ** 0.5
    return Interval(value, max(value - _Z * error, 0.0), min(value + _Z * error, 1.0))


_FORMULAS: Final[Mapping[str, Callable[[Array, Array, float], Interval | None]]] = {
    "log_loss": _log_loss,
    "auc": _auc,
    "brier": _brier,
    "accuracy": _accuracy,
    "mae": _mae,
    "rmse": _rmse,
}

ANALYTICAL: Final[Sequence[str]] = tuple(_FORMULAS)
