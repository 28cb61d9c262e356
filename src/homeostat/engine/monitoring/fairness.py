"""Rates by group and their disparities, by fairlearn (Bird et al., "Fairlearn: a toolkit for assessing and improving
fairness in AI", 2020): the largest difference between two groups.

What takes no label, such as the selection rate, is of all answered requests; anything else of the labelled ones.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from homeostat.domain.errors import NotInstalled

Array = npt.NDArray[Any]

_UNLABELLED: Final = ("selection_rate", "mean_prediction")


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One rate over the groups of one column.

    Args:
        column: Which column names the groups.
        rate: What was compared.
        groups: The rate of each group that has one.
        rows: How many rows each has.
        disparity: The largest difference between two groups that have enough rows; None for fewer than two.
    """

    column: str
    rate: str
    groups: dict[str, float]
    rows: dict[str, int]
    disparity: float | None


class Disparities(msgspec.Struct, frozen=True):
    """Every comparison, and the largest disparity of all; None where nothing could be compared."""

    largest: float | None
    compared: list[Compared]


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
    known = np.isfinite(y)
    out = []
    for column, names in groups.items():
        group = np.asarray(names, dtype=object)
        for rate in rates:
            rows = np.ones(len(y), dtype=bool) if rate in _UNLABELLED else known
            out.append(_compared(library, column, rate, y[rows], answers[rows], group[rows], least_rows))
    found = [one.disparity for one in out if one.disparity is not None]
    return Disparities(max(found) if found else None, out)


def _compared(
    library: Any, column: str, rate: str, y: Array, answers: Array, group: Array, least_rows: int
) -> Compared:
    names, counts = np.unique(group.astype(str), return_counts=True)
    rows = dict(zip(names.tolist(), counts.tolist(), strict=True))
    if not rows:
        return Compared(column=column, rate=rate, groups={}, rows={}, disparity=None)
    labels = np.where(np.isfinite(y), y, 0.0)
    frame = library.MetricFrame(
        metrics=_function(library, rate), y_true=labels, y_pred=answers, sensitive_features=group.astype(str)
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
