"""Rows drawn from a training set: as many as asked for, each once, in order and with what belongs to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import homeostat as hs
from homeostat.domain.errors import BadRequest

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def rows_of(count: int, queries: list[int] | None = None) -> hs.TrainingSet:
    """A training set in which everything of a row tells its number."""
    number = np.arange(count)
    return hs.TrainingSet(
        pl.DataFrame({"number": number}),
        number.astype(np.float64),
        keys=pl.DataFrame({"id": number}),
        times=pl.Series("at", [BEGIN + timedelta(seconds=int(one)) for one in number]),
        queries=None if queries is None else np.array(queries),
    )


@given(count=st.integers(1, 50), rows=st.integers(1, 60), seed=st.integers(0, 5))
def test_rows_are_drawn_once_and_whole(count: int, rows: int, seed: int) -> None:
    drawn = rows_of(count).sample(rows, seed=seed)
    numbers = drawn.X["number"].to_list()
    assert len(numbers) == min(count, rows)
    assert numbers == sorted(set(numbers))
    assert drawn.y.tolist() == numbers == drawn.keys["id"].to_list()
    assert drawn.times is not None
    assert drawn.times.to_list() == [BEGIN + timedelta(seconds=number) for number in numbers]
    assert numbers == rows_of(count).sample(rows, seed=seed).X["number"].to_list()


@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=12), rows=st.integers(1, 80))
def test_of_a_ranking_whole_queries_are_drawn(sizes: list[int], rows: int) -> None:
    whole = rows_of(sum(sizes), [query for query, size in enumerate(sizes) for _ in range(size)])
    drawn = whole.sample(rows)
    assert whole.queries is not None
    assert drawn.queries is not None
    assert len(drawn) <= rows or len(set(drawn.queries.tolist())) == 1
    before = whole.queries[drawn.X["number"].to_numpy()]
    assert [sizes[query] for query in np.unique(before)] == np.bincount(drawn.queries).tolist()
    assert drawn.queries.tolist() == np.unique(before, return_inverse=True)[1].tolist()


def test_every_row_is_as_likely() -> None:
    counts = np.zeros(20)
    for seed in range(400):
        counts[rows_of(20).sample(5, seed=seed).X["number"].to_numpy()] += 1
    assert np.abs(counts - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


def test_what_a_sample_is_told_is_kept_with_the_run() -> None:
    whole = rows_of(5)
    whole.sample(2).log("score", 0.5)
    assert whole.metrics == {"score": 0.5}


def test_no_rows_are_no_sample() -> None:
    with pytest.raises(BadRequest, match="0 rows are none"):
        rows_of(5).sample(0)
