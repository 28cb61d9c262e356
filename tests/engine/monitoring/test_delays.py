"""Labels that have not come yet say how long labels take, too."""

from __future__ import annotations

import numpy as np
import pytest

from homeostat.engine.monitoring.delays import delays

DAY = 86_400.0


def test_the_delay_is_not_taken_from_the_labels_that_were_quick() -> None:
    rng = np.random.default_rng(0)
    takes = rng.exponential(2 * DAY, 4000)
    age = rng.uniform(0, 3 * DAY, 4000)
    found = delays(np.minimum(takes, age), takes <= age)
    assert found is not None
    assert found.come == pytest.approx((takes <= age).mean())
    assert found.come < 0.6
    assert found.p50 == pytest.approx(2 * DAY * np.log(2), rel=0.08)
    assert np.median(takes[takes <= age]) < 0.6 * found.p50  # what the labels alone would say
    assert found.p90 is None  # longer than any request is old
    assert found.within["1d"] == pytest.approx(1 - np.exp(-0.5), abs=0.03)
    assert "7d" not in found.within


def test_labels_that_all_came_have_their_own_quantiles() -> None:
    found = delays([10.0, 20.0, 30.0, 40.0, 4000.0], [True] * 5)
    assert found is not None
    assert (found.come, found.p50, found.p90) == (1.0, 30.0, 4000.0)
    assert found.within == {"1h": pytest.approx(0.8)}


def test_without_labels_nothing_is_known_of_them() -> None:
    assert delays([], []) is None
    found = delays([5.0, 7.0], [False, False])
    assert found is not None
    assert (found.come, found.p50, found.p90) == (0.0, None, None)
    early = delays([-3.0], [True])  # a label that was there before the question
    assert early is not None
    assert early.p50 == 0.0
