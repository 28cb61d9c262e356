"""When a row may be seen: microseconds since the epoch, and the delivery that a row waits for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from homeostat.domain.declarations import Dataset

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ALWAYS: Final = -(1 << 62)
"""The time of rows that have none: reference data counts as always known."""


def micros(at: datetime | timedelta) -> int:
    """``at`` in microseconds: since the epoch, or long."""
    span = at - _EPOCH if isinstance(at, datetime) else at
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def instant(at: datetime) -> pl.Expr:
    """``at`` as a literal: of its microseconds, for Polars takes twenty times as long to read a datetime."""
    return pl.lit(micros(at), pl.Datetime("us", "UTC"))


def moment(at: int) -> datetime:
    """The datetime (UTC) of microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=at)


def event_time(source: Dataset) -> pl.Expr:
    """Microseconds of a row's event time; ``ALWAYS`` for a dataset without a time column."""
    return pl.col(source.time).dt.epoch("us") if source.time else pl.lit(ALWAYS, pl.Int64)


def available_at(source: Dataset) -> pl.Expr:
    """Microseconds from which a row may be seen: its time, moved up to the next delivery."""
    time, cadence = event_time(source), source.cadence
    if cadence is None or source.time is None:
        return time
    every = micros(cadence)
    return -((-time).floordiv(every)) * every
