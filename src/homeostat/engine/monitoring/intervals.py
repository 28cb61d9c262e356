"""How far a metric on some requests may be from the one on all of their kind: 95% intervals.

Of means, as log loss or absolute error, by the normal approximation of the mean's error; of the AUC by DeLong, DeLong &
Clarke-Pearson ("Comparing the areas under two or more correlated ROC curves", Biometrics 44, 1988), computed from
sorted scores, not from all pairs, as by Sun & Xu (IEEE Signal Processing Letters 21, 2014); of the RMSE and of WAPE by
the delta method. Anything else by the percentile bootstrap of a fixed seed (Efron, "Bootstrap methods", Annals of
Statistics 7, 1979).

Rows that belong together, as forecasts made at the same time, are one draw: sums over them take the place of single
rows (Liang & Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73, 1986), and the
bootstrap draws them whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Measure = Callable[..., Mapping[str, float]]

DRAWS: Final = 200
_CLIP: Final = float(np.finfo(np.float64).eps)  # as scikit-learn's log_loss
Z: Final = 1.959963984540054  # 97.5% of a normal distribution lie below
_MOST: Final = (
    20_000  # rows that are drawn from, the newest: more change the interval by less than its own error
)


class Interval(msgspec.Struct, frozen=True):
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


def analytical(
    y: Array,
    p: Array,
    metrics: Mapping[str, float],
    together: Array | None = None,
    quantile: float | None = None,
) -> dict[str, Interval]:
    """The intervals of those metrics that have a formula.

    Args:
        y: Labels as numbers.
        p: Predictions, shape ``(n,)``, or ``(n, classes)``.
        metrics: What was measured, by name.
        together: Which rows belong together, as numbers; None: each is by itself.
        quantile: What is predicted, where it is a quantile.
    """
    out: dict[str, Interval] = {}
    if together is not None and len(np.unique(together)) < 2:  # nothing says how groups differ
        return out
    formulas = dict(_FORMULAS) | (_of_quantile(quantile) if quantile is not None else {})
    for name, value in metrics.items():
        formula = formulas.get(name)
        found = formula(y, p, value, together) if formula is not None and len(y) > 1 else None
        if found is not None:
            out[name] = found
    return out


def bootstrapped(
    y: Array,
    p: Array,
    metrics: Mapping[str, float],
    measure: Measure,
    together: Array | None = None,
    *,
    draws: int = DRAWS,
) -> dict[str, Interval]:
    """Intervals of any metrics, from rows drawn with replacement, those that belong together at once.

    Args:
        y: Labels as numbers, oldest first.
        p: Predictions.
        metrics: What was measured, by name; those that are wanted.
        measure: Metrics of labels and predictions, and of ``together`` where it is given.
        together: Which rows belong together, as numbers; None: each is by itself.
        draws: How often.
    """
    y, p = y[-_MOST:], p[-_MOST:]
    rng = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {name: [] for name in metrics}
    parts = _parts(together[-_MOST:]) if together is not None else None
    for _ in range(draws if len(y) > 1 else 0):
        if parts is None:
            rows = rng.integers(0, len(y), len(y))
            values = measure(y[rows], p[rows])
        else:
            chosen = [parts[one] for one in rng.integers(0, len(parts), len(parts))]
            rows = np.concatenate(chosen)
            values = measure(y[rows], p[rows], np.repeat(np.arange(len(parts)), list(map(len, chosen))))
        for name, value in values.items():
            if name in drawn:
                drawn[name].append(value)
    out = {}
    for name, found in drawn.items():
        if len(found) > draws / 2:  # one that most draws have no value of has no interval either
            low, high = np.quantile(found, (0.025, 0.975))
            out[name] = Interval(metrics[name], float(low), float(high))
    return out


def rate(count: int, of: int, z: float = Z) -> Interval | None:
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


def mean(values: Array, together: Array | None = None) -> Interval:
    """Of the mean of two values or more.

    Args:
        values: The values.
        together: Which of them belong together, two groups or more, as numbers; None: each is by itself.
    """
    middle, z = float(values.mean()), Z
    if together is None:
        error = float(values.std(ddof=1)) / len(values) ** 0.5
    else:
        from scipy.special import stdtrit

        sums = np.bincount(np.unique(together, return_inverse=True)[1], weights=values - middle)
        count = len(sums)
        error = float(np.sqrt((sums**2).sum() * count / (count - 1))) / len(values)
        z = float(stdtrit(count - 1, 0.975))  # groups are few where rows are many
    return Interval(middle, middle - z * error, middle + z * error)


def _parts(together: Array) -> list[Array]:
    """The rows of each group."""
    order = np.argsort(together, kind="stable")
    _, starts = np.unique(together[order], return_index=True)
    return np.split(order, starts[1:])


def likelihoods(y: Array, p: Array) -> Array:
    """The negative log likelihood of each label, in nats."""
    if p.ndim == 2:
        p, y = p[np.arange(len(p)), y.astype(np.int64)], np.ones(len(p))
    clipped = np.clip(p, _CLIP, 1 - _CLIP)
    found: Array = -np.log(np.where(y > 0.5, clipped, 1 - clipped))
    return found


def _log_loss(y: Array, p: Array, value: float, together: Array | None) -> Interval | None:
    return mean(likelihoods(y, p), together)


def _brier(y: Array, p: Array, value: float, together: Array | None) -> Interval | None:
    return mean((p - y) ** 2, together)


def _accuracy(y: Array, p: Array, value: float, together: Array | None) -> Interval | None:
    return rate(round(value * len(y)), len(y))


def _mae(y: Array, p: Array, value: float, together: Array | None) -> Interval | None:
    return mean(np.abs(p - y), together)


def _mase(y: Array, p: Array, value: float, together: Array | None) -> Interval | None:
    """The naive forecast's error is a number that the training left."""
    found = mean(np.abs(p - y), together)
    scale = value / found.value if found.value else 0.0
    return Interval(value, found.low * scale, found.high * scale)


