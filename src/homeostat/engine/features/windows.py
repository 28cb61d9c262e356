"""Windowed aggregates as sums of partial sums of the window's own rows.

The aggregate over (start, t] starts at the tile boundary at or before t - window, offline and online. (Tiles as in
Chronon and Tecton.) Nothing outside of a window enters its sum, so that no value, however large, spoils the windows
after it: the sum of n rows is within n / 2**53 of the sum of their magnitudes from the exact one. Offline and online
add in different orders, so they may differ by twice that; counts, and sums of whole numbers below 2**53, are equal.

Online state of an entity: the moment of its newest rows in microseconds, the moment before, the seq of the last batch
and the number of tiles (int64 each), sum and count of the newest rows (float64), then three columns ordered by tile:
its end in microseconds (int64), sum and count (float64) of the rows from this tile on, the newest apart. So a lookup
is one binary search, and a request that may not see the newest rows yet does without them. For one that is older than
the moment before, only tiles count that had ended by then: the difference of two such sums, so newer rows round it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from struct import Struct
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.domain.declarations import Windows
from homeostat.domain.declarations.features import Aggregate
from homeostat.engine.features.delivery import Delivery
from homeostat.engine.features.times import ALWAYS, available_at, micros

_HEADER: Final = Struct("<4q2d")


@dataclass(frozen=True)
class State:
    """An entity's totals as serving reads them: views of the encoded bytes, nothing is copied."""

    last: int = ALWAYS
    prior: int = ALWAYS
    seq: int = -1
    newest: tuple[float, float] = (0.0, 0.0)  # sum, count
    tiles: Sequence[int] = ()
    sums: Sequence[float] = ()
    counts: Sequence[float] = ()


