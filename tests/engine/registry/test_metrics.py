"""Metrics agree with scikit-learn, and say nothing where they mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from homeostat.domain.errors import BadRequest
from homeostat.engine.registry.metrics import Array, calibration_error, evaluate, measure, reliability

rows = st.lists(
    st.tuples(st.integers(0, 1), st.floats(0, 1, allow_nan=False).map(lambda p: round(p, 3))),
    min_size=1,
    max_size=60,
)


def _split(pairs: list[tuple[int, float]]) -> tuple[Array, Array]:
    return np.array([y for y, _ in pairs], dtype=np.int8), np.array([p for _, p in pairs])


@given(rows)
def test_metrics_agree_with_scikit_learn(pairs: list[tuple[int, float]]) -> None:
    y, p = _split(pairs)
    values = evaluate(y, p)
    assert values["log_loss"] == pytest.approx(sk.log_loss(y, p, labels=[0, 1]))
    assert values["brier"] == pytest.approx(np.mean((p - y) ** 2))
    assert values["accuracy"] == pytest.approx(np.mean((p >= 0.5) == y))
    if 0 < y.sum() < len(y):
        assert values["auc"] == pytest.approx(sk.roc_auc_score(y, p))
    else:
        assert "auc" not in values
        assert measure("auc", y, p) is None


@given(rows)
def test_reliability_bins_are_those_of_scikit_learn_and_hold_every_row(
    pairs: list[tuple[int, float]],
) -> None:
    y, p = _split(pairs)
    table = reliability(y, p)
    assert sum(b.count for b in table) == len(y)
    if 0 < y.sum() < len(y):
        observed, predicted = calibration_curve(y, p, n_bins=10, strategy="quantile")
        assert [b.observed for b in table] == pytest.approx(observed.tolist())
        assert [b.predicted for b in table] == pytest.approx(predicted.tolist())


@given(rows)
def test_the_order_of_rows_does_not_matter(pairs: list[tuple[int, float]]) -> None:
    y, p = _split(pairs)
    order = np.random.default_rng(len(pairs)).permutation(len(y))
    assert calibration_error(y, p) == pytest.approx(calibration_error(y[order], p[order]))


def test_a_perfectly_calibrated_model_has_no_calibration_error() -> None:
    y = np.array([0, 0, 0, 1] * 25 + [1, 1, 1, 0] * 25)
    p = np.array([0.25] * 100 + [0.75] * 100)
    assert calibration_error(y, p) == pytest.approx(0.0)


@pytest.mark.parametrize("p", [[], [np.nan], [np.inf]])
def test_there_is_no_value_without_finite_scores(p: list[float]) -> None:
    y = np.zeros(len(p), dtype=np.int8)
    assert evaluate(y, np.array(p)) == {}
    assert reliability(y, np.array(p)) == []


def test_what_does_not_match_is_named() -> None:
    with pytest.raises(BadRequest, match="labels have shape"):
        evaluate(np.zeros(2), np.zeros(3))
    with pytest.raises(BadRequest, match="'f1' is no metric"):
        measure("f1", np.zeros(2), np.zeros(2))
