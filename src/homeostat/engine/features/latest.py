"""The latest row of an entity: offline by an as-of join, online as the newest two rows of each entity.

Of two rows the later event time counts, then the later batch, then the greater key: the same order offline and
online. The newest row may be there before it may be seen, as it waits for the source's next delivery or came while
the request was under way; then the row before it counts. So both choose the same row for every request that is no
older than the row before the newest. For an older one, offline goes on looking back; online has nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import FeatureView, OnRequest
from homeostat.domain.errors import DeclarationError, HomeostatError
from homeostat.engine.features.delivery import Delivery
from homeostat.engine.features.times import ALWAYS, available_at, event_time, micros

AGE = "age_hours"
_HOURS = 1 / 3_600_000_000


class Row(msgspec.Struct, array_like=True, frozen=True):
    """One row: its rank among rows, when it may be seen, and its features."""

    rank: tuple[int, int, str]
    seen: int
    values: list[Any]


class _State(Row, array_like=True, frozen=True):
    """The newest row, and the one before it, which is decoded only for a request that may not see the newest yet."""

    before: msgspec.Raw


_KEPT: Final = 2
_decoder = msgspec.msgpack.Decoder(_State)
_before = msgspec.msgpack.Decoder(Row | None)
_encoder = msgspec.msgpack.Encoder()


def transform(view: FeatureView | OnRequest, rows: pl.DataFrame) -> pl.DataFrame:
    """The view's own columns, row by row; numbers and booleans as Float64 without NaN, text as String.

    Raises:
        DeclarationError: the function fails, gives another number of rows than it got, or a column of another type;
            names the view.
    """
    try:
        columns = view.transform(rows.lazy()).collect()
    except HomeostatError:  # it says itself what is wrong
        raise
    except Exception as error:
        raise view.error(
            f"stops on {rows.height} rows with {type(error).__name__}: {error}",
            "Let its function do with whatever the contract lets through",
        ) from error
    made = widen(columns)
    if made.height != rows.height:
        raise view.error(
            f"turned {rows.height} rows into {made.height}", "Give one row for each row, in the same order"
        )
    return made


def widen(frame: pl.DataFrame) -> pl.DataFrame:
    """Numbers and booleans as Float64 without NaN, text as String.

    Raises:
        DeclarationError: a column is neither.
    """
    return pl.DataFrame([_widened(column) for column in frame.get_columns()])


def _widened(column: pl.Series) -> pl.Series:
    dtype = column.dtype
    if dtype == pl.String:
        return column
    if dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise DeclarationError(
            f"feature {column.name!r} is a {dtype}", remedy="Turn it into a number, a boolean or text"
        )
    numbers = column if dtype == pl.Float64 else column.cast(pl.Float64)
    total = numbers.sum()
    return numbers.fill_nan(None) if total != total else numbers  # a sum is NaN where a number is


def _ranked(view: FeatureView, rows: pl.LazyFrame) -> pl.DataFrame:
    frame = rows.collect()
    keyed = frame.select(
        pl.col(view.entity.key).cast(pl.String).alias("key"),
        available_at(view.source).alias("seen"),
        event_time(view.source).alias("time"),
        pl.col(SEQ).alias("seq"),
        pl.concat_str(pl.col(view.source.keys).cast(pl.String), separator="|", ignore_nulls=True).alias(
            "tie"
        ),
    )
    made = transform(view, frame).rename(lambda name: f"v:{name}")
    return (
        pl.concat([keyed, made], how="horizontal")
        .drop_nulls(["key", "seen"])
        .sort("time", "seq", "tie", maintain_order=True)
    )


def offline(
    view: FeatureView, requests: pl.DataFrame, rows: pl.LazyFrame, *, before: bool = False
) -> pl.DataFrame:
    """The view's columns for each request (``key`` text, ``at`` microseconds), in the order of ``requests``.

    ``before``: only rows from before a request count, not those of its very time.
    """
    ranked = _ranked(view, rows).unique(["key", "seen"], keep="last", maintain_order=True).sort("seen")
    wanted = (
        requests.select("key", "at", (pl.col("at") - int(before)).alias("seen"))
        .with_row_index("row")
        .sort("seen")
    )
    joined = wanted.join_asof(
        ranked.with_columns(pl.lit(True).alias("found")),
        on="seen",
        by="key",
        strategy="backward",
        check_sortedness=False,
    ).sort("row")
    alive = pl.lit(True)
    if view.lifetime is not None and view.source.time:
        alive = pl.col("at") - pl.col("time") <= micros(view.lifetime)
    values = [pl.when(alive).then(pl.col(c)).alias(c[2:]) for c in ranked.columns if c.startswith("v:")]
    if view.age:
        values.append(pl.when(alive).then((pl.col("at") - pl.col("time")) * _HOURS).alias(AGE))
    return joined.select(values)


def update(view: FeatureView, delivery: Delivery, states: Mapping[str, bytes | None]) -> dict[str, bytes]:
    """The new online states of the entities of which a row in ``delivery`` is among the newest."""
    columns = (delivery.texts(view.entity.key), delivery.seen, delivery.times, delivery.seqs, delivery.ties)
    made = transform(view, delivery.rows).rows()
    newest: dict[str, dict[int, Row]] = {}  # of rows that are seen from the same moment, one is enough
    changed: set[str] = set()
    for (key, seen, time, seq, tie), values in zip(zip(*columns, strict=True), made, strict=True):
        if key is None or seen is None or time is None:
            continue
        if key not in newest:
            newest[key] = {row.seen: row for row in _decoded(states[key])}
        kept, rank = newest[key], (time, seq, tie)
        if rank < kept[seen].rank if seen in kept else len(kept) == _KEPT and seen < min(kept):
            continue
        kept[seen] = Row(rank, seen, list(values))
        if len(kept) > _KEPT:
            del kept[min(kept)]
        changed.add(key)
    return {key: _encoded(kept) for key, kept in newest.items() if key in changed}


def _encoded(rows: Mapping[int, Row]) -> bytes:
    row, before = rows[max(rows)], rows[min(rows)] if len(rows) > 1 else None
    return _encoder.encode(_State(row.rank, row.seen, row.values, msgspec.Raw(_encoder.encode(before))))


def _decoded(state: bytes | None) -> list[Row]:
    newest = _decoder.decode(state) if state is not None else None
    before = _before.decode(newest.before) if newest is not None else None
    return [row for row in (newest, before) if row is not None]


def seen_at(state: bytes | None, at: int) -> Row | None:
    """The newest row of an entity that may be seen at ``at`` (microseconds)."""
    if state is None:
        return None
    newest = _decoder.decode(state)
    if newest.seen <= at:
        return newest
    before = _before.decode(newest.before)
    return before if before is not None and before.seen <= at else None


def lookup(view: FeatureView, row: Row | None, at: int) -> list[Any] | None:
    """The features of a row for a request at ``at`` (microseconds); None when there is no row, or it is too old."""
    if row is None:
        return None
    time = row.rank[0]
    if view.lifetime is not None and time != ALWAYS and at - time > micros(view.lifetime):
        return None
    return [*row.values, (at - time) * _HOURS] if view.age else row.values