@dataclass
class _Table:
    """An entity's totals as an update changes them."""

    last: int
    prior: int
    seq: int
    newest: tuple[float, float]
    tiles: npt.NDArray[np.int64]
    totals: npt.NDArray[np.float64]  # shape (2, tiles): sums, counts
    added: dict[int, list[float]] = field(default_factory=dict)  # sum, count by tile, not yet in the totals

    def take(self, seen: int, value: float, tile: int) -> None:
        """One more row."""
        if seen == self.last:
            self.newest = (self.newest[0] + value, self.newest[1] + 1)
        elif seen > self.last:
            self._add(self.last, self.newest, tile)
            self.last, self.prior, self.newest = seen, self.last, (value, 1.0)
        else:
            self._add(seen, (value, 1.0), tile)
            self.prior = max(self.prior, seen)

    def _add(self, seen: int, amounts: tuple[float, float], tile: int) -> None:
        if amounts[1]:
            group = self.added.setdefault(-(-seen // tile) * tile, [0.0, 0.0])
            group[0] += amounts[0]
            group[1] += amounts[1]


def _value(view: Windows) -> pl.Expr:
    return pl.col(view.column).cast(pl.Float64) if view.column else pl.lit(1.0)


def _counts(view: Windows) -> pl.Expr:
    """Whether a row counts; a value that is not finite counts as missing, here and in ``update``."""
    known = pl.col(view.entity.key).is_not_null() & available_at(view.source).is_not_null()
    return known & _value(view).is_finite()


def recent(view: Windows, rows: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """The rows that the states at ``now`` come from: what ``update`` would drop is not among them."""
    rows, seen = rows.filter(_counts(view)), available_at(view.source)
    # The moment before the newest, or the only one.
    prior = seen.unique().top_k(2).min().over(view.entity.key)
    longest = micros(view.windows[-1]) + micros(view.grain)
    return rows.filter(seen > pl.min_horizontal(pl.lit(micros(now)), prior) - longest)


def offline(
    view: Windows, requests: pl.DataFrame, rows: pl.LazyFrame, *, before: bool = False
) -> pl.DataFrame:
    """The view's columns for each request, point in time.

    Args:
        view: The view.
        requests: Columns ``key`` (text) and ``at`` (microseconds), any order; one row a request.
        rows: Rows of the source, with ``SEQ``.
        before: Whether only rows from before the request count, not those of its very time.

    Returns:
        One row a request, in the order of ``requests``; columns are the view's feature names, Float64.
    """
    moments = (
        rows.filter(_counts(view))
        .select(
            pl.col(view.entity.key).cast(pl.String).alias("key"),
            available_at(view.source).alias("seen"),
            _value(view).alias("sum"),
        )
        .group_by("key", "seen")
        .agg(pl.col("sum").sum(), pl.len().alias("count"))
        .sort("seen")
        .group_by("key")
        .agg("seen", "sum", "count")
        .explode("seen", "sum", "count")  # now key by key, for a fraction of what sorting by text costs
        .with_row_index("place")
        .collect()
    )
    sums = moments["sum"].to_numpy()
    counts = np.concatenate(([0], moments["count"].cum_sum().to_numpy()))
    tile = micros(view.grain)
    wanted = requests.select("key", "at").with_row_index("row").sort("at")
    end = _place(wanted, pl.col("at") - int(before), moments, "backward")
    columns: dict[str, pl.Series] = {}
    for window in view.windows:
        edge = (pl.col("at") - micros(window)).floordiv(tile) * tile
        start = _place(wanted, edge + 1, moments, "forward")
        some = (start <= end).fill_null(False).to_numpy()
        first, last = start.filter(some).to_numpy(), end.filter(some).to_numpy()
        total, count = np.zeros(len(some)), np.zeros(len(some))
        total[some], count[some] = _between(sums, first, last), counts[last + 1] - counts[first]
        found = {"sum": pl.Series(total), "count": pl.Series(count)}
        found["mean"] = (found["sum"] / found["count"]).fill_nan(None)
        for aggregate in view.aggregates:
            columns[_name(view, aggregate, window)] = found[aggregate]
    made = pl.DataFrame({name: columns[name] for name in view.feature_names})
    return made[wanted["row"].arg_sort()]


def _place(
    wanted: pl.DataFrame, moment: pl.Expr, moments: pl.DataFrame, strategy: Literal["backward", "forward"]
) -> pl.Series:
    """For each request the place of its key's last moment until then, or of the first from then on."""
    joined = wanted.with_columns(moment.alias("seen")).join_asof(
        moments.select("key", "seen", "place"),
        on="seen",
        by="key",
        strategy=strategy,
        check_sortedness=False,
    )
    return joined["place"].cast(pl.Int64)


def _between(
    values: npt.NDArray[np.float64], first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The sums of ``values[first : last + 1]``, each of two partial sums that meet within it.

    That is a disjoint sparse table: where ``first`` and ``last`` differ first in bit b, a multiple of 2**b lies
    between, and all such sums need one pass over the values.
    """
    sums = values[first]
    bits = np.frexp((first ^ last).astype(np.float64))[1]
    partial = np.zeros(1 << len(values).bit_length())
    for bit in np.unique(bits[bits > 0]):
        partial[: len(values)] = values
        blocks = partial.reshape(-1, 2, 1 << (int(bit) - 1))
        left, right = blocks[:, 0, ::-1], blocks[:, 1]
        these = bits == bit
        with np.errstate(over="ignore", invalid="ignore"):  # of several keys together, which no window is
            left.cumsum(axis=1, out=left)
            right.cumsum(axis=1, out=right)
            sums[these] = partial[first[these]] + partial[last[these]]
    return sums


def _name(view: Windows, aggregate: Aggregate, window: timedelta) -> str:
    position = view.windows.index(window) * len(view.aggregates) + view.aggregates.index(aggregate)
    return view.feature_names[position]


def update(
    view: Windows, delivery: Delivery, states: Mapping[str, bytes | None], now: datetime
) -> dict[str, bytes]:
    """The new online states of every entity in ``delivery``.

    Args:
        view: The view.
        delivery: New rows of the source; each row is given once.
        states: The present state of every entity in it.
        now: Tiles are dropped that the longest window reaches neither from here nor from the moment before the
            newest rows.
    """
    tile, longest = micros(view.grain), micros(view.windows[-1])
    tables: dict[str, _Table] = {}
    values = delivery.numbers(view.column) if view.column else [1.0] * delivery.rows.height
    columns = (delivery.texts(view.entity.key), delivery.seen, values, delivery.seqs)
    for key, seen, value, seq in zip(*columns, strict=True):
        if key is None or seen is None or value is None or not isfinite(value):
            continue
        if key not in tables:
            tables[key] = _table(states[key])
        tables[key].take(seen, value, tile)
        tables[key].seq = max(tables[key].seq, seq)
    for table in tables.values():
        for end, amounts in sorted(table.added.items()):
            _add(table, end, amounts)
        _prune(table, (min(micros(now), table.prior) - longest) // tile * tile)
    return {key: _encode(table) for key, table in tables.items()}


def _add(table: _Table, end: int, amounts: list[float]) -> None:
    at = int(table.tiles.searchsorted(end))
    if at == len(table.tiles):  # nearly always: what comes is the newest
        table.tiles = np.concatenate((table.tiles, (end,)))
        table.totals = np.concatenate((table.totals, np.zeros((2, 1))), axis=1)
    elif table.tiles[at] != end:
        table.tiles = np.insert(table.tiles, at, end)
        table.totals = np.insert(table.totals, at, table.totals[:, at], axis=1)
    table.totals[:, : at + 1] += np.array(amounts)[:, None]


def _prune(table: _Table, horizon: int) -> None:
    """Drop tiles that no window reaches."""
    old = int(table.tiles.searchsorted(horizon, side="right"))
    table.tiles, table.totals = table.tiles[old:], table.totals[:, old:]


def _encode(table: _Table) -> bytes:
    header = _HEADER.pack(table.last, table.prior, table.seq, len(table.tiles), *table.newest)
    return header + table.tiles.astype("<i8").tobytes() + table.totals.astype("<f8").tobytes()


def _table(state: bytes | None) -> _Table:
    found = decode(state)
    totals = np.array([found.sums, found.counts], np.float64)
    return _Table(found.last, found.prior, found.seq, found.newest, np.array(found.tiles, np.int64), totals)


def decode(state: bytes | None) -> State:
    """An entity's totals; none at all where it has no state."""
    if state is None:
        return State()
    whole = memoryview(state)
    last, prior, seq, tiles, total, count = _HEADER.unpack_from(whole)
    ends = [_HEADER.size + 8 * tiles * column for column in range(4)]
    return State(
        last,
        prior,
        seq,
        (total, count),
        whole[ends[0] : ends[1]].cast("q"),
        whole[ends[1] : ends[2]].cast("d"),
        whole[ends[2] : ends[3]].cast("d"),
    )


def lookup(view: Windows, state: State, at: int) -> list[float | None]:
    """The view's features for a request at ``at`` (microseconds), in the order of its feature names.

    Rows that may not yet be seen at ``at`` do not count.
    """
    tiles, sums, counts = state.tiles, state.sums, state.counts
    tile = micros(view.grain)
    end = len(tiles) if state.prior <= at else bisect_right(tiles, at)
    later, laters = (sums[end], counts[end]) if end < len(tiles) else (0.0, 0.0)
    values: list[float | None] = []
    for window in view.windows:
        edge = (at - micros(window)) // tile * tile
        start = bisect_right(tiles, edge)
        summed, seen = (sums[start] - later, counts[start] - laters) if start < end else (0.0, 0.0)
        if edge < state.last <= at:
            summed, seen = summed + state.newest[0], seen + state.newest[1]
        for aggregate in view.aggregates:
            if aggregate == "count":
                values.append(seen)
            elif aggregate == "sum":
                values.append(summed)
            else:
                values.append(summed / seen if seen else None)
    return values
