"""Sampled Shapley values are what the definition gives, add up, and stay within their budget; orders are compared."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.engine.monitoring.attributions import Array, agreement, importance, sampled

RNG = np.random.default_rng(0)
BACKGROUND = pl.DataFrame({"a": RNG.normal(size=30), "b": RNG.normal(size=30), "c": ["x", "y", "z"] * 10})
ROWS = pl.DataFrame({"a": [1.0, -2.0], "b": [0.5, None], "c": ["x", "new"]})


def answer(X: pl.DataFrame) -> Array:
    """Features that act together, one of them a text, one with missing values."""
    a, b, c = X["a"].to_numpy(), X["b"].fill_null(0.0).to_numpy(), (X["c"] == "x").to_numpy()
    found: Array = a * b + 2 * c * a + b
    return found


def by_definition(row: int) -> list[float]:
    """The mean over all orders and background rows."""
    out = np.zeros(3)
    orders = list(permutations(range(3)))
    for order in orders:
        joined = BACKGROUND
        before = answer(joined).mean()
        for place in order:
            name = ROWS.columns[place]
            joined = joined.with_columns(pl.lit(ROWS[name][row], dtype=ROWS.schema[name]).alias(name))
            now = answer(joined).mean()
            out[place] += (now - before) / len(orders)
            before = now
    return list(out)


def test_they_are_what_the_definition_gives() -> None:
    asked = []

    def counted(X: pl.DataFrame) -> Array:
        asked.append(X.height)
        return answer(X)

    found = sampled(counted, ROWS, BACKGROUND, budget=32_000)
    assert found.evaluations == sum(asked) <= 32_000
    for row in range(2):
        expected = by_definition(row)
        assert (np.abs(found.values[row] - expected) <= 4 * found.errors[row] + 1e-9).all()
        assert found.errors[row].max() < 0.1
    assert found.base + found.values.sum(axis=1) == pytest.approx(answer(ROWS))


@given(st.integers(1, 5), st.integers(1, 300), st.integers(0, 9))
def test_they_add_up_whatever_the_budget(rows: int, budget: int, seed: int) -> None:
    X = BACKGROUND.head(rows)
    found = sampled(answer, X, BACKGROUND, budget=budget, seed=seed)
    assert found.base + found.values.sum(axis=1) == pytest.approx(answer(X))
    assert found.evaluations <= max(budget, 2 * rows * 4)


def test_the_order_of_features_is_compared() -> None:
    before = importance(["a", "b", "c"], np.array([[3.0, -1.0, 0.0], [-5.0, 1.0, 0.0]]))
    assert before == {"a": 4.0, "b": 1.0, "c": 0.0}
    assert agreement(before, before) == 1.0
    assert agreement(before, {"a": 2.0, "b": 0.1, "c": 0.0}) == 1.0
    turned = agreement(before, {"a": 0.1, "b": 0.2, "c": 3.0})
    assert turned == pytest.approx((1 / np.log2(3) + 4 / 2) / (4 + 1 / np.log2(3)))
    assert agreement({"a": 0.0}, {"a": 1.0}) is None
