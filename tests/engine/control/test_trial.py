"""An A/B test rarely names a winner that is none, finds one that is, and says what its deadline does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from homeostat.domain.declarations.comparing import ABTest
from homeostat.domain.errors import DeclarationError
from homeostat.engine.control.sequential import Array, bets, mixture, wealth
from homeostat.engine.control.trial import TrialTest, raw, scaled

BEGAN = datetime(2013, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
THREE = {"champion": 0.34, "2": 0.33, "3": 0.33}
SHARES = {1: 0.34, 2: 0.33, 3: 0.33}


def test_of_2000_tests_of_equal_arms_no_more_name_a_winner_than_allowed() -> None:
    """Three arms with one rate, looked at after every outcome: the comparisons that ``TrialTest`` makes."""
    rng, alpha = np.random.default_rng(9), 0.05
    grid, wrong = bets(0.0, -1.0), 0
    threshold = np.log(TrialTest(ABTest(arms=THREE, false_alarm=alpha), SHARES).threshold)
    for _ in range(20):
        outcomes = [(rng.random((100, 250)) < 0.2).astype(float) for _ in range(3)]
        peaks = {
            (a, b): np.maximum.accumulate(
                mixture(wealth(outcomes[a] - outcomes[b], 0.0, grid, np.zeros(len(grid)))), axis=1
            )
            for a, b in permutations(range(3), 2)
        }
        wins = np.zeros(100, dtype=bool)
        for a in range(3):
            wins |= (np.min([peaks[a, b] for b in range(3) if b != a], axis=0) >= threshold).any(axis=1)
        wrong += int(wins.sum())
    assert wrong <= 2000 * alpha


def run(spec: ABTest, shares: dict[int, float], rates: dict[int, float], seed: int, most: int = 4000) -> Any:
    """Outcomes in batches of 100, each arm by its present share; the verdict, how many, and the last shares."""
    rng, test, present = np.random.default_rng(seed), TrialTest(spec, shares), dict(shares)
    for seen in range(100, most + 1, 100):
        versions = rng.choice(
            list(present), size=100, p=np.array(list(present.values())) / sum(present.values())
        )
        test.observe(versions.tolist(), rng.random(100) < np.array([rates[v] for v in versions]))
        verdict = test.decide(BEGAN, BEGAN)
        if verdict.action == "end":
            return verdict, seen, present
        present = test.weights(seen, present) or present
        kept = json.loads(json.dumps(test.statistics()))
        test = TrialTest(spec, shares, kept)  # as from the store
    return verdict, most, present


def test_the_best_arm_wins_and_the_numbers_are_told() -> None:
    needed = []
    for seed in range(20):
        verdict, seen, _ = run(ABTest(arms=THREE), SHARES, {1: 0.2, 2: 0.4, 3: 0.2}, seed)
        assert verdict.winner == 2
        needed.append(seen)
    assert np.median(needed) <= 1500
    assert "@2 is best" in verdict.reason
    assert verdict.statistics["arms"]["2"]["mean"] == pytest.approx(0.4, abs=0.1)


def test_a_bandit_moves_the_traffic_to_the_better_arm_and_decides_by_the_same_rule() -> None:
    spec = ABTest(arms={"champion": 0.5, "2": 0.5}, allocation="thompson")
    wrong = 0
    for seed in range(20):
        verdict, _, _ = run(spec, {1: 0.5, 2: 0.5}, {1: 0.2, 2: 0.5}, seed)
        assert verdict.winner == 2
        wrong += run(spec, {1: 0.5, 2: 0.5}, {1: 0.3, 2: 0.3}, seed, most=1500)[0].action == "end"
    assert wrong <= 3
    test = TrialTest(spec, {1: 0.5, 2: 0.5})
    test.observe([1, 2] * 100, [0.0, 1.0, 0.0, 1.0, 1.0, 0.0] * 33 + [0.0, 0.0])
    shares = test.weights(0, {1: 0.5, 2: 0.5})
    assert shares == test.weights(0, {1: 0.5, 2: 0.5})
    assert shares is not None
    assert shares[2] > 0.9
    assert shares[1] >= 0.02
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert test.weights(0, shares) is None


def test_fixed_shares_stay_and_little_is_not_enough_to_move_them() -> None:
    fixed = TrialTest(ABTest(arms={"champion": 0.5, "2": 0.5}), {1: 0.5, 2: 0.5})
    bandit = TrialTest(ABTest(arms={"champion": 0.5, "2": 0.5}, allocation="thompson"), {1: 0.5, 2: 0.5})
    for test in (fixed, bandit):
        test.observe([1, 2] * 20, [0.0, 1.0] * 20)
        assert test.weights(0, {1: 0.5, 2: 0.5}) is None


def test_arms_of_different_shares_are_compared_in_proportion() -> None:
    test = TrialTest(ABTest(arms={"champion": 0.9, "2": 0.1}), {1: 0.9, 2: 0.1})
    test.observe([1] * 900 + [2] * 100, [0.0] * 900 + [1.0] * 100)
    assert test.tests[2, 1].state.count == 100
    assert test.decide(BEGAN, BEGAN).winner == 2


@pytest.mark.parametrize(("at_deadline", "winner"), [("champion", 0), ("leader", 2)])
def test_the_deadline_does_what_was_declared(at_deadline: Any, winner: int) -> None:
    spec = ABTest(arms={"champion": 0.5, "2": 0.5}, at_deadline=at_deadline, min_outcomes=10)
    test = TrialTest(spec, {1: 0.5, 2: 0.5})
    early = test.decide(BEGAN + 13 * DAY, BEGAN)
    assert (early.action, early.winner) == ("continue", 0)
    assert early.reason.endswith("the deadline is in 1d")
    few = test.decide(BEGAN + 14 * DAY, BEGAN)
    assert (few.action, few.winner) == ("end", 0)
    assert "fewer than 10 outcomes" in few.reason
    test.observe([1, 2] * 12, [0.4, 0.5] * 12)
    ended = test.decide(BEGAN + 14 * DAY, BEGAN)
    assert (ended.action, ended.winner) == ("end", winner)
    assert "without a winner" in ended.reason


def test_outcomes_are_told_in_their_own_unit() -> None:
    spec = ABTest(arms=THREE, better="lower", bounds=(0, 200))
    assert scaled(spec, [0, 50, 300]).tolist() == [1.0, 0.75, 0.0]
    back: Array = raw(spec, scaled(spec, [0, 50, 300]))
    assert back.tolist() == [0, 50, 200]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"arms": {"2": 1.0}}, "lacks the champion"),
        ({"arms": {"champion": 0.5, "2": 0.4}}, "do not add up to 1"),
        ({"arms": THREE, "outcome": "bought"}, "outcome"),
        ({"arms": THREE, "bounds": (1, 0)}, "bounds"),
        ({"arms": THREE, "allocation": "greedy"}, "allocation"),
        ({"arms": THREE, "false_alarm": 0}, "false_alarm"),
    ],
)
def test_an_impossible_test_is_refused_where_it_is_declared(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(DeclarationError, match=why):
        ABTest(**wrong)
