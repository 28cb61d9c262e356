"""What the training data looked like, and counts of live rows on the same bins.

A reference is made once, from the training rows, and travels in the model's package; its bins are frozen
with it. A profile counts rows on those bins, and sums up the values (`summary`). Profiles add, so windows and
replicas are merged and never read twice, and take the same memory however many rows they are of.

Bins of a number: one for missing (null or NaN), one below and one above all that training saw, and between
them at most twenty between quantiles, or one for each value where there are few. Bins of a text or a
boolean: missing, the most frequent values, and one for all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.domain.errors import BadRequest
from homeostat.engine.monitoring.dependence import blocks_of, inflation
from homeostat.engine.monitoring.summary import CHUNK, Floats, Summary, of_numbers, of_texts

SCORE: Final = "score"
LABEL: Final = "label"
BINS: Final = 20
CATEGORIES: Final = 50


class Numbers(msgspec.Struct, frozen=True, tag="numbers"):
    """Bins of a number: ``counts`` are missing, below the first edge, between edges, above the last."""

    edges: list[float]
    counts: list[int]


class Categories(msgspec.Struct, frozen=True, tag="categories"):
    """Bins of a text: ``counts`` are missing, each of ``values``, all others."""

    values: list[str]
    counts: list[int]


Bins = Numbers | Categories


class Reference(msgspec.Struct, frozen=True):
    """Bins and counts of each feature, and under ``score`` and ``label`` of the model's answers and the labels.

    Args:
        rows: Training rows.
        features: By name.
        strata: Counts by feature and season; without seasons none.
        inflation: By feature, how many times more sums of neighbouring rows vary than those of independent ones;
            absent where they do not.
        summaries: By feature, what its values were; absent where they are not known.
        sample: Some of the rows (`joint.sample`), where a rule compares features together.
    """

    rows: int
    features: dict[str, Bins]
    strata: dict[str, dict[str, list[int]]] = {}
    inflation: dict[str, float] = {}
    summaries: dict[str, Summary] = {}
    sample: bytes = b""

    def dump(self) -> dict[str, Any]:
        """As JSON can hold it, for the package."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built

    @classmethod
    def read(cls, built: Mapping[str, Any]) -> Reference:
        """What ``dump`` gave."""
        return msgspec.convert(built, cls)


class Profile(msgspec.Struct, frozen=True):
    """Counts of rows on the bins of a reference and what the values were, by feature, and rows by season.

    Features that the rows lacked are absent; without seasons there are no strata.
    """

    rows: int = 0
    counts: dict[str, list[int]] = {}
    strata: dict[str, int] = {}
    summaries: dict[str, Summary] = {}


def reference(
    X: pl.DataFrame,
    scores: npt.ArrayLike | None = None,
    *,
    labels: npt.ArrayLike | None = None,
    seasons: pl.Series | None = None,
    score_seasons: pl.Series | None = None,
) -> Reference:
    """The reference of training rows.

    Args:
        X: The features, oldest first; numbers, texts, booleans, dates and times.
        scores: The model's scores on rows it was not fitted on, oldest first.
        labels: The label of each row of ``X``, as a number.
        seasons: The season of each row of ``X`` (`season.seasons`); drift is then judged within seasons.
        score_seasons: The season of each score.

    Raises:
        BadRequest: a feature has a type that has no bins, or the name of the scores or of the labels.
    """
    for taken in {SCORE, LABEL}.intersection(X.columns):
        raise BadRequest(f"a feature is named {taken!r}, as the model's {taken}s are", remedy="Rename it")
    cells = _cells(len(X), seasons)
    columns = [(column, cells) for column in X.iter_columns()]
    if scores is not None:
        scored = pl.Series(SCORE, np.asarray(scores, dtype=np.float64))
        columns.append((scored, _cells(len(scored), score_seasons)))
    if labels is not None:
        columns.append((pl.Series(LABEL, np.asarray(labels, dtype=np.float64)), cells))
    features: dict[str, Bins] = {}
    strata: dict[str, dict[str, list[int]]] = {}
    inflated: dict[str, float] = {}
    summaries: dict[str, Summary] = {}
    for column, at in columns:
        bins, where, summaries[column.name] = _binned(column)
        cube = at.counts(where, _width(bins))
        whole = cube.sum(0)
        features[column.name] = msgspec.structs.replace(bins, counts=whole.sum(0).tolist())
        if at.names:
            strata[column.name] = dict(zip(at.names, whole.tolist(), strict=True))
        factor = inflation(cube, whole, ordered=isinstance(bins, Numbers)) if len(cube) > 1 else 1.0
        if factor > 1:
            inflated[column.name] = factor
    return Reference(len(X), features, strata, inflated, summaries)


