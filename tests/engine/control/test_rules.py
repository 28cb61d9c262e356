"""Each rule fires when it should, says why, and is held by the cooldown and by a freeze."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from homeostat.domain.declarations.rules import Drift, Every, NewLabels, Rule, SloBurn, When
from homeostat.engine.control.rules import Facts, Level, decide, evaluate, name_of

NOW = datetime(2013, 6, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Feature:
    """Drift of one feature."""

    feature: str
    excess: float


def facts(**changes: Any) -> Facts:
    return Facts(now=NOW, **{"last_training_at": NOW - timedelta(days=10), **changes})


WEEK = {"7d": [Feature("a", 0.1), Feature("b", 0.4), Feature("c", 0.3)]}


@pytest.mark.parametrize(
    ("rule", "known", "fired", "value", "reason"),
    [
        (Drift(0.25, 1), {"drift": WEEK}, True, 0.4, "2 of 3 features drifted past 0.25 over 7d, 1 needed"),
        (Drift(0.25, 2), {"drift": WEEK}, True, 0.3, "most: b 0.400, c 0.300"),
        (Drift(0.25, 3), {"drift": WEEK}, False, 0.1, "3 needed"),
        (Drift(0.5, 1), {"drift": WEEK}, False, 0.4, "nearest: b 0.400"),
        (Drift(0.25, 1, "3d"), {"drift": WEEK}, False, None, "0 features could be compared over 3d"),
        (Drift(0.25, 4), {"drift": WEEK}, False, None, "3 features could be compared over 7d, 4 needed"),
        (Drift(0.35, of=("a", "c")), {"drift": WEEK}, False, 0.3, "0 of 2 features drifted"),
        (Drift(of=("plan",)), {"drift": {"7d": [Feature("plan__hour", 0.3)]}}, True, 0.3, "plan__hour 0.300"),
        (Drift(of=("plane",)), {"drift": {"7d": [Feature("plan__hour", 0.3)]}}, False, None, "0 features"),
        (NewLabels(100), {"new_labels": 100}, True, 100, "100 labelled rows"),
        (NewLabels(100), {"new_labels": 99}, False, 99, "100 are needed"),
        (Every("10d"), {}, True, 864_000, "10.0 days since the last training"),
        (Every("11d"), {}, False, 864_000, "every 11d"),
        (Every("11d"), {"last_training_at": None}, True, None, "never trained"),
    ],
)
def test_a_rule_fires_with_its_number_and_its_reason(
    rule: Rule, known: dict[str, Any], fired: bool, value: float | None, reason: str
) -> None:
    outcome = evaluate(rule, facts(**known))
    assert outcome.fired is fired
    assert outcome.value == value
    assert reason in outcome.reason


@pytest.mark.parametrize(
    ("metric", "value", "rows", "fired", "reason"),
    [
        ("log_loss", 0.51, 400, True, "log_loss is 0.51 on 400 requests, at most 0.5 is promised"),
        ("log_loss", 0.49, 400, False, "at most"),
        ("log_loss", 0.90, 99, False, "100 are needed"),
        ("log_loss", None, 0, False, "no value yet"),
        ("auc", 0.49, 400, True, "at least 0.5 is promised"),
        ("auc", 0.51, 400, False, "at least"),
        ("availability", 0.4, 400, True, "at least"),
    ],
)
def test_a_service_level_burns_on_its_own_side(
    metric: str, value: float | None, rows: int, fired: bool, reason: str
) -> None:
    outcome = evaluate(SloBurn(metric), facts(levels={metric: Level(value=value, threshold=0.5, rows=rows)}))
    assert outcome.fired is fired
    assert reason in outcome.reason


def test_a_service_level_that_nobody_measured_does_not_fire() -> None:
    assert not evaluate(SloBurn("auc"), facts()).fired


WHEN = When((NewLabels(100), Every("30d")), cooldown="7d")


def test_any_fired_rule_trains_and_gives_the_reason() -> None:
    ruling = decide(WHEN, facts(new_labels=150))
    assert ruling.should_train
    assert ruling.reason == "150 labelled rows came since the last training, 100 are needed"
    assert [one.fired for one in ruling.outcomes] == [True, False]
    assert not any(one.held for one in ruling.outcomes)


def test_no_fired_rule_does_not_train() -> None:
    ruling = decide(WHEN, facts())
    assert not ruling.should_train
    assert ruling.reason == "no rule fired"
    assert len(ruling.outcomes) == 2


def test_the_cooldown_holds_what_fired_and_says_until_when() -> None:
    ruling = decide(WHEN, facts(new_labels=150, last_training_at=NOW - timedelta(days=5)))
    assert not ruling.should_train
    held, other = ruling.outcomes
    assert held.fired
    assert held.held
    assert held.reason.endswith("held: within 7d of the last training, until 2013-07-02 00:00")
    assert not other.held
    assert decide(WHEN, facts(new_labels=150, last_training_at=NOW - timedelta(days=7))).should_train
    assert decide(WHEN, facts(new_labels=150, last_training_at=None)).should_train


def test_a_freeze_holds_whatever_fired() -> None:
    why = "dataset/weather breaks its contract since 2013-06-29"
    ruling = decide(WHEN, facts(new_labels=150, frozen=why))
    assert not ruling.should_train
    assert ruling.reason == f"new labels 100 fired, but held: training is frozen, {why}"


def test_rules_that_ask_different_things_have_different_names() -> None:
    rules: list[Rule] = [Drift(), Drift(window="3d"), SloBurn("auc"), NewLabels(1), NewLabels(2), Every("1d")]
    assert len({name_of(rule) for rule in rules}) == len(rules)
