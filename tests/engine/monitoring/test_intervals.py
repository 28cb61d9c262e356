"""Intervals hold the truth as often as they say, and need what they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from homeostat.engine.monitoring.intervals import Z, analytical, bootstrapped, rate

TRIALS = 200


def binary(y: Any, p: Any) -> Mapping[str, float]:
    return {"auc": float(sk.roc_auc_score(y, p)), "brier": float(np.mean((p - y) ** 2))}


def numbers(y: Any, p: Any) -> Mapping[str, float]:
    return {"rmse": float(np.sqrt(np.mean((p - y) ** 2))), "mae": float(np.mean(np.abs(p - y)))}


def test_intervals_of_a_classifier_hold_the_truth_in_19_of_20_cases() -> None:
    rng = np.random.default_rng(4)
    p = rng.uniform(0.05, 0.95, 200_000)
    truth = binary((rng.random(len(p)) < p).astype(int), p)
    inside = dict.fromkeys(truth, 0)
    for _ in range(TRIALS):
        scores = rng.choice(p, 250)
        y = (rng.random(250) < scores).astype(np.int8)
        for name, found in analytical(y, scores, binary(y, scores)).items():
            inside[name] += found.low <= truth[name] <= found.high
    assert all(0.91 <= count / TRIALS <= 0.985 for count in inside.values()), inside


def test_intervals_of_a_regression_hold_the_truth_in_19_of_20_cases() -> None:
    rng = np.random.default_rng(5)
    truth = {"rmse": 2.0, "mae": 2.0 * (2 / np.pi) ** 0.5}
    inside = dict.fromkeys(truth, 0)
    for _ in range(TRIALS):
        p = rng.normal(size=250)
        y = p + rng.normal(0, 2, 250)
        for name, found in analytical(y, p, numbers(y, p)).items():
            inside[name] += found.low <= truth[name] <= found.high
    assert all(0.91 <= count / TRIALS <= 0.985 for count in inside.values()), inside


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=4, max_size=60))
def test_the_interval_of_the_auc_is_that_of_all_pairs(rows: list[tuple[bool, int]]) -> None:
    y, p = (np.array(side, dtype=np.float64) for side in zip(*rows, strict=True))
    hit, miss = p[y == 1], p[y == 0]
    found = analytical(y, p, {"auc": 0.5}).get("auc")
    if len(hit) < 2 or len(miss) < 2:
        assert found is None
        return
    pairs = (hit[:, None] > miss) + 0.5 * (hit[:, None] == miss)
    error = (pairs.mean(1).var(ddof=1) / len(hit) + pairs.mean(0).var(ddof=1) / len(miss)) ** 0.5
    assert found is not None
    assert (found.low, found.high) == (
        pytest.approx(max(0.5 - Z * error, 0.0)),
        pytest.approx(min(0.5 + Z * error, 1.0)),
    )


def test_the_bootstrap_agrees_with_the_formula_and_with_itself() -> None:
    rng = np.random.default_rng(6)
    p = rng.normal(size=800)
    y = p + rng.normal(size=800)
    metrics = numbers(y, p)
    drawn, formula = bootstrapped(y, p, metrics, numbers), analytical(y, p, metrics)
    for name in metrics:
        assert drawn[name].low == pytest.approx(formula[name].low, abs=0.02)
        assert drawn[name].high == pytest.approx(formula[name].high, abs=0.02)
    assert bootstrapped(y, p, metrics, numbers) == drawn


def test_too_few_rows_have_no_interval() -> None:
    one = np.array([1.0])
    assert analytical(one, one, {"auc": 1.0, "mae": 0.0, "other": 1.0}) == {}
    assert bootstrapped(one, one, {"mae": 0.0}, numbers) == {}
    assert analytical(np.array([1, 0, 0]), np.array([0.9, 0.1, 0.2]), {"auc": 1.0}) == {}
    none, every = rate(0, 10), rate(10, 10)
    assert none is not None
    assert every is not None
    assert (none.low, every.high) == (0.0, pytest.approx(1.0))
    assert 0.2 < none.high < 0.35
    assert rate(0, 0) is None
