"""Windowed aggregates as differences of running totals.

The aggregate over (start, t] is total(t) - total(start). Offline the totals come from as-of joins; online each
entity carries its totals at tile boundaries. Both start a window at the tile boundary at or before t - window, so
both give the same number. (Tiles as in Chronon and Tecton; running totals make a lookup one binary search.)

Online state of an entity: the last visible time in microseconds, the seq of the last batch and the number of tiles
(int64 each), then three columns ordered by tile: its end in microseconds (int64), running sum and running count.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import Windows
from homeostat.domain.declarations.features import Aggregate
from homeostat.engine.features.delivery import Delivery
from homeostat.engine.features.times import available_at, micros

_HEADER: Final = 24


@dataclass(frozen=True)
class State:
    """An entity's totals as serving reads them: views of the encoded bytes, nothing is copied."""

    last: int
    seq: int
    tiles: Sequence[int]
    sums: Sequence[float]
    counts: Sequence[float]


@dataclass
class _Table:
    """An entity's totals as an update changes them."""

    last: int
    seq: int
    tiles: npt.NDArray[np.int64]
    totals: npt.NDArray[np.float64]  # shape (2, tiles): sums, counts


def _events(view: Windows, rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows that count: key (text), when they may be seen, value, batch.

    A value that is not finite would stay in every later total, so it counts as missing here and in ``update``.
    """
    value = pl.col(view.column).cast(pl.Float64) if view.column else pl.lit(1.0)
    events = rows.select(
        pl.col(view.entity.key).cast(pl.String).alias("key"),
        available_at(view.source).alias("seen"),
        value.alias("value"),
        SEQ,
    )
    return events.drop_nulls(["key", "seen", "value"]).filter(pl.col("value").is_finite())


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
    totals = (
        _events(view, rows)
        .group_by("key", "seen")
        .agg(pl.col("value").sum().alias("sum"), pl.len().cast(pl.Float64).alias("count"))
        .sort("seen")
        .with_columns(pl.col("sum", "count").cum_sum().over("key"))
        .collect()
    )
    tile = micros(view.grain)
    wanted = requests.select("key", "at").with_row_index("row")
    end = _total(wanted, pl.col("at") - int(before), totals)
    columns: dict[str, pl.Series] = {}
    for window in view.windows:
        edge = (pl.col("at") - micros(window)).floordiv(tile) * tile
        start = _total(wanted, edge, totals)
        sums, counts = end["sum"] - start["sum"], end["count"] - start["count"]
        values = {"sum": sums, "count": counts, "mean": sums / counts}
        for aggregate in view.aggregates:
            columns[_name(view, aggregate, window)] = values[aggregate].fill_nan(None)
    return pl.DataFrame({name: columns[name] for name in view.feature_names})


def _name(view: Windows, aggregate: Aggregate, window: timedelta) -> str:
    position = view.windows.index(window) * len(view.aggregates) + view.aggregates.index(aggregate)
    return view.feature_names[position]


def _total(wanted: pl.DataFrame, edge: pl.Expr, totals: pl.DataFrame) -> pl.DataFrame:
    joined = (
        wanted.with_columns(edge.alias("seen"))
        .sort("seen")
        .join_asof(totals, on="seen", by="key", strategy="backward", check_sortedness=False)
        .sort("row")
    )
    return joined.select(pl.col("sum", "count").fill_null(0.0))


def update(
    view: Windows, delivery: Delivery, states: Mapping[str, bytes | None], now: datetime
) -> dict[str, bytes]:
    """The new online states of every entity in ``delivery``.

    Args:
        view: The view.
        delivery: New rows of the source; each row is given once.
        states: The present state of every entity in it.
        now: What no request looks back from any more but by the longest window; older tiles are dropped.
    """
    tile = micros(view.grain)
    groups: dict[tuple[str, int], list[float]] = {}
    newest: dict[str, tuple[int, int]] = {}
    values = delivery.numbers(view.column) if view.column else [1.0] * delivery.rows.height
    columns = (delivery.texts(view.entity.key), delivery.seen, values, delivery.seqs)
    for key, seen, value, seq in zip(*columns, strict=True):
        if key is None or seen is None or value is None or not isfinite(value):
            continue
        group = groups.setdefault((key, -(-seen // tile) * tile), [0.0, 0.0])
        group[0] += value
        group[1] += 1
        last, batch = newest.get(key, (-1, -1))
        newest[key] = (max(last, seen), max(batch, seq))
    horizon = (micros(now) - micros(view.windows[-1])) // tile * tile
    tables = {key: _table(states[key]) for key in newest}
    for (key, end), added in sorted(groups.items()):
        _add(tables[key], end, added)
    for key, table in tables.items():
        table.last, table.seq = max(table.last, newest[key][0]), max(table.seq, newest[key][1])
        _prune(table, horizon)
    return {key: _encode(table) for key, table in tables.items()}


def _add(table: _Table, end: int, added: list[float]) -> None:
    amounts = np.array(added)[:, None]
    size = len(table.tiles)
    if not size or end > table.tiles[-1]:  # nearly always: what comes is the newest
        before = table.totals[:, -1:] if size else np.zeros((2, 1))
        table.tiles = np.concatenate((table.tiles, (end,)))
        table.totals = np.concatenate((table.totals, before + amounts), axis=1)
        return
    at = int(table.tiles.searchsorted(end))
    if table.tiles[at] != end:
        before = table.totals[:, at - 1] if at else np.zeros(2)
        table.tiles = np.insert(table.tiles, at, end)
        table.totals = np.insert(table.totals, at, before, axis=1)
    table.totals[:, at:] += amounts


def _prune(table: _Table, horizon: int) -> None:
    """Drop tiles that no window reaches, and count on from there."""
    old = int(table.tiles.searchsorted(horizon, side="right"))
    if old:
        table.totals = table.totals[:, old:] - table.totals[:, old - 1 : old]
        table.tiles = table.tiles[old:]


def _encode(table: _Table) -> bytes:
    header = np.array([table.last, table.seq, len(table.tiles)], "<i8")
    return header.tobytes() + table.tiles.astype("<i8").tobytes() + table.totals.astype("<f8").tobytes()


def _table(state: bytes | None) -> _Table:
    found = decode(state)
    totals = np.array([found.sums, found.counts], np.float64)
    return _Table(found.last, found.seq, np.array(found.tiles, np.int64), totals)


def decode(state: bytes | None) -> State:
    """An entity's totals; none at all where it has no state."""
    if state is None:
        return State(-1, -1, (), (), ())
    whole = memoryview(state)
    last, seq, tiles = whole[:_HEADER].cast("q")
    ends = [_HEADER + 8 * tiles * column for column in range(4)]
    return State(
        last,
        seq,
        whole[ends[0] : ends[1]].cast("q"),
        whole[ends[1] : ends[2]].cast("d"),
        whole[ends[2] : ends[3]].cast("d"),
    )


def lookup(view: Windows, state: State, at: int) -> list[float | None]:
    """The view's features for a request at ``at`` (microseconds), in the order of its feature names.

    Rows that may not yet be seen at ``at`` do not count: a request older than the state gets the tiles that had
    ended by then.
    """
    tiles, sums, counts = state.tiles, state.sums, state.counts
    tile = micros(view.grain)
    end = len(tiles) if state.last <= at else bisect_right(tiles, at)
    total, count = (sums[end - 1], counts[end - 1]) if end else (0.0, 0.0)
    values: list[float | None] = []
    for window in view.windows:
        edge = (at - micros(window)) // tile * tile
        start = min(bisect_right(tiles, edge), end)
        seen, summed = (count - counts[start - 1], total - sums[start - 1]) if start else (count, total)
        for aggregate in view.aggregates:
            if aggregate == "count":
                values.append(seen)
            elif aggregate == "sum":
                values.append(summed)
            else:
                values.append(summed / seen if seen else None)
    return values