def strata_of(against: Reference, feature: str) -> dict[str, list[int]]:
    """Counts of a feature's training rows by season; without seasons all under the empty name."""
    return against.strata.get(feature) or {"": against.features[feature].counts}


def profile(
    against: Reference, X: pl.DataFrame, seasons: pl.Series | None = None, *, summed_up: bool = True
) -> Profile:
    """Counts of the rows of ``X`` on the bins of ``against``; columns of either alone do not count.

    Args:
        against: Whose bins.
        X: Rows.
        seasons: The season of each row, where the reference has seasons.
        summed_up: Whether to say what the values were, too: drift does not ask, and it takes as long again.
    """
    counts, summaries = {}, {}
    known = set(X.columns)
    for name, bins in against.features.items():
        if name in known:
            found, summary = _seen(bins, X.get_column(name))
            counts[name] = found.tolist()
            if summed_up:
                summaries[name] = summary()
    strata = {} if seasons is None else dict(seasons.value_counts(name="count").iter_rows())
    return Profile(len(X), counts, strata, summaries)


def merge(*profiles: Profile) -> Profile:
    """The profile of all rows of ``profiles``, which are on the same reference."""
    counts: dict[str, list[int]] = {}
    strata: dict[str, int] = {}
    summaries: dict[str, Summary] = {}
    for one in profiles:
        for name, more in one.counts.items():
            so_far = counts.get(name)
            counts[name] = (
                list(more) if so_far is None else [a + b for a, b in zip(so_far, more, strict=True)]
            )
        for name, rows in one.strata.items():
            strata[name] = strata.get(name, 0) + rows
        for name, summary in one.summaries.items():
            summaries[name] = summaries[name] + summary if name in summaries else summary
    return Profile(sum(one.rows for one in profiles), counts, strata, summaries)


def coordinates(bins: Bins, column: pl.Series) -> Floats:
    """Each value as a number, NaN where a number is missing: of a text its place among the bins."""
    return _numbers(column) if isinstance(bins, Numbers) else codes(bins, column).astype(np.float64)


def _width(bins: Bins) -> int:
    """How many counts ``bins`` have."""
    return len(bins.edges if isinstance(bins, Numbers) else bins.values) + 2


def labels(bins: Bins) -> list[str]:
    """What each count of ``bins`` is of, for people."""
    if isinstance(bins, Categories):
        return ["missing", *bins.values, "other"]
    if not bins.edges:
        return ["missing", "any"]
    between = [
        f"{low:.4g}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.4g} to {high:.4g}"
        for low, high in pairwise(bins.edges)
    ]
    return ["missing", f"below {bins.edges[0]:.4g}", *between, f"above {bins.edges[-1]:.4g}"]


def _binned(column: pl.Series) -> tuple[Bins, npt.NDArray[np.integer[Any]], Summary]:
    """Bins without counts, the bin of each row, and what sums the values up."""
    if _is_category(column):
        values = _counted(column.drop_nulls())
        # By count, then by name, so that equal data have equal references.
        texts = values.sort(["count", "value"], descending=[True, False])["value"]
        bins = Categories(texts[:CATEGORIES].to_list(), [])
        return bins, codes(bins, column), of_texts(texts)
    if column.dtype == pl.Float64:  # of many values it is a fifth of the work to fill what is missing first
        column = column.fill_null(math.nan)
    numbers = _numbers(column)
    ordered = _finite(np.sort(numbers))
    distinct = ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]]
    edges = _edges(ordered, distinct)
    return Numbers(edges, []), _places(edges, numbers), of_numbers(numbers, distinct)


def _counted(column: pl.Series) -> pl.DataFrame:
    """How often each text is there; columns of our own names, whatever the feature is called."""
    return column.cast(pl.String).alias("value").value_counts(name="count")


def _finite(ordered: Floats) -> Floats:
    """Those of values in order that are finite: NaN stands last."""
    return ordered[np.searchsorted(ordered, -np.inf, side="right") : np.searchsorted(ordered, np.inf)]


