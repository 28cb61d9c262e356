"""Estimates follow a shift of the requests before labels say so, and say how far off they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as sk

from homeostat.engine.monitoring.estimates import (
    calibrated,
    calibration,
    errors,
    expected,
    expected_errors,
    overall,
    scored,
)


def binary(rng: np.random.Generator, rows: int, middle: float) -> tuple[Any, Any]:
    """Labels, and scores that are too sure of themselves."""
    x = rng.normal(middle, 1.0, rows)
    y = (rng.random(rows) < 1 / (1 + np.exp(-x))).astype(np.int8)
    return y, 1 / (1 + np.exp(-2.5 * x))


@pytest.mark.parametrize("middle", [0.0, 1.5])
def test_metrics_of_a_classifier_are_estimated_under_a_shift(middle: float) -> None:
    rng = np.random.default_rng(0)
    known = calibration(*binary(rng, 20_000, 0.0))
    assert known is not None
    y, p = binary(rng, 20_000, middle)
    found = expected(calibrated(known, p), p)
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, p), rel=0.06)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, p > 0.5), abs=0.015)
    assert found["brier"] == pytest.approx(np.mean((p - y) ** 2), rel=0.06)
    assert found["auc"] == pytest.approx(sk.roc_auc_score(y, p), abs=0.02)


def test_several_classes_are_estimated_too() -> None:
    rng = np.random.default_rng(1)

    def draw(rows: int, middle: float) -> tuple[Any, Any]:
        logits = rng.normal(middle * np.array([1.0, 0.0, -1.0]), 1.0, (rows, 3))
        chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        y = (rng.random((rows, 1)) > chance.cumsum(axis=1)).sum(axis=1)
        sure = np.exp(2 * logits)
        return y, sure / sure.sum(axis=1, keepdims=True)

    known = calibration(*draw(20_000, 0.0))
    assert known is not None
    y, p = draw(20_000, 1.0)
    assert calibrated(known, p).sum(axis=1) == pytest.approx(np.ones(len(p)))
    found = expected(calibrated(known, p), p)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, p.argmax(axis=1)), abs=0.03)
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, p, labels=[0, 1, 2]), rel=0.1)


def test_errors_of_a_regression_are_estimated_where_requests_are_harder() -> None:
    rng = np.random.default_rng(2)

    def draw(rows: int, middle: float) -> tuple[pl.DataFrame, Any, Any]:
        x = rng.normal(middle, 1.0, rows)
        noise = np.where(x > 0, 3.0, 1.0)
        return pl.DataFrame({"x": x, "name": ["a"] * rows}), x + rng.normal(0, noise), x

    models = errors(*draw(4_000, 0.0))
    assert models is not None
    for middle in (0.0, 1.5, -1.5):
        X, y, p = draw(4_000, middle)
        found = overall(*expected_errors(models, X, p))
        assert found["rmse"] == pytest.approx(np.sqrt(np.mean((y - p) ** 2)), rel=0.08)
        assert found["mae"] == pytest.approx(np.mean(np.abs(y - p)), rel=0.08)


def test_too_few_rows_say_nothing() -> None:
    few = np.zeros(20)
    assert calibration(few, few) is None
    assert errors(pl.DataFrame({"x": few}), few, few) is None
    known = calibration(np.arange(200) % 2, np.linspace(0, 1, 200))
    assert known is not None
    assert expected(calibrated(known, few[:0]), few[:0]) == {}


def test_an_estimate_stands_beside_what_came_of_it() -> None:
    found = scored({"auc": 0.8, "brier": 0.2}, "CBPE", 50, {"auc": 0.75}, {"auc": 0.7}, 20)
    assert found["auc"].error == pytest.approx(0.05)
    assert (found["auc"].rows, found["auc"].labelled, found["auc"].actual) == (50, 20, 0.7)
    assert found["brier"].error is None
