"""A sound canary is rarely called worse, a worse one soon is, and the deadline decides the rest."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from homeostat.domain.declarations import Canary
from homeostat.engine.control import observations
from homeostat.engine.control.canary import Baseline, CanaryTest
from homeostat.engine.control.sequential import Array

BEGAN = datetime(2013, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
STEADY = Baseline(slow_after=0.05)


def answers(rng: Any, rows: int, harm: float) -> tuple[Array, Array, Array]:
    """Labels, scores of a candidate whose logits have ``harm`` more noise, and scores of the champion."""
    truth = rng.normal(-1.2, 1.0, rows)
    y = (rng.random(rows) < 1 / (1 + np.exp(-truth))).astype(float)
    mine = truth + rng.normal(0, 0.3, rows) + harm * rng.normal(0, 1.0, rows)
    theirs = truth + rng.normal(0, 0.3, rows)
    return y, 1 / (1 + np.exp(-mine)), 1 / (1 + np.exp(-theirs))


def difference(y: Array, p: Array, q: Array) -> Array:
    mine, theirs = (np.clip(scores, 0.01, 0.99) for scores in (p, q))
    loss: Array = -np.log(np.where(y > 0.5, mine, 1 - mine)) + np.log(np.where(y > 0.5, theirs, 1 - theirs))
    return loss


def together(test: CanaryTest, seconds: float, champion: float, count: int, for_one: int = 9) -> None:
    """``count`` answers of the candidate, each beside some of the champion's."""
    mine = np.tile([False] * for_one + [True], count)
    test.observe_seconds(np.where(mine, seconds, champion), mine)


def test_few_sound_candidates_are_called_worse_by_the_whole_test() -> None:
    rng, canary, wrong = np.random.default_rng(7), Canary(false_alarm=0.1), 0
    for _ in range(200):
        test = CanaryTest(canary, STEADY)
        for _ in range(10):
            test.observe(failed=rng.random(50) < 0.0002)
            test.observe_seconds(rng.exponential(0.01, 500), rng.random(500) < 0.1)
            test.observe_labels(*answers(rng, 50, 0.0))
        wrong += test.decide(BEGAN, BEGAN, 500, 500).action == "rollback"
    assert wrong <= 200 * 0.1 + 3 * (200 * 0.09) ** 0.5


def test_a_candidate_that_fails_is_rolled_back_within_a_few_requests() -> None:
    test = CanaryTest(Canary(), STEADY)
    test.observe(failed=[True] * 5)
    decision = test.decide(BEGAN + timedelta(minutes=1), BEGAN, 5, 0)
    assert decision.action == "rollback"
    assert "100.00% of requests failed" in decision.reason
    watched = decision.statistics["watched"]["errors"]
    assert watched["peak"] >= watched["threshold"] == pytest.approx(3 / 0.01)


def test_what_fails_for_both_and_one_lost_request_do_not_count() -> None:
    test = CanaryTest(Canary(), STEADY)
    test.observe(failed=[True] * 50, champion_failed=[True] * 50)
    assert test.decide(BEGAN, BEGAN, 50, 0).action == "continue"
    single = CanaryTest(Canary(), STEADY)
    single.observe(failed=[True, *[False] * 99])
    assert single.decide(BEGAN, BEGAN, 100, 0).action == "continue"


def test_a_candidate_that_fails_alone_now_and_then_is_rolled_back_however_the_champion_did_before() -> None:
    """What failed for both, as while a store was away, hides nothing."""
    test = CanaryTest(Canary())
    failed = np.random.default_rng(5).random(2000) < 0.02
    test.observe(failed=[True] * 500, champion_failed=[True] * 500)
    test.observe(failed=failed, champion_failed=np.zeros(2000))
    assert test.decide(BEGAN, BEGAN, 2500, 0).action == "rollback"


def test_a_slow_candidate_is_rolled_back_and_a_slow_machine_is_not_its_fault() -> None:
    slow, both = CanaryTest(Canary(), STEADY), CanaryTest(Canary(), STEADY)
    together(slow, 0.2, 0.01, 40)
    decision = slow.decide(BEGAN, BEGAN, 40, 0)
    assert decision.action == "rollback"
    assert "slow answers are +100.0%" in decision.reason
    together(both, 0.2, 0.2, 40)
    assert both.decide(BEGAN, BEGAN, 40, 0).action == "continue"


def test_a_candidate_that_slows_down_the_batches_of_both_is_slow_by_itself() -> None:
    mine = np.tile([False, False, True], 100)
    log = pl.DataFrame(
        {
            "arm": np.where(mine, "canary", "champion"),
            "error": [None] * 300,
            "status": [200] * 300,
            "latency_us": [86_000] * 300,  # of a batch of rows of both
            "scoring_us": np.where(mine, 80_000, 5_000),
        },
        schema_overrides={"error": pl.String},
    )
    test, blind = CanaryTest(Canary(), STEADY), CanaryTest(Canary(), STEADY)
    observations.observe(test, log)
    observations.observe(blind, log.drop("scoring_us"))
    assert "slow answers are +100.0%" in test.decide(BEGAN, BEGAN, 100, 0).reason
    assert blind.decide(BEGAN, BEGAN, 100, 0).action == "continue"
    assert observations.baseline(log).slow_after == pytest.approx(0.010)