def _edges(ordered: Floats, distinct: Floats) -> list[float]:
    rows = len(ordered)
    if not rows:
        return []
    if len(distinct) > BINS:
        # Quantiles that are values of the data: a value that many rows share has a bin of its own.
        places = np.maximum(
            -(-np.arange(BINS) * rows // BINS) - 1, 0
        )  # of the inverted distribution function
        distinct = np.unique(ordered[places])
    return [*distinct.tolist(), float(np.nextafter(ordered[-1], np.inf))]


def _seen(bins: Bins, column: pl.Series) -> tuple[npt.NDArray[np.int64], Callable[[], Summary]]:
    """How many values are in each bin, and what sums the values up."""
    if isinstance(bins, Categories):
        texts = dict(_counted(column).iter_rows())
        return _count_texts(bins, texts), lambda: of_texts(text for text in texts if text is not None)
    values = _numbers(column)
    return _count_numbers(bins.edges, values), lambda: of_numbers(values)


def _count_numbers(edges: Sequence[float], values: Floats) -> npt.NDArray[np.int64]:
    # Twenty comparisons of a million values take a fifth of the time of one binary search among twenty edges.
    below = np.zeros(len(edges), dtype=np.int64)
    missing = 0
    for first in range(0, len(values), CHUNK):
        some = values[first : first + CHUNK]
        less = np.empty(len(some), dtype=np.bool_)
        below += np.array([np.count_nonzero(np.less(some, edge, out=less)) for edge in edges], dtype=np.int64)
        missing += int(np.count_nonzero(np.isnan(some)))
    ends = np.concatenate([[-missing, 0], below, [len(values) - missing]])
    return np.diff(ends)


def codes(bins: Bins, column: pl.Series) -> npt.NDArray[np.integer[Any]]:
    """The bin of each row, a place among the counts."""
    if isinstance(bins, Categories):
        place = {value: index for index, value in enumerate(bins.values, start=1)}
        found = column.cast(pl.String).replace_strict(
            [None, *place], [0, *place.values()], default=len(place) + 1, return_dtype=pl.Int64
        )
        return found.to_numpy()
    return _places(bins.edges, _numbers(column))


def _places(edges: Sequence[float], values: Floats) -> npt.NDArray[np.integer[Any]]:
    """The bin of each number."""
    where = np.empty(len(values), np.min_scalar_type(len(edges) + 1))
    for first in range(0, len(values), CHUNK):  # comparisons, as when they are counted: none is true of NaN
        some, here = values[first : first + CHUNK], where[first : first + CHUNK]
        here[:] = ~np.isnan(some)
        for edge in edges:
            here += some >= edge
    return where


class _Cells(NamedTuple):
    """Where each row is counted, whatever its bin: its block, of few rows there is one, and its season.

    Args:
        names: The names of the seasons; empty: there are none.
        blocks: How many blocks.
        at: The place of each row: ``block * seasons + season``.
    """

    names: list[str]
    blocks: int
    at: npt.NDArray[np.int64]

    def counts(self, where: npt.NDArray[np.integer[Any]], width: int) -> npt.NDArray[np.int64]:
        """Counts of shape (blocks, seasons, bins) of rows in so many bins; ``where`` is the bin of each."""
        shape = (self.blocks, len(self.names) or 1, width)
        return np.bincount(self.at * width + where, minlength=math.prod(shape)).reshape(shape)


def _cells(rows: int, season: pl.Series | None) -> _Cells:
    blocks = blocks_of(rows)
    at = np.zeros(rows, dtype=np.int64) if blocks is None else blocks
    depth = int(at.max(initial=0)) + 1
    if season is None:
        return _Cells([], depth, at)
    names, code = np.unique(season.to_numpy(), return_inverse=True)
    return _Cells([str(name) for name in names], depth, at * len(names) + code)


def _count_texts(bins: Categories, seen: Mapping[str | None, int]) -> npt.NDArray[np.int64]:
    place = {value: index for index, value in enumerate(bins.values, start=1)}
    counts = np.zeros(len(bins.values) + 2, dtype=np.int64)
    for value, count in seen.items():
        counts[0 if value is None else place.get(value, len(counts) - 1)] += count
    return counts


def _is_category(column: pl.Series) -> bool:
    return isinstance(column.dtype, pl.String | pl.Boolean | pl.Categorical | pl.Enum)


def _numbers(column: pl.Series) -> Floats:
    """As float64, NaN where missing; a date or time as its number of days or ticks."""
    if column.dtype == pl.Float64:  # as most are
        return column.to_numpy()
    if column.dtype == pl.Null:
        return np.full(len(column), np.nan)
    if not (column.dtype.is_numeric() or column.dtype.is_temporal()):
        raise BadRequest(
            f"feature {column.name!r} is a {column.dtype}, which has no bins",
            field=column.name,
            remedy="Make it a number, a text or a boolean",
        )
    return column.to_physical().cast(pl.Float64).to_numpy()
