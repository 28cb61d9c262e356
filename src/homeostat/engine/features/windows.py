"""Windowed aggregates as differences of running totals.

The aggregate over (start, t] is total(t) - total(start). Offline the totals come from as-of joins; online each
entity carries its totals at tile boundaries. Both start a window at the tile boundary at or before t - window, so
both give the same number. (Tiles as in Chronon and Tecton; running totals make a lookup one binary search.)

Online state of an entity: a header of two int64 (last visible time in microseconds, seq of the last batch), then
rows of (tile end in microseconds, running sum, running count), ordered by tile.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import Windows
from homeostat.domain.declarations.features import Aggregate
from homeostat.engine.features.times import available_at, micros, visible

_HEADER: Final = 16
_ROW: Final = np.dtype([("tile", "<i8"), ("sum", "<f8"), ("count", "<f8")])
State = tuple[int, int, npt.NDArray[Any]]


def _events(view: Windows, rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows that count: key (text), when they may be seen, value, batch."""
    value = pl.col(view.column).cast(pl.Float64) if view.column else pl.lit(1.0)
    events = rows.select(
        pl.col(view.entity.key).cast(pl.String).alias("key"),
        available_at(view.source).alias("seen"),
        value.alias("value"),
        SEQ,
    )
    return events.drop_nulls(["key", "seen", "value"])


def offline(view: Windows, requests: pl.DataFrame, rows: pl.LazyFrame) -> pl.DataFrame:
    """The view's columns for each request, point in time.

    Args:
        view: The view.
        requests: Columns ``key`` (text) and ``at`` (microseconds), any order; one row a request.
        rows: Rows of the source, with ``SEQ``.

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
    end = _total(wanted, pl.col("at"), totals)
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
    view: Windows, rows: pl.DataFrame, states: Mapping[str, bytes | None], now: datetime
) -> dict[str, bytes]:
    """The new online states of every entity in ``rows``.

    Args:
        view: The view.
        rows: New rows of the source, with ``SEQ``; each row is given once.
        states: The present state of every entity in ``rows`` (see ``keys_of``).
        now: What no request looks back from any more but by the longest window; older tiles are dropped.
    """
    tile = micros(view.grain)
    groups: dict[tuple[str, int], list[float]] = {}
    newest: dict[str, tuple[int, int]] = {}
    # Deliveries are small, so plain lists are several times faster here than a query.
    for key, seen, value, seq in zip(*_columns(view, rows), strict=True):
        if key is None or seen is None or value is None:
            continue
        group = groups.setdefault((key, -(-seen // tile) * tile), [0.0, 0.0])
        group[0] += value
        group[1] += 1
        last, batch = newest.get(key, (-1, -1))
        newest[key] = (max(last, seen), max(batch, seq))
    horizon = (micros(now) - micros(view.windows[-1])) // tile * tile
    tables = {key: decode(states[key]) for key in newest}
    for (key, end), (value, count) in sorted(groups.items()):
        last, batch, table = tables[key]
        tables[key] = (max(last, newest[key][0]), max(batch, newest[key][1]), _add(table, end, value, count))
    return {key: _encode(last, seq, _prune(table, horizon)) for key, (last, seq, table) in tables.items()}


def _columns(view: Windows, rows: pl.DataFrame) -> tuple[list[Any], ...]:
    """Key (text), when it may be seen, value and batch of each row."""
    values = rows[view.column].cast(pl.Float64).to_list() if view.column else [1.0] * rows.height
    seen = visible(view.source, rows)
    return rows[view.entity.key].cast(pl.String).to_list(), seen, values, rows[SEQ].to_list()


def _add(table: npt.NDArray[Any], end: int, value: float, count: float) -> npt.NDArray[Any]:
    at = int(np.searchsorted(table["tile"], end))
    if at == len(table) or table["tile"][at] != end:
        before = table[at - 1] if at else np.zeros((), _ROW)
        table = np.insert(table, at, np.array((end, before["sum"], before["count"]), _ROW))
    else:
        table = table.copy()
    table["sum"][at:] += value
    table["count"][at:] += count
    return table


def _prune(table: npt.NDArray[Any], horizon: int) -> npt.NDArray[Any]:
    """Drop tiles that no window reaches, and count on from there."""
    old = int(np.searchsorted(table["tile"], horizon, side="right"))
    if old == 0:
        return table
    kept = table[old:].copy()
    kept["sum"] -= table["sum"][old - 1]
    kept["count"] -= table["count"][old - 1]
    return kept


def _encode(last: int, seq: int, table: npt.NDArray[Any]) -> bytes:
    return np.array([last, seq], "<i8").tobytes() + table.tobytes()


def decode(state: bytes | None) -> State:
    """Last visible time, seq of the last batch, and the tiles of an entity's state."""
    if state is None:
        return -1, -1, np.empty(0, _ROW)
    last, seq = np.frombuffer(state, "<i8", 2)
    return int(last), int(seq), np.frombuffer(state, _ROW, offset=_HEADER)


def lookup(view: Windows, state: State, at: int) -> list[float | None]:
    """The view's features for a request at ``at`` (microseconds), in the order of its feature names.

    Rows that may not yet be seen at ``at`` do not count: a request older than the state gets the tiles that had
    ended by then.
    """
    last, _, table = state
    tiles = table["tile"]
    tile = micros(view.grain)
    end = len(tiles) if last <= at else int(np.searchsorted(tiles, at, side="right"))
    total, count = (table["sum"][end - 1], table["count"][end - 1]) if end else (0.0, 0.0)
    values: list[float | None] = []
    for window in view.windows:
        edge = (at - micros(window)) // tile * tile
        start = min(int(np.searchsorted(tiles, edge, side="right")), end)
        seen = float(count - table["count"][start - 1]) if start else float(count)
        summed = float(total - table["sum"][start - 1]) if start else float(total)
        for aggregate in view.aggregates:
            if aggregate == "count":
                values.append(seen)
            elif aggregate == "sum":
                values.append(summed)
            else:
                values.append(summed / seen if seen else None)
    return values
