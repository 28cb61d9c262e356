"""Laws of testing by betting: never negative, resumable to the bit, rarely wrong however often one looks."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.engine.control.sequential import Array, MeanTest, State, bets, mixture, wealth

values = st.lists(st.floats(-1, 1), max_size=40)
RNG = np.random.default_rng(11)


@given(values)
def test_evidence_is_never_negative_and_its_peak_never_falls(observed: list[float]) -> None:
    test = MeanTest(0.1, low=-1.0)
    peak = test.peak
    for value in observed:
        test.update([value])
        assert test.e_value >= 0
        assert test.peak >= max(peak, test.e_value) * (1 - 1e-12)
        peak = test.peak


@given(values, st.lists(st.integers(0, 40), max_size=5))
def test_updates_in_parts_and_in_one_go_agree_to_the_bit(observed: list[float], cuts: list[int]) -> None:
    whole, parts = MeanTest(0.1, low=-1.0), MeanTest(0.1, low=-1.0)
    whole.update(observed)
    edges = [0, *sorted(min(cut, len(observed)) for cut in cuts), len(observed)]
    for start, end in pairwise(edges):
        parts.update(observed[start:end])
        # As from the store: a restart between any two updates changes nothing.
        parts = MeanTest(0.1, low=-1.0, state=msgspec.convert(json.loads(json.dumps(parts.dump())), State))
    assert parts.state == whole.state
    assert parts.e_value == whole.e_value
    assert whole.observed is None if not observed else whole.observed == pytest.approx(np.mean(observed))


@given(st.lists(st.floats(-1, 0.1), min_size=1, max_size=40))
def test_observations_that_agree_with_the_hypothesis_are_no_evidence(observed: list[float]) -> None:
    test = MeanTest(0.1, low=-1.0)
    test.update(observed)
    assert test.peak <= 1.0 + 1e-12


def test_what_lies_outside_is_refused() -> None:
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match="outside"):
            MeanTest(0.5).update([wrong])
    with pytest.raises(ValueError, match="not between"):
        MeanTest(0.0)


def _ever(observed: Array, mean: float, low: float) -> Array:
    """The largest e-value of each run, looked at after every observation."""
    grid = bets(mean, low)
    peaks = [
        mixture(wealth(part, mean, grid, np.zeros(len(grid)))).max(axis=1) for part in np.split(observed, 20)
    ]
    largest: Array = np.exp(np.concatenate(peaks))
    return largest


@pytest.mark.parametrize("alpha", [0.01, 0.1])
@pytest.mark.parametrize("rate", [0.001, 0.05, 0.4])
def test_false_alarms_are_rare_though_one_looks_after_every_observation(rate: float, alpha: float) -> None:
    failures = (RNG.random((2000, 500)) < rate).astype(float)
    wrong = int((_ever(failures, rate, 0.0) >= 1 / alpha).sum())
    assert wrong <= 2000 * alpha + 3 * (2000 * alpha * (1 - alpha)) ** 0.5


def test_a_higher_rate_is_found_and_a_much_higher_one_at_once() -> None:
    for rate, power, within in ((0.03, 0.85, 350), (0.5, 1.0, 12)):
        failures = (RNG.random((500, 500)) < rate).astype(float)
        grid = bets(0.005, 0.0)
        path = np.concatenate(
            [mixture(wealth(part, 0.005, grid, np.zeros(len(grid)))) for part in np.split(failures, 10)]
        )
        found = path >= np.log(300)
        assert found.any(axis=1).mean() >= power
        assert np.median(np.where(found.any(axis=1), found.argmax(axis=1), 500)) <= within


def test_the_class_and_the_arrays_are_one_calculation() -> None:
    observed = RNG.uniform(-1, 1, 100)
    test = MeanTest(0.1, low=-1.0)
    test.update(observed)
    grid = bets(0.1, -1.0)
    path = mixture(wealth(observed, 0.1, grid, np.zeros(len(grid))))
    assert test.e_value == pytest.approx(np.exp(path[-1]))
    assert test.peak == pytest.approx(max(1.0, np.exp(path.max())))
