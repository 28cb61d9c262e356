"""Groups are compared by fairlearn's rates, and small ones are shown without being judged."""

from __future__ import annotations

import numpy as np
import pytest

from homeostat.engine.monitoring.fairness import disparities


def test_rates_of_groups_and_their_largest_difference() -> None:
    region = ["north"] * 100 + ["south"] * 100 + ["isle"] * 4
    answers = np.array([1.0] * 60 + [0.0] * 40 + [1.0] * 20 + [0.0] * 80 + [1.0] * 4)
    y = np.array([1.0] * 50 + [0.0] * 50 + [1.0] * 40 + [0.0] * 60 + [np.nan] * 4)
    found = disparities(
        y, answers, {"region": region}, ["selection_rate", "true_positive_rate"], least_rows=40
    )
    selected, hits = found.compared
    assert selected.groups == {"isle": 1.0, "north": 0.6, "south": 0.2}
    assert selected.rows == {"isle": 4, "north": 100, "south": 100}
    assert selected.disparity == pytest.approx(0.4)
    assert hits.groups == {"north": 1.0, "south": 0.5}
    assert found.largest == pytest.approx(0.5)


def test_what_chance_explains_of_a_disparity_is_told() -> None:
    rng = np.random.default_rng(3)
    group = np.repeat(["a", "b", "c"], 60)
    largest, surely = [], []
    for _ in range(200):  # the same rate of all three
        found = disparities(
            np.full(180, np.nan),
            (rng.random(180) < 0.3) * 1.0,
            {"g": group},
            ["selection_rate"],
            least_rows=50,
        )
        largest.append(found.largest)
        surely.append(found.surely)
    assert np.mean(np.array(largest) > 0.1) > 0.3  # what is seen
    assert np.mean(np.array(surely) > 0) <= 0.08  # a twentieth, and two errors of 200 draws
    answers = np.where(group == "a", rng.random(180) < 0.9, rng.random(180) < 0.1) * 1.0
    apart = disparities(np.full(180, np.nan), answers, {"g": group}, ["selection_rate"], least_rows=50)
    assert apart.largest is not None
    assert 0.5 < apart.surely < apart.largest
    far = rng.normal(np.where(group == "a", 5.0, 0.0), 1.0)
    means = disparities(np.zeros(180), far, {"g": group}, ["mean_prediction"], least_rows=50)
    assert 4.0 < means.surely < 5.0


def test_a_rate_is_of_the_rows_that_it_counts() -> None:
    y = np.array([1.0] * 3 + [0.0] * 97 + [1.0] * 60 + [0.0] * 40)
    group = ["few"] * 100 + ["many"] * 100
    found = disparities(
        y, np.ones(200), {"g": group}, ["true_positive_rate", "false_positive_rate"], least_rows=50
    )
    hits, false = found.compared
    assert (hits.rows, hits.disparity) == ({"few": 3, "many": 60}, None)
    assert (false.rows, false.disparity) == ({"few": 97, "many": 40}, None)


def test_a_regression_is_compared_by_its_errors() -> None:
    group = ["a", "b"] * 60
    y = np.where(np.arange(120) % 2 == 0, 1.0, 3.0)
    found = disparities(
        y, np.ones(120), {"g": group}, ["mean_absolute_error", "mean_prediction"], least_rows=50
    )
    assert [one.disparity for one in found.compared] == [2.0, 0.0]


def test_one_group_alone_has_no_disparity() -> None:
    found = disparities(np.zeros(80), np.ones(80), {"g": ["a"] * 80}, ["selection_rate"], least_rows=50)
    assert found.largest is None
    nothing = disparities(np.full(3, np.nan), np.ones(3), {"g": ["a"] * 3}, ["accuracy"], least_rows=1)
    assert nothing.compared[0].groups == {}
