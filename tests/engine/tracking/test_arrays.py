"""Points as rows: what goes in comes out, and the latest of a metric is the same in every order."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking.arrays import (
    KEYS,
    ROW,
    Rows,
    joined,
    latest,
    ordered,
    rows_of,
    used,
)
from homeostat.engine.tracking.points import Point

KEY = st.sampled_from(["loss", "acc", "a/b", "é"])
VALUE = st.sampled_from([0.0, -0.0, 0.5, math.nan, math.inf, -math.inf, 5e-324]) | st.floats()
INT64 = st.integers(-(2**63), 2**63 - 1)
FEW = st.integers(0, 3)
POINT = st.builds(Point, key=KEY, value=VALUE, timestamp=FEW | st.integers(0, 2**63 - 1), step=FEW | INT64)
POINTS = st.lists(POINT, min_size=1, max_size=40)


def told(rows: Rows) -> list[tuple[str, str, int, int]]:
    """Rows as tuples; of a value its text, since NaN equals nothing."""
    return [(rows.keys[key], repr(value), at, step) for key, value, at, step in rows.points.tolist()]


def listed(points: list[Point]) -> list[tuple[str, str, int, int]]:
    return [(point.key, repr(point.value), point.timestamp, point.step) for point in points]


def rank(point: Point) -> tuple[int, int, bool, float]:
    number = not math.isnan(point.value)
    return point.step, point.timestamp, number, point.value if number else 0.0


@given(POINTS)
def test_points_come_back_as_they_went_in(points: list[Point]) -> None:
    assert told(rows_of(points)) == listed(points)
    kept = Rows(rows_of(points).keys, np.frombuffer(rows_of(points).points.tobytes(), ROW))
    assert told(kept) == listed(points)


@given(POINTS, st.randoms(use_true_random=False))
def test_the_latest_does_not_depend_on_the_order(points: list[Point], chance: random.Random) -> None:
    wanted = {}
    for point in points:
        other = wanted.get(point.key)
        wanted[point.key] = point if other is None else max(other, point, key=rank)
    mixed = [*points]
    chance.shuffle(mixed)
    for given_ in (points, mixed):
        found = latest(rows_of(given_))
        assert {point.key: rank(point) for point in found} == {k: rank(p) for k, p in wanted.items()}
        assert len(found) == len(wanted)


@given(st.lists(POINTS, max_size=5))
def test_joined_rows_are_all_rows_under_sorted_keys(parts: list[list[Point]]) -> None:
    whole = joined(rows_of(points) for points in parts)
    assert whole.keys == sorted({point.key for points in parts for point in points})
    assert told(whole) == listed([point for points in parts for point in points])
    assert told(used(whole)) == told(whole)
    assert used(whole).points.dtype == ROW


@given(POINTS)
def test_ordered_rows_are_sorted_and_no_two_the_same(points: list[Point]) -> None:
    found = told(Rows(rows_of(points).keys, ordered(rows_of(points).points)))
    number = {key: place for place, key in enumerate(rows_of(points).keys)}

    def place(row: tuple[str, str, int, int]) -> tuple[int, int, int, bool, float]:
        value = float(row[1])
        return number[row[0]], row[2], row[3], math.isnan(value), 0.0 if math.isnan(value) else value

    assert found == sorted(found, key=place)
    assert {place(row) for row in found} == {place(row) for row in listed(points)}
    assert len({place(row) for row in found}) == len(found)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (Point("", 1.0, 0), "Invalid value"),
        (Point("../a", 1.0, 0), "must not resolve to other names"),
        (Point("a;b", 1.0, 0), "Names may only contain"),
        (Point("a" * 251, 1.0, 0), "exceeds the maximum length of 250"),
        (Point("a", 1.0, -1), "Timestamp must be a nonnegative long"),
        (Point("a", 1.0, 2**63), "Timestamp must be a nonnegative long"),
        (Point("a", 1.0, 0, -(2**63) - 1), "Step must be a valid long"),
    ],
)
def test_a_point_that_cannot_be_is_named(point: Point, message: str) -> None:
    with pytest.raises(BadRequest, match=message) as alone:
        rows_of([point])
    assert alone.value.field in ("name", "timestamp", "step")
    with pytest.raises(BadRequest, match=message) as second:
        rows_of([Point("good", 1.0, 0), point])
    assert second.value.field.startswith("metrics[1].")


def test_no_more_keys_than_can_be_numbered() -> None:
    points = [Point(f"k{number}", 1.0, 0) for number in range(KEYS + 1)]
    assert len(rows_of(points[:-1]).keys) == KEYS
    with pytest.raises(BadRequest, match="are the most"):
        rows_of(points)