def test_only_what_is_watched_is_tested() -> None:
    test = CanaryTest(Canary(watch=("errors",)), STEADY)
    test.observe(failed=[False] * 40)
    together(test, 0.2, 0.01, 40)
    test.observe_labels([1.0] * 400, [0.01] * 400, [0.99] * 400)
    assert list(test.statistics(40, 400)["watched"]) == ["errors"]
    assert test.decide(BEGAN + 3 * DAY, BEGAN, 40, 0).action == "continue"
    promoted = test.decide(BEGAN + 3 * DAY, BEGAN, 100, 0)
    assert promoted.action == "promote"
    assert promoted.reason.startswith("the deadline came after 100 requests")


def test_the_deadline_promotes_what_has_enough_labels_and_is_no_worse() -> None:
    test = CanaryTest(Canary(), STEADY)
    test.observe_labels(*answers(np.random.default_rng(2), 400, 0.0))
    early = test.decide(BEGAN + DAY, BEGAN, 500, 400)
    assert early.action == "continue"
    assert early.reason.endswith("the deadline is in 2d")
    assert test.decide(BEGAN + 3 * DAY, BEGAN, 500, 400).action == "promote"


def test_too_few_labels_go_on_to_twice_the_deadline_and_then_roll_back() -> None:
    test = CanaryTest(Canary(), STEADY)
    test.observe_labels(*answers(np.random.default_rng(1), 40, 0.0))
    waiting = test.decide(BEGAN + 4 * DAY, BEGAN, 500, 40)
    assert waiting.action == "continue"
    assert "40 of 100 labelled requests" in waiting.reason
    ended = test.decide(BEGAN + 6 * DAY, BEGAN, 500, 40)
    assert ended.action == "rollback"
    assert ended.reason.startswith("undecided after twice the deadline")


def test_a_mean_over_the_tolerance_is_not_promoted_though_chance_could_explain_it() -> None:
    test = CanaryTest(Canary(), STEADY)
    y = np.array([1.0, 0.0] * 60)
    test.observe_labels(y, np.where(y > 0.5, 0.68, 0.32), np.where(y > 0.5, 0.7, 0.3))
    assert test.tests["log_loss"].peak < test.threshold
    decision = test.decide(BEGAN + 3 * DAY, BEGAN, 500, 120)
    assert decision.action == "continue"
    assert "over the 0.01 that counts as no worse" in decision.reason
    assert test.decide(BEGAN + 6 * DAY, BEGAN, 500, 120).action == "rollback"


def test_a_test_goes_on_from_its_statistics_as_if_never_stopped() -> None:
    rng, canary = np.random.default_rng(2), Canary()
    whole = CanaryTest(canary, STEADY)
    parted = CanaryTest(canary, STEADY)
    for _ in range(5):
        labels, failed = answers(rng, 30, 1.0), rng.random(30) < 0.05
        for test in (whole, parted):
            test.observe(failed=failed)
            test.observe_seconds([0.06, 0.01, 0.01] * 9 + [0.06], [True, False, False] * 9 + [True])
            test.observe_labels(*labels)
        kept = json.loads(json.dumps(parted.decide(BEGAN, BEGAN, 30, 30).statistics))
        parted = CanaryTest.restore(canary, kept)
    assert parted.statistics(1, 1) == whole.statistics(1, 1)


def test_rows_of_the_log_become_observations() -> None:
    log = pl.DataFrame(
        {
            "arm": ["champion", "canary", "champion", "canary", "canary", "champion"],
            "error": [None, None, None, "ValueError: nan", "OSError: gone", None],
            "status": [200, 200, 200, 200, 503, 500],
            "latency_us": [1000, 90_000, 2000, 3000, 4000, 5000],
            "score": [0.1, 0.2, 0.3, 0.4, None, None],
            "shadow_score": [None, 0.25, None, None, None, None],
            "late": [True, False, None, True, True, False],
        }
    )
    test = CanaryTest(Canary(), observations.baseline(log, p99=0.05))
    assert test.baseline == Baseline(slow_after=0.05)
    assert observations.observe(test, log) == 3
    assert test.tests["errors"].state.total == 1.0  # the third failed for both
    assert test.tests["latency"].state.total == 1.0  # beside the two before and after it
    assert observations.observe_labels(test, log, "late") == 3
    expected = difference(np.array([0.0]), np.array([0.2]), np.array([0.25]))
    assert test.tests["log_loss"].observed == pytest.approx(expected[0])
    assert observations.baseline(log).slow_after == pytest.approx(2 * 0.001990, rel=1e-3)
    assert observations.baseline(log.clear()) == Baseline()
    assert observations.observe(test, log.clear()) == 0
