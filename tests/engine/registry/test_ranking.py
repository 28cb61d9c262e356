"""Metrics of rankings and forecasts, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

import homeostat as hs
from homeostat.app.answers import told
from homeostat.engine.registry.metrics import NAIVE_ERROR, measures
from homeostat.engine.registry.ranking import by_query

rows = hs.Dataset("rows", key="id")
asked = hs.Dataset("asked", key="id", time="at")


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 6))
def test_every_query_is_worth_what_scikit_learn_says(seed: int, k: int, queries: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 15, queries)
    query = np.repeat(np.arange(queries), sizes)
    y, p = rng.integers(0, 4, len(query)).astype(float), rng.normal(size=len(query))
    mixed = rng.permutation(len(query))  # rows come in any order
    found = by_query(y[mixed], p[mixed], query[mixed], k)
    for one in range(queries):
        mine, scores = y[query == one], p[query == one]
        if not mine.any():
            assert all(np.isnan(values[one]) for values in found.values())
            continue
        assert found["ndcg"][one] == pytest.approx(ndcg_score([mine], [scores], k=k))
        assert found["map"][one] == pytest.approx(average_precision_score(mine > 0, scores))
        order = np.argsort(-scores)
        assert found["mrr"][one] == 1 / (np.argmax(mine[order] > 0) + 1)
        assert found["hit_rate"][one] == (mine[order][:k] > 0).any()


def test_a_model_that_answers_the_same_for_all_is_worth_a_random_order() -> None:
    query = np.repeat(np.arange(4000), 5)
    y = np.tile([1.0, 0, 0, 0, 0], 4000)
    known = measures(hs.Ranking(label="y", source=rows, query="query", k=2))
    found = known.evaluate(y, np.zeros(len(y)), query)
    assert found["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 5, abs=0.02)
    assert found["hit_rate"] == pytest.approx(2 / 5, abs=0.03)
    assert known.evaluate(y * 0, np.zeros(len(y)), query) == {}, "nothing relevant: nothing can be said"


def test_a_metric_of_ones_own_is_given_the_queries() -> None:
    @hs.metric(better="higher")
    def queries(y: np.ndarray, p: np.ndarray, query: np.ndarray) -> float:  # type: ignore[type-arg] # a user's
        return float(len(np.unique(query)))

    task = hs.Ranking(label="y", source=rows, query="query", metrics=[queries])
    assert measures(task).evaluate(np.ones(3), np.ones(3), np.array([0, 1, 1]))["queries"] == 2


def test_forecasts_are_judged_against_a_naive_one() -> None:
    y, p = np.array([2.0, 4.0, 6.0]), np.array([1.0, 5.0, 9.0])
    task = hs.Forecast(label="y", source=rows, request=asked, naive="lag", quantile=0.9)
    found = measures(task, {NAIVE_ERROR: 2.5}).evaluate(y, p)
    assert found["mae"] == pytest.approx(5 / 3)
    assert found["mase"] == pytest.approx(5 / 3 / 2.5)
    assert found["wape"] == pytest.approx(5 / 12)
    assert found["pinball"] == pytest.approx((0.9 * 1 + 0.1 * 1 + 0.1 * 3) / 3)
    assert found["coverage_error"] == pytest.approx(0.9 - 2 / 3)
    assert "mase" not in measures(task).evaluate(y, p), "nothing says how far the naive one is off"
    assert "mase" not in measures(task, {NAIVE_ERROR: float("nan")}).evaluate(y, p), "as before"


def test_a_naive_forecast_that_is_nowhere_known_has_no_error() -> None:
    task = hs.Forecast(label="y", source=rows, request=asked, naive="lag")
    y = np.array([2.0, 4.0])
    assert NAIVE_ERROR not in told(task, y, pl.DataFrame({"lag": [None, None]}, schema={"lag": pl.Float64()}))
    assert told(task, y, pl.DataFrame({"lag": [None, 1.0]}))[NAIVE_ERROR] == 3
