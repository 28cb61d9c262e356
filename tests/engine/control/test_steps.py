"""Steps of the mean of looks: chance, days that differ, days that follow one another and weekends are none."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from homeostat.engine.control.steps import RHO, Look, likelihoods, stepped

ALPHA, YEAR = 0.05, 365
NEEDED = math.log(YEAR / ALPHA)

Floats = npt.NDArray[np.float64]


def looks_of(rng: np.random.Generator, effects: Floats, rows: int) -> list[Look]:
    """Looks at normal rows of a standard deviation of 1, from half as many to half more than ``rows``."""
    sizes = rng.integers(rows // 2, rows * 3 // 2 + 1, len(effects))
    means = effects + rng.normal(size=len(effects)) / np.sqrt(sizes)
    return [
        Look(int(n), float(mean), float(rng.chisquare(n - 1))) for n, mean in zip(sizes, means, strict=True)
    ]


def days(rng: np.random.Generator, count: int, icc: float, again: float = 0.0) -> Floats:
    """Effects of days, each like the one before to the degree ``again``."""
    found = rng.normal(size=count)
    for day in range(1, count):
        found[day] = again * found[day - 1] + math.sqrt(1 - again**2) * found[day]
    return found * math.sqrt(icc)


def found(looks: list[Look], first: int, every: int = 1) -> int | None:
    """After how many looks a step up is reported, looked at from ``first`` on."""
    ends = range(first, len(looks) + 1, every)
    return next((end for end in ends if stepped(looks[:end]).up >= NEEDED), None)


@pytest.mark.parametrize(
    ("rows", "icc", "again", "weekend"),
    [
        (200, 0, 0, 0),
        (200, 0.005, 0, 0),
        (2_000, 0.05, 0, 0),
        (200, 0.005, 0.5, 0),
        (2_000, 0.05, 0.5, 0),
        (200, 0, 0, 0.3),
        (2_000, 0, 0, 0.1),
    ],
)
def test_without_a_step_hardly_any_is_reported(rows: int, icc: float, again: float, weekend: float) -> None:
    rng, reports, series = np.random.default_rng(0), 0, 40
    for _ in range(series):
        week = weekend * ((np.arange(100) + rng.integers(7)) % 7 >= 5)
        looks = looks_of(rng, days(rng, 100, icc, again) + week, rows)
        reports += found(looks, 5, every=4) is not None
    assert reports <= series * ALPHA


@pytest.mark.parametrize("seed", [5, 51])
def test_days_that_differ_by_any_amount_are_explained_by_some_hypothesis(seed: int) -> None:
    """These were reported where hypotheses were eight times apart: none of them explained the days well."""
    rng = np.random.default_rng(seed)
    assert found(looks_of(rng, days(rng, 100, 0.0085, 0.5), 2_000), 5, every=3) is None


@pytest.mark.parametrize(
    ("before", "rows", "by", "median"),
    [(5, 200, 1.0, 4), (5, 2_000, 0.3, 5), (20, 200, 0.3, 5), (20, 2_000, 0.1, 5), (60, 200, 0.3, 3)],
)
def test_a_step_is_found_in_few_looks(before: int, rows: int, by: float, median: int) -> None:
    delays = []
    for repetition in range(9):
        rng = np.random.default_rng(repetition)
        looks = looks_of(rng, np.where(np.arange(before + 40) < before, 0, by), rows)
        at = found(looks, 3)
        assert at is not None
        delays.append(at - before)
    assert min(delays) >= 2
    assert sorted(delays)[4] <= median


def test_one_look_is_no_step_and_three_are_told_where_they_begin() -> None:
    rng = np.random.default_rng(0)
    calm = looks_of(rng, np.zeros(30), 200)
    storm = [*calm, Look(200, 3.0, 199.0), Look(200, 3.1, 199.0)]
    assert stepped(storm).up < NEEDED
    lasting = stepped([*storm, Look(200, 2.9, 199.0)])
    assert (lasting.up > NEEDED, lasting.place) == (True, 30)
    assert lasting.down < NEEDED


def test_down_is_up_of_the_opposite() -> None:
    looks = looks_of(np.random.default_rng(0), np.where(np.arange(40) < 25, 0, 0.4), 200)
    upside_down = stepped([Look(one.rows, -one.mean, one.squares) for one in looks])
    assert (upside_down.down, upside_down.below) == pytest.approx((stepped(looks).up, stepped(looks).place))


def test_how_much_looks_differ_is_learned_and_still_known_after_looks_are_left_out() -> None:
    rng = np.random.default_rng(0)
    same, different = (likelihoods(looks_of(rng, days(rng, 40, icc), 200)) for icc in (0.0, 0.3))
    assert RHO[same.argmax()] <= 0.005
    assert RHO[different.argmax()] == pytest.approx(0.3)
    looks = looks_of(rng, np.where(np.arange(12) < 8, 0, 0.5), 200)
    assert stepped(looks, different).up < stepped(looks).up < stepped(looks, same).up


def test_two_looks_together_are_the_look_at_all_their_rows() -> None:
    rows = np.random.default_rng(0).normal(size=50)

    def look(part: Floats) -> Look:
        return Look(len(part), float(part.mean()), float(((part - part.mean()) ** 2).sum()))

    both = look(rows[:20]).with_(look(rows[20:]))
    assert (both.rows, both.mean, both.squares) == pytest.approx((50, look(rows).mean, look(rows).squares))


@pytest.mark.parametrize(
    "looks", [[], [Look(10, 0.0, 0.0)] * 3, [Look(1, 0.0, 0.0)] * 9, [Look(9, 1.0, 0.0)] * 9]
)
def test_looks_that_tell_nothing_are_no_evidence(looks: list[Look]) -> None:
    assert stepped(looks).up == -math.inf
