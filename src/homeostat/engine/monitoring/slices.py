"""Slices where a model does worse than elsewhere, found over single features and pairs of them.

The search is Slice Finder's (Chung, Kraska, Polyzotis, Tae & Whang, "Automated data slicing for model validation", TKDE
32, 2020): a slice is worse where its mean loss is more than that of all other rows, by Welch's test, and by an effect
size that matters. All slices that are large enough are tested, and of those that pass a twentieth is wrong at most on
average: Benjamini & Yekutieli's step-up (Annals of Statistics 29, 2001), which holds however slices overlap. Where the
loss is the same everywhere, any is named with a probability of a twentieth at most. Of those that pass, the ones with
the largest effect are named; that choice has no such bound of its own, and flatters their effect. A pair is named only
where it is worse than both of its parts by themselves; else the parts say it more simply.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice, pairwise
from typing import Final, NamedTuple

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

Part = tuple[str, ...]  # what its rows have in common: of a pair two things
Codes = tuple[str, list[Part], npt.NDArray[np.int64]]


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
    codes = (_codes(column) for column in X.iter_columns())
    single = [code for code in codes if code is not None][:_MOST_FEATURES]
    pairs = (_pair(first, second) for first, second in combinations(single, 2))
    tested = [_tested(code, losses, least_rows) for code in (*single, *pairs)]
    alone = {where: effect for part in tested[: len(single)] for where, effect in part.effects()}
    found = (one for part, sure in zip(tested, _sure(tested), strict=True) for one in part.slices(sure))
    named = sorted(found, key=lambda one: -one[1].effect)
    return list(islice((one for part, one in named if _tells_more(part, one, alone)), most))


def _codes(column: pl.Series) -> Codes | None:
    """The name, the parts, and of each row its part; None for a column that has no parts."""
    if column.dtype.is_numeric():
        return _of_numbers(column)
    if not (column.dtype in (pl.String, pl.Boolean) or isinstance(column.dtype, pl.Categorical | pl.Enum)):
        return None
    text = column.cast(pl.String).fill_null("missing").alias("value")  # the column may be called "count"
    frequent = text.value_counts(sort=True, name="count").head(_MOST_VALUES)["value"].to_list()
    places = {value: place for place, value in enumerate(frequent)}
    code = text.replace_strict(list(places), list(places.values()), default=-1, return_dtype=pl.Int64)
    return (
        (column.name, [(f"{column.name} = {one}",) for one in frequent], code.to_numpy()) if places else None
    )


def _of_numbers(column: pl.Series) -> Codes | None:
    values = column.cast(pl.Float64).to_numpy()
    there = np.isfinite(values)
    if not there.any():
        return None
    distinct = np.unique(values[there])
    if len(distinct) < 2:
        return None
    if len(distinct) <= _PARTS:
        names = [(f"{column.name} = {one:g}",) for one in distinct]
        code = np.searchsorted(distinct, values)
    else:
        edges = np.unique(np.quantile(values[there], np.arange(1, _PARTS) / _PARTS))
        ends = [distinct[0], *edges, distinct[-1]]
        names = [(f"{column.name} in {low:.4g} to {high:.4g}",) for low, high in pairwise(ends)]
        code = np.searchsorted(edges, values, side="right")
    code = np.where(there, code, len(names))
    return column.name, [*names, (f"{column.name} is missing",)], code.astype(np.int64)


def _pair(first: Codes, second: Codes) -> Codes:
    names = [a + b for a in first[1] for b in second[1]]
    code = np.where((first[2] < 0) | (second[2] < 0), -1, first[2] * len(second[1]) + second[2])
    return "", names, code


class _Tested(NamedTuple):
    """Parts with enough rows in them and outside them, in columns: those of a ``Slice``."""

    where: list[Part]
    rows: npt.NDArray[np.int64]
    loss: npt.NDArray[np.float64]
    elsewhere: npt.NDArray[np.float64]
    effect: npt.NDArray[np.float64]
    p_value: npt.NDArray[np.float64]

    def effects(self) -> Iterator[tuple[Part, float]]:
        """The effect of each."""
        return zip(self.where, self.effect.tolist(), strict=True)

    def slices(self, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[Part, Slice]]:
        """Those that are wanted and matter."""
        for at in np.flatnonzero(wanted & (self.effect >= LEAST_EFFECT)).tolist():
            numbers = {
                name: column[at].item() for name, column in zip(self._fields[1:], self[1:], strict=True)
            }
            part = self.where[at]
            yield part, Slice(where=" and ".join(part), **numbers)


def _tested(codes: Codes, loss: npt.NDArray[np.float64], least_rows: int) -> _Tested:
    """Every part of which a test can say something."""
    from scipy.special import stdtr

    _, names, code = codes
    counts, sums, squares = (
        np.bincount(code + 1, weights=weights, minlength=len(names) + 1)[1:]  # the first is of no part
        for weights in (None, loss, loss**2)
    )
    n, total, square = len(loss), loss.sum(), (loss**2).sum()
    large = (counts >= max(least_rows, 2)) & (n - counts >= max(least_rows, 2))
    inside, sums, squares = counts[large], sums[large], squares[large]
    outside = n - inside
    mean, other = sums / inside, (total - sums) / outside
    here = np.maximum(squares / inside - mean**2, 0.0) * inside / (inside - 1)
    there = np.maximum((square - squares) / outside - other**2, 0.0) * outside / (outside - 1)
    error = here / inside + there / outside
    with np.errstate(invalid="ignore", divide="ignore"):  # parts without any variance are left out below
        freedom = error**2 / ((here / inside) ** 2 / (inside - 1) + (there / outside) ** 2 / (outside - 1))
        effect = 2**0.5 * (mean - other) / (here + there) ** 0.5
        p_value = stdtr(freedom, -(mean - other) / error**0.5)
    vary = error > 0
    where = [names[place] for place in np.flatnonzero(large)[vary]]
    return _Tested(where, inside[vary], mean[vary], other[vary], effect[vary], p_value[vary])


def _sure(tested: Sequence[_Tested]) -> Iterator[npt.NDArray[np.bool_]]:
    """Of each, which the step-up over all of them names."""
    p_values = np.sort(np.concatenate([np.empty(0), *(part.p_value for part in tested)]))
    place = np.arange(1, len(p_values) + 1)
    under = p_values * len(p_values) * (1 / place).sum() <= FALSE * place
    largest = p_values[under].max(initial=-1.0)
    return (part.p_value <= largest for part in tested)


def _tells_more(part: Part, one: Slice, alone: dict[Part, float]) -> bool:
    return len(part) == 1 or all(one.effect > alone.get((by_itself,), -np.inf) for by_itself in part)
