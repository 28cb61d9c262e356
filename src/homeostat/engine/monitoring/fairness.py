"""Rates by group and their disparities, by fairlearn (Bird et al., "Fairlearn: a toolkit for assessing and improving
fairness in AI", 2020): the largest difference between two groups.

What takes no label, such as the selection rate, is of all answered requests; anything else of the labelled ones.

Rates of few rows differ by chance. How much of the largest difference is more than that is the lower end of its 95%
interval, from those of both groups (Newcombe, "Interval estimation for the difference between independent proportions",
Statistics in Medicine 17, 1998), with what several comparisons leave of 5% for each (Bonferroni).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from statistics import NormalDist
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.domain.errors import NotInstalled
from homeostat.engine.monitoring.intervals import Interval
from homeostat.engine.monitoring.intervals import rate as share

Array = npt.NDArray[Any]

_UNLABELLED: Final = ("selection_rate", "mean_prediction")
_OF_LABEL: Final = {"true_positive_rate": 1, "false_positive_rate": 0}


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One rate over the groups of one column.

    Args:
        column: Which column names the groups.
        rate: What was compared.
        groups: The rate of each group that has one.
        rows: How many rows that is of: of a true positive rate, those whose label is 1.
        disparity: The largest difference between two groups that have enough rows; None for fewer than two.
    """

    column: str
    rate: str
    groups: dict[str, float]
    rows: dict[str, int]
    disparity: float | None


class Disparities(msgspec.Struct, frozen=True):
    """Every comparison.

    Args:
        largest: The largest disparity of all; None where nothing could be compared.
        compared: Each by itself.
        surely: How large one is at least, by all that chance explains.
    """

    largest: float | None
    compared: list[Compared]
    surely: float = 0.0


def disparities(
    y: Array, answers: Array, groups: Mapping[str, Sequence[str]], rates: Sequence[str], *, least_rows: int
) -> Disparities:
    """Compare groups.

    Args:
        y: Labels as numbers, NaN where none has come.
        answers: What was answered: 0 and 1, places of classes, or numbers.
        groups: By column, the group of each row.
        rates: What is compared.
        least_rows: Groups with fewer rows are not compared.

    Raises:
        NotInstalled: fairlearn is not there.
    """
    try:
        library = importlib.import_module("fairlearn.metrics")
    except ImportError as error:
        raise NotInstalled(
            f"hs.Fairness needs fairlearn, which cannot be imported: {error}",
            remedy="Run: pip install 'homeostat[fairness]'",
        ) from error
    out, values = [], []
    for column, names in groups.items():
        group = np.asarray(names, dtype=str)
        for rate in rates:
            rows = _rows(rate, y)
            one = _compared(library, column, rate, y[rows], answers[rows], group[rows], least_rows)
            out.append(one)
            of = _values(rate, y[rows], answers[rows])
            values.append([of[group[rows] == name] for name in one.groups if one.rows[name] >= least_rows])
    found = [one.disparity for one in out if one.disparity is not None]
    return Disparities(max(found) if found else None, out, _surely(values))


def _rows(rate: str, y: Array) -> Array:
    """The rows that a rate is of."""
    if rate in _UNLABELLED:
        return np.ones(len(y), dtype=bool)
    if rate in _OF_LABEL:
        found: Array = y == _OF_LABEL[rate]
        return found
    return np.isfinite(y)


def _values(rate: str, y: Array, answers: Array) -> Array:
    """What the rate is the mean of."""
    found: Array = answers
    if rate == "accuracy":
        found = answers == y
    elif rate == "mean_absolute_error":
        found = np.abs(y - answers)
    return found.astype(np.float64)


def _surely(compared: Sequence[Sequence[Array]]) -> float:
    """How large the largest difference of two groups is at least; 0 where chance may explain all of it."""
    pairs = [pair for groups in compared for pair in combinations(groups, 2)]
    z = NormalDist().inv_cdf(1 - 0.025 / max(len(pairs), 1))
    least = 0.0
    for pair in pairs:
        low, high = sorted((_interval(values, z) for values in pair), key=lambda one: one.value)
        off = math.hypot(high.value - high.low, low.high - low.value)
        least = max(least, high.value - low.value - off)
    return least


def _interval(values: Array, z: float) -> Interval:
    """Of the mean of the values of one group; of a share where they are 0 and 1."""
    if np.isin(values, (0.0, 1.0)).all() and (found := share(int(values.sum()), len(values), z)) is not None:
        return found
    middle, error = float(values.mean()), z * float(values.std(ddof=1)) / len(values) ** 0.5
    return Interval(middle, middle - error, middle + error)


def _compared(
    library: Any, column: str, rate: str, y: Array, answers: Array, group: Array, least_rows: int
) -> Compared:
    names, counts = np.unique(group, return_counts=True)
    rows = dict(zip(names.tolist(), counts.tolist(), strict=True))
    if not rows:
        return Compared(column=column, rate=rate, groups={}, rows={}, disparity=None)
    labels = np.where(np.isfinite(y), y, 0.0)
    frame = library.MetricFrame(
        metrics=_function(library, rate), y_true=labels, y_pred=answers, sensitive_features=group
    )
    found = {str(name): float(value) for name, value in frame.by_group.items() if np.isfinite(value)}
    enough = [value for name, value in found.items() if rows[name] >= least_rows]
    return Compared(
        column=column,
        rate=rate,
        groups=found,
        rows=rows,
        disparity=max(enough) - min(enough) if len(enough) > 1 else None,
    )


def _function(library: Any, rate: str) -> Callable[..., float]:
    from sklearn.metrics import accuracy_score, mean_absolute_error

    others: dict[str, Callable[..., float]] = {
        "accuracy": accuracy_score,
        "mean_absolute_error": mean_absolute_error,
        "mean_prediction": library.mean_prediction,
    }
    found: Callable[..., float] = others[rate] if rate in others else getattr(library, rate)
    return found
