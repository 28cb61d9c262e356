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

from collections.abc import Iterable, Iterator, Sequence
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
Codes = tuple[list[Part], npt.NDArray[np.int64]]  # of each row its part: from 1 on, 0 where it is of none


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
    X: Iterable[pl.Series], loss: npt.ArrayLike, *, most: int = 5, least_rows: int = LEAST_ROWS
) -> list[Slice]:
    """The slices with the largest effect, of those that are worse for sure.

    Args:
        X: Columns of numbers, texts or booleans, one row a loss; those of other types do not count. No more are taken
            than are looked at.
        loss: The loss of each row.
        most: How many slices.
        least_rows: How many rows a slice must have.
    """
    losses = np.asarray(loss, dtype=np.float64)
    codes = (_codes(column) for column in X)
    single = list(islice((code for code in codes if code is not None), _MOST_FEATURES))
    tested = _tested(single, losses, least_rows)
    alone = dict(zip(tested.where, tested.effect.tolist(), strict=True))
    named = ((part, one) for part, one in tested.worst() if _tells_more(part, one, alone))
    return [one for _, one in islice(named, most)]


def _codes(column: pl.Series) -> Codes | None:
    """The parts, and of each row its part; None for a column that has no parts."""
    if column.dtype.is_numeric():
        return _of_numbers(column)
    if not (column.dtype in (pl.String, pl.Boolean) or isinstance(column.dtype, pl.Categorical | pl.Enum)):
        return None
    text = column.cast(pl.String).fill_null("missing").alias("value")  # the column may be called "count"
    frequent = text.value_counts(sort=True, name="count").head(_MOST_VALUES)["value"].to_list()
    places = {value: place for place, value in enumerate(frequent, 1)}
    code = text.replace_strict(list(places), list(places.values()), default=0, return_dtype=pl.Int64)
    return ([(f"{column.name} = {one}",) for one in frequent], code.to_numpy()) if places else None


def _of_numbers(column: pl.Series) -> Codes | None:
    values = column.cast(pl.Float64).to_numpy()
    there = np.isfinite(values)
    if not there.any():
        return None
    ordered = np.sort(values[there])
    distinct = ordered[np.diff(ordered, prepend=-np.inf) > 0]
    if len(distinct) < 2:
        return None
    if len(distinct) <= _PARTS:
        names = [(f"{column.name} = {one:g}",) for one in distinct]
        code = np.searchsorted(distinct, values)
    else:
        places = np.arange(1, _PARTS) / _PARTS * (len(ordered) - 1)  # of the quantiles, between two rows
        edges = np.unique(np.interp(places, np.arange(len(ordered)), ordered))
        ends = [distinct[0], *edges, distinct[-1]]
        names = [(f"{column.name} in {low:.4g} to {high:.4g}",) for low, high in pairwise(ends)]
        code = np.searchsorted(edges, values, side="right")
    code = np.where(there, code, len(names)) + 1
    return [*names, (f"{column.name} is missing",)], code.astype(np.int64)


class _Tested(NamedTuple):
    """Parts with enough rows in them and outside them, in columns: those of a ``Slice``."""

    where: list[Part]
    rows: npt.NDArray[np.int64]
    loss: npt.NDArray[np.float64]
    elsewhere: npt.NDArray[np.float64]
    effect: npt.NDArray[np.float64]
    p_value: npt.NDArray[np.float64]

    def worst(self) -> Iterator[tuple[Part, Slice]]:
        """Those that are worse for sure and by enough, the largest effect first."""
        named = np.flatnonzero(_sure(self.p_value) & (self.effect >= LEAST_EFFECT))
        for at in named[np.argsort(-self.effect[named], kind="stable")].tolist():
            numbers = {
                name: column[at].item() for name, column in zip(self._fields[1:], self[1:], strict=True)
            }
            yield self.where[at], Slice(where=" and ".join(self.where[at]), **numbers)


def _tested(single: Sequence[Codes], loss: npt.NDArray[np.float64], least_rows: int) -> _Tested:
    """Every part, and every pair of parts of two features, of which a test can say something."""
    from scipy.special import stdtr

    names, (inside, sums, squares) = _summed(single, loss, max(least_rows, 2))
    total, square = loss.sum(), (loss**2).sum()
    outside = len(loss) - inside
    mean, other = sums / inside, (total - sums) / outside
    here = np.maximum(squares / inside - mean**2, 0.0) * inside / (inside - 1)
    there = np.maximum((square - squares) / outside - other**2, 0.0) * outside / (outside - 1)
    error = here / inside + there / outside
    with np.errstate(invalid="ignore", divide="ignore"):  # parts without any variance are left out below
        freedom = error**2 / ((here / inside) ** 2 / (inside - 1) + (there / outside) ** 2 / (outside - 1))
        effect = 2**0.5 * (mean - other) / (here + there) ** 0.5
        p_value = stdtr(freedom, -(mean - other) / error**0.5)
    vary = error > 0
    where = [name for name, varies in zip(names, vary.tolist(), strict=True) if varies]
    return _Tested(where, inside[vary].astype(np.int64), mean[vary], other[vary], effect[vary], p_value[vary])


def _summed(
    single: Sequence[Codes], loss: npt.NDArray[np.float64], least: int
) -> tuple[list[Part], npt.NDArray[np.float64]]:
    """The parts with so many rows in them and outside them; of each its rows, their loss, and the squares of that."""
    weights = None, loss, loss**2
    names: list[Part] = []
    sums = [np.empty((3, 0))]
    every: Codes = [()], np.ones(len(loss), dtype=np.int64)  # a feature by itself is a pair with this
    for first, second in (*((code, every) for code in single), *combinations(single, 2)):
        height, width = len(first[0]) + 1, len(second[0]) + 1
        code = first[1] * width + second[1]  # the first of either are of no part
        table = np.array([np.bincount(code, weights=one, minlength=height * width) for one in weights])
        parts = table.reshape(3, height, width)[:, 1:, 1:]
        large = (parts[0] >= least) & (len(loss) - parts[0] >= least)
        names += [first[0][a] + second[0][b] for a, b in np.argwhere(large).tolist()]
        sums.append(parts[:, large])
    return names, np.concatenate(sums, axis=1)


def _sure(p_value: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which the step-up over all of them names."""
    ordered = np.sort(p_value)
    place = np.arange(1, len(ordered) + 1)
    under = ordered * len(ordered) * (1 / place).sum() <= FALSE * place
    found: npt.NDArray[np.bool_] = p_value <= ordered[under].max(initial=-1.0)
    return found


def _tells_more(part: Part, one: Slice, alone: dict[Part, float]) -> bool:
    return len(part) == 1 or all(one.effect > alone.get((by_itself,), -np.inf) for by_itself in part)
