"""Burn rates: the workbook's detection times, no alert within budget, and what a late look sees."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.engine.control.burn import (
    LONGEST,
    MINUTE,
    RULES,
    BurnRule,
    Counts,
    budget_left,
    judge,
    minute_of,
)

NOW = minute_of(datetime(2026, 1, 8, tzinfo=UTC))
DAYS = 4 * 24 * 60


def counts(total: np.ndarray, bad: np.ndarray) -> Counts:
    return Counts(NOW, total.astype(np.int64), bad.astype(np.int64))


def outage(minutes: int, share: float, rate: int = 10_000, quiet: float = 0.0) -> Counts:
    """Four days of even traffic; in the last minutes this share of it fails."""
    bad = np.full(DAYS, round(rate * quiet))
    if minutes:
        bad[-minutes:] = round(rate * share)
    return counts(np.full(DAYS, rate), bad)


def detected(share: float, rules: tuple[BurnRule, ...], severity: str) -> float:
    """Minutes of failing until an alert."""
    return next(
        (
            n
            for n in range(1, 3 * 24 * 60 + 2)
            if severity in judge(outage(n, share), 0.999, since=NOW - 1, rules=rules).fired
        ),
        math.inf,
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("share", [1.0, 0.1, 0.02])
def test_detection_takes_as_long_as_the_workbook_says(rule: BurnRule, share: float) -> None:
    # (1 - SLO) / error ratio x window x burn rate, to the minute that is under way
    expected = math.ceil(0.001 / share * (rule.long / MINUTE) * rule.factor - 1e-9)
    found = detected(share, (rule,), rule.severity)
    # At once the budget is only just passed by a ticket's: that it is more than chance takes a little longer.
    assert expected <= found <= expected * (1.03 if rule.factor == 1 else 1) + (rule.factor == 1)


def test_a_small_lasting_error_is_a_ticket_and_no_page() -> None:
    verdict = judge(outage(3 * 24 * 60, 0.0012), 0.999, since=NOW - 1)
    assert verdict.fired == {"ticket"}
    assert verdict.since["ticket"] == datetime.fromtimestamp((NOW - 3 * 24 * 60 + 1) * 60, UTC)


def test_one_failure_of_few_requests_is_no_alert() -> None:
    for traffic in (1, 5, 10, 30):
        total, bad = np.zeros(DAYS), np.zeros(DAYS)
        total[-60::6] = traffic
        bad[-6] = 1
        verdict = judge(counts(total, bad), 0.999, since=NOW - 10)
        assert verdict.burns[0].rate > 0
        assert not verdict.fired
    total[-1], bad[-6:] = 30, 30  # but when all of them fail, it is
    assert "page" in judge(counts(np.maximum(total, bad), bad), 0.999, since=NOW - 1).fired


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 3, 50, 3000]), st.sampled_from([0.99, 0.999]))
def test_a_service_within_its_budget_is_never_paged(seed: int, traffic: float, objective: float) -> None:
    rng = np.random.default_rng(seed)
    total = rng.poisson(traffic, DAYS)
    verdict = judge(counts(total, rng.binomial(total, 1 - objective)), objective, since=NOW - 24 * 60)
    assert not verdict.fired


def test_a_late_look_misses_nothing_and_a_stale_one_is_over() -> None:
    bad = np.zeros(DAYS)
    bad[-300:-290] = 10_000
    found = counts(np.full(DAYS, 10_000), bad)
    late = judge(found, 0.999, since=NOW - 600)
    assert "page" in late.fired
    assert "page" not in late.standing
    assert late.since["page"] == datetime.fromtimestamp((NOW - 299) * 60, UTC)
    assert "page" not in judge(found, 0.999, since=NOW - 1).fired


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.sampled_from([40, 90]))
def test_a_late_look_sees_what_looks_at_each_minute_see(seed: int, late: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    total = rng.poisson(20, length)
    bad = rng.binomial(total, rng.choice([0.0, 0.9], length, p=[0.8, 0.2]))
    rules = [
        BurnRule("page", 6.0, 20 * MINUTE, 5 * MINUTE),
        BurnRule("ticket", 2.0, 60 * MINUTE, 10 * MINUTE),
    ]
    looks = [
        judge(
            Counts(NOW - back, total[: length - back], bad[: length - back]),
            0.9,
            since=NOW - back - 1,
            rules=rules,
        )
        for back in range(late)
    ]
    found = judge(counts(total, bad), 0.9, since=NOW - late, rules=rules)
    assert found.burns == looks[0].burns
    assert found.standing == looks[0].standing
    assert found.fired == frozenset().union(*(look.fired for look in looks))


def test_minutes_of_a_state_need_no_sample() -> None:
    total, bad = np.ones(DAYS), np.zeros(DAYS)
    bad[-9:] = 1
    found = counts(total, bad)
    assert "page" in judge(found, 0.99, since=NOW - 1, sampled=False).fired
    assert "page" not in judge(outage(0, 0), 0.99, since=NOW - 1, sampled=False).fired


@given(
    st.lists(st.tuples(st.integers(NOW - 500, NOW), st.integers(0, 9), st.integers(0, 9)), max_size=30),
    st.integers(1, 5),
)
def test_counts_add_however_they_are_divided(events: list[tuple[int, int, int]], parts: int) -> None:
    counted = [(minute, good + bad, bad) for minute, good, bad in events]
    found = Counts.of([counted[number::parts] for number in range(parts)], NOW, LONGEST)
    assert found.total.sum() == sum(good + bad for _, good, bad in events)
    assert found.bad.sum() == sum(bad for _, _, bad in events)
    assert judge(found, 0.5, since=NOW - 1).burns[-1].total == found.total.sum()


def test_a_budget_is_what_the_objective_leaves() -> None:
    assert budget_left(1000, 0, 0.999) == 1
    assert budget_left(1000, 1, 0.999) == pytest.approx(0)
    assert budget_left(1000, 3, 0.999) == pytest.approx(-2)
    assert budget_left(0, 0, 0.999) is None
    assert (budget_left(9, 0, 1.0), budget_left(9, 1, 1.0)) == (1, 0)
    assert RULES[0].long == timedelta(hours=1)
