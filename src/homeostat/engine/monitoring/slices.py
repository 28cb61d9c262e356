"""Slices where a model does worse than elsewhere, found over single features and pairs of them.

The search is Slice Finder's (Chung, Kraska, Polyzotis, Tae & Whang, "Automated data slicing for model validation", TKDE
32, 2020): a slice is worse where its mean loss is more than that of all other rows, by Welch's test, and by an effect
size that matters. All slices that are large enough are tested, and of those that are named a twentieth is wrong at most
on average: Benjamini & Yekutieli's step-up (Annals of Statistics 29, 2001), which holds however slices overlap. A pair
is named only where it is worse than both of its parts by themselves; else the parts say it more simply.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

FALSE: Final = 0.05
LEAST_EFFECT: Final = 0.2  # a fifth of a standard deviation: Cohen's "small"
LEAST_ROWS: Final = 50
_PARTS: Final = 4
_MOST_VALUES: Final = 20
_MOST_FEATURES: Final = 20

Codes = tuple[str, list[str], npt.NDArray[np.int64]]


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that have something in common.

    Args:
        where: What, as ``plan = b`` or ``usage in 1.2 to 3.4 and plan = b``.
        rows: How many they are.
        loss: Their mean loss.
        elsewhere: The mean loss of all others.
        effect: The difference in standard deviations of both.
        p_value: Of Welch's test, one-sided, by itself.
    """

    where: str
    rows: int
    loss: float
    elsewhere: float
    effect: float
    p_value: float


def worst_slices(
    X: pl.DataFrame, loss: npt.ArrayLike, *, most: int = 5, least_rows: int = LEAST_ROWS
) -> list[Slice]:
    """The slices with the largest effect, of those that are worse for sure.

    Args:
        X: Numbers, texts and booleans, one row a loss; columns of other types do not count.
        loss: The loss of each row.
        most: How many slices.
        least_rows: How many rows a slice must have.
    """
    losses = np.asarray(loss, dtype=np.float64)
    single = [code for code in (_codes(column) for column in X.iter_columns()) if code is not None]
    found: list[Slice] = []
    alone: dict[str, float] = {}
    for codes in single[:_MOST_FEATURES]:
        for one in _judged(codes, losses, least_rows):
            alone[one.where] = one.effect
            found.append(one)
    for first, second in combinations(single[:_MOST_FEATURES], 2):
        for one in _judged(_pair(first, second), losses, least_rows):
            found.append(one)
    named = [one for one in _sure(found) if one.effect >= LEAST_EFFECT and _tells_more(one, alone)]
    return sorted(named, key=lambda one: -one.effect)[:most]


def _codes(column: pl.Series) -> Codes | None:
    """The name, the parts, and of each row its part; None for a column that has no parts."""
    if column.dtype.is_numeric():
        return _of_numbers(column)
    if not (column.dtype in (pl.String, pl.Boolean) or isinstance(column.dtype, pl.Categorical | pl.Enum)):
        return None
    text = column.cast(pl.String).fill_null("missing")
    frequent = text.value_counts(sort=True, name="count").head(_MOST_VALUES)[text.name].to_list()
    places = {value: place for place, value in enumerate(frequent)}
    code = text.replace_strict(list(places), list(places.values()), default=-1, return_dtype=pl.Int64)
    return (column.name, [f"{column.name} = {one}" for one in frequent], code.to_numpy()) if places else None


def _of_numbers(column: pl.Series) -> Codes | None:
    values = column.cast(pl.Float64).to_numpy()
    there = np.isfinite(values)
    if not there.any():
        return None
    distinct = np.unique(values[there])
    if len(distinct) < 2:
        return None
    if len(distinct) <= _PARTS:
        names = [f"{column.name} = {one:g}" for one in distinct]
        code = np.searchsorted(distinct, values)
    else:
        edges = np.unique(np.quantile(values[there], np.arange(1, _PARTS) / _PARTS))
        ends = [distinct[0], *edges, distinct[-1]]
        names = [f"{column.name} in {low:.4g} to {high:.4g}" for low, high in pairwise(ends)]
        code = np.searchsorted(edges, values, side="right")
    code = np.where(there, code, len(names))
    return column.name, [*names, f"{column.name} is missing"], code.astype(np.int64)


def _pair(first: Codes, second: Codes) -> Codes:
    names = [f"{a} and {b}" for a in first[1] for b in second[1]]
    code = np.where((first[2] < 0) | (second[2] < 0), -1, first[2] * len(second[1]) + second[2])
    return "", names, code


def _judged(codes: Codes, loss: npt.NDArray[np.float64], least_rows: int) -> Iterator[Slice]:
    """Every part with enough rows in it and outside it."""
    from scipy.stats import t

    _, names, code = codes
    rows, losses = code[code >= 0], loss[code >= 0]
    counts = np.bincount(rows, minlength=len(names))
    sums = np.bincount(rows, weights=losses, minlength=len(names))
    squares = np.bincount(rows, weights=losses**2, minlength=len(names))
    n, total, square = len(loss), float(loss.sum()), float((loss**2).sum())
    for place in np.flatnonzero((counts >= least_rows) & (n - counts >= least_rows)):
        inside, outside = int(counts[place]), n - int(counts[place])
        mean, other = sums[place] / inside, (total - sums[place]) / outside
        here = max(squares[place] / inside - mean**2, 0.0) * inside / (inside - 1)
        there = max((square - squares[place]) / outside - other**2, 0.0) * outside / (outside - 1)
        error = here / inside + there / outside
        if error <= 0:
            continue
        freedom = error**2 / ((here / inside) ** 2 / (inside - 1) + (there / outside) ** 2 / (outside - 1))
        yield Slice(
            where=names[place],
            rows=inside,
            loss=float(mean),
            elsewhere=float(other),
            effect=float(2**0.5 * (mean - other) / (here + there) ** 0.5),
            p_value=float(t.sf((mean - other) / error**0.5, freedom)),
        )


def _sure(found: Sequence[Slice]) -> list[Slice]:
    """Those that the step-up names."""
    ordered = sorted(found, key=lambda one: one.p_value)
    tests = len(ordered)
    harmonic = float(np.sum(1 / np.arange(1, tests + 1))) if tests else 1.0
    last = 0
    for place, one in enumerate(ordered, start=1):
        if one.p_value <= FALSE * place / (tests * harmonic):
            last = place
    return ordered[:last]


def _tells_more(one: Slice, alone: dict[str, float]) -> bool:
    parts: list[Any] = one.where.split(" and ") if one.where not in alone else []
    return all(one.effect > alone.get(part, -np.inf) for part in parts)
