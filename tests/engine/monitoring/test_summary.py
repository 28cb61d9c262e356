"""Summaries of parts add up to that of the whole, in any order, and say what the values were."""

from __future__ import annotations

import math
from functools import reduce
from operator import add

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.engine.monitoring.summary import Summary, of_numbers, of_texts

RNG = np.random.default_rng(11)
parts = st.lists(
    st.lists(st.one_of(st.floats(width=32), st.integers(-5, 5)), max_size=20), min_size=1, max_size=6
)


def same(one: Summary, other: Summary) -> None:
    assert one.registers == other.registers
    assert (one.moments is None) == (other.moments is None)
    if one.moments is not None and other.moments is not None:
        assert (one.moments.count, one.moments.low, one.moments.high) == (
            other.moments.count,
            other.moments.low,
            other.moments.high,
        )
        size = max(abs(one.moments.low), abs(one.moments.high))
        assert one.moments.mean == pytest.approx(other.moments.mean, rel=1e-9, abs=1e-9 * size)
        assert one.moments.squares == pytest.approx(other.moments.squares, rel=1e-6, abs=1e-9 * size**2)


@given(parts, st.randoms())
def test_parts_in_any_order_add_up_to_the_whole(drawn: list[list[float]], order: object) -> None:
    whole = of_numbers(np.array([value for part in drawn for value in part], dtype=np.float64))
    each = [of_numbers(np.array(part, dtype=np.float64)) for part in drawn]
    same(reduce(add, each), whole)
    order.shuffle(each)  # type: ignore[attr-defined]
    same(reduce(add, each, Summary()), whole)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Summary) == whole


@given(st.lists(st.text(max_size=8), max_size=40), st.integers(0, 40))
def test_texts_count_once_however_they_are_cut(values: list[str], cut: int) -> None:
    whole = of_texts(values)
    assert of_texts(values[:cut]) + of_texts(values[cut:]) == whole == of_texts({*values})
    assert whole.distinct == pytest.approx(len({*values}), rel=0.15, abs=1)


@pytest.mark.parametrize("far", [0.0, 1e9, -1e15])
def test_moments_are_those_of_the_values_however_far_from_zero(far: float) -> None:
    values = far + RNG.normal(size=200_000)
    found = reduce(add, (of_numbers(part) for part in np.array_split(values, 37))).moments
    assert found is not None
    assert found.count == len(values)
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.variance == pytest.approx(values.var(ddof=1), rel=1e-6)
    assert (found.low, found.high) == (values.min(), values.max())


def test_what_is_no_number_has_no_moments_and_what_is_huge_stays_a_number() -> None:
    assert of_numbers(np.array([math.nan, math.inf, -math.inf])) == Summary()
    assert Summary().distinct == 0
    found = of_numbers(np.array([1e308, -1e308, math.nan])) + of_numbers(np.array([-1.7e308, 0.0, -0.0]))
    assert found.moments is not None
    assert found.moments.count == 5
    assert all(map(math.isfinite, msgspec.structs.astuple(found.moments)))
    assert found.distinct == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("count", [10, 1000, 3000, 50_000, 1_000_000])
def test_distinct_values_are_counted_to_within_some_percent(count: int) -> None:
    each = [of_numbers(RNG.permutation(count).astype(np.float64) + 0.5 * turn) for turn in range(2)]
    assert each[0].distinct == pytest.approx(count, rel=0.1)
    assert (each[0] + each[1]).distinct == pytest.approx(2 * count, rel=0.1)
    assert (each[0] + each[0]).distinct == each[0].distinct
