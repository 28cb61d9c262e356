"""The latest row of an entity: offline by an as-of join, online as one encoded row an entity.

Of two rows the later event time counts, then the later batch, then the greater key: the same order offline and
online, so both choose the same row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import polars as pl

from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import FeatureView, OnRequest
from homeostat.domain.errors import DeclarationError
from homeostat.engine.features.delivery import Delivery
from homeostat.engine.features.times import ALWAYS, available_at, event_time, micros

AGE = "age_hours"
_HOURS = 1 / 3_600_000_000


class State(msgspec.Struct, array_like=True, frozen=True):
    """The latest row: its rank among rows, when it may be seen, and its features."""

    rank: tuple[int, int, str]
    seen: int
    values: list[Any]


_decoder = msgspec.msgpack.Decoder(State)
_encoder = msgspec.msgpack.Encoder()


def transform(view: FeatureView | OnRequest, rows: pl.DataFrame) -> pl.DataFrame:
    """The view's own columns, row by row; numbers and booleans as Float64 without NaN, text as String.

    Raises:
        DeclarationError: the function gives another number of rows than it got, or a column of another type.
    """
    made = widen(view.transform(rows.lazy()).collect())
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
    """The new online states of the entities whose latest row is in ``delivery``."""
    columns = (delivery.texts(view.entity.key), delivery.seen, delivery.times, delivery.seqs, delivery.ties)
    made = transform(view, delivery.rows).rows()
    best: dict[str, State] = {}
    for (key, seen, time, seq, tie), values in zip(zip(*columns, strict=True), made, strict=True):
        if key is None or seen is None or time is None:
            continue
        row = State((time, seq, tie), seen, list(values))
        if key not in best or row.rank >= best[key].rank:
            best[key] = row
    out: dict[str, bytes] = {}
    for key, row in best.items():
        old = decode(states[key])
        if old is None or row.rank >= old.rank:
            out[key] = _encoder.encode(row)
    return out


def decode(state: bytes | None) -> State | None:
    """An entity's latest row; None when it has none."""
    return _decoder.decode(state) if state is not None else None


def lookup(view: FeatureView, state: State | None, at: int) -> list[Any] | None:
    """The features for a request at ``at`` (microseconds); None when there is no row, or none that may be seen."""
    if state is None or state.seen > at:
        return None
    time = state.rank[0]
    if view.lifetime is not None and time != ALWAYS and at - time > micros(view.lifetime):
        return None
    return [*state.values, (at - time) * _HOURS] if view.age else state.values