def _wape(y: Array, p: Array, value: float, together: Array | None) -> Interval | None:
    """A ratio of two means: its error is that of the mean of what each row adds to it (delta method)."""
    size = np.abs(y)
    found = mean((np.abs(p - y) - value * size) / size.mean(), together)
    return Interval(value, max(value + found.low, 0.0), value + found.high)


def _rmse(y: Array, p: Array, value: float, together: Array | None) -> Interval | None:
    """The square root has the derivative 1 / (2 rmse)."""
    squared = mean((p - y) ** 2, together)
    half = (squared.high - squared.low) / 4 / value if value else 0.0
    return Interval(value, max(value - half, 0.0), value + half)


def _of_quantile(
    quantile: float,
) -> dict[str, Callable[[Array, Array, float, Array | None], Interval | None]]:
    """Of what a predicted quantile is judged by."""

    def pinball(y: Array, p: Array, value: float, together: Array | None) -> Interval | None:
        return mean(np.maximum(quantile * (y - p), (quantile - 1) * (y - p)), together)

    def coverage_error(y: Array, p: Array, value: float, together: Array | None) -> Interval | None:
        found = mean((y <= p).astype(np.float64), together)
        ends = abs(found.low - quantile), abs(found.high - quantile)
        return Interval(value, 0.0 if found.low <= quantile <= found.high else min(ends), max(ends))

    return {"pinball": pinball, "coverage_error": coverage_error}


def _auc(y: Array, p: Array, value: float, together: Array | None) -> Interval | None:
    hit, miss = np.sort(p[y > 0.5]), np.sort(p[y <= 0.5])
    m, n = len(hit), len(miss)
    if m < 2 or n < 2:
        return None
    # Shares of those of the other kind that are less, equal ones by half. Of each hit the misses:
    less, upto = np.searchsorted(miss, hit, "left"), np.searchsorted(miss, hit, "right")
    above = (less + upto) / (2 * n)
    # Of the k-th miss, from 0, the hits: less are those up to which k misses come at most, equal or less those that at
    # most k misses are less than.
    under, level = (np.cumsum(np.bincount(places, minlength=n + 1))[:n] for places in (upto, less))
    below = (under + level) / (2 * m)
    error = float(above.var(ddof=1) / m + below.var(ddof=1) / n) ** 0.5
    return Interval(value, max(value - Z * error, 0.0), min(value + Z * error, 1.0))


_FORMULAS: Final[Mapping[str, Callable[[Array, Array, float, Array | None], Interval | None]]] = {
    "log_loss": _log_loss,
    "auc": _auc,
    "brier": _brier,
    "accuracy": _accuracy,
    "mae": _mae,
    "mase": _mase,
    "wape": _wape,
    "rmse": _rmse,
}
