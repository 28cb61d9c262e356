"""Requests as frames, and back: the same whichever way they are made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from homeostat.domain.contracts import Column, request_type
from homeostat.engine.data.schema import schema_of
from homeostat.engine.serving.frames import frame_of, rows_of, series, values

COLUMNS: Final = (
    Column(name="id", type="string"),
    Column(name="at", type="datetime"),
    Column(name="class", type="integer", nullable=True),
    Column(name="far", type="float", nullable=True),
    Column(name="due", type="datetime", nullable=True),
    Column(name="late", type="boolean", nullable=True),
)
KIND: Final = request_type("Request", COLUMNS)
SCHEMA: Final = schema_of(COLUMNS)

TIMES: Final = st.datetimes(
    timezones=st.just(UTC),
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - without a zone, as hypothesis wants it
    max_value=datetime(9999, 1, 1),  # noqa: DTZ001
)
ROWS: Final = st.lists(
    st.tuples(
        st.text(),
        TIMES,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False),
        st.none() | TIMES,
        st.none() | st.booleans(),
    ),
    max_size=20,
)


def requests_of(rows: list[tuple[Any, ...]]) -> list[Any]:
    return [KIND(**dict(zip(KIND.__struct_fields__, row, strict=True))) for row in rows]


@given(ROWS)
def test_few_and_many_requests_are_framed_alike(rows: list[tuple[Any, ...]]) -> None:
    requests = requests_of(rows)
    framed = frame_of(requests, SCHEMA)
    assert framed.schema == SCHEMA
    assert framed.rows() == rows
    assert framed.equals(pl.concat([SCHEMA.to_frame(), *(frame_of([one], SCHEMA) for one in requests)]))


@given(ROWS)
def test_the_rows_of_a_frame_are_the_requests_that_it_was_made_of(rows: list[tuple[Any, ...]]) -> None:
    requests = requests_of(rows)
    again = rows_of(frame_of(requests, SCHEMA), COLUMNS)
    assert [msgspec.json.encode(one) for one in again] == [msgspec.json.encode(one) for one in requests]
    assert all(one.at.tzinfo is UTC for one in again)


@given(st.lists(st.none() | TIMES, max_size=20))
def test_times_of_any_zone_are_kept_as_the_same_instants(times: list[datetime | None]) -> None:
    there = [
        None if at is None else (at + timedelta(days=1)).astimezone(ZoneInfo("Asia/Tokyo")) for at in times
    ]
    column = series("at", there, pl.Datetime("us", "UTC"))
    assert column.dtype == pl.Datetime("us", "UTC")
    assert values(column) == there
    assert all(at is None or at.tzinfo is UTC for at in values(column))
