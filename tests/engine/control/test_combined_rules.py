"""Rules that combine others, and the budget of trainings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import homeostat as hs
from homeostat.domain.declarations.rules import AllOf, AnyOf, Drift, DriftTest, Every, NewLabels, Rule, When
from homeostat.domain.errors import DeclarationError
from homeostat.engine.control.rules import Facts, decide, evaluate, name_of

NOW = datetime(2013, 6, 30, tzinfo=UTC)
OLD, ROWS, NEVER = Every("10d"), NewLabels(100), NewLabels(10**9)


def facts(**changes: Any) -> Facts:
    return Facts(now=NOW, **({"last_training_at": NOW - timedelta(days=10), "new_labels": 100} | changes))


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_all_and_any_are_those_of_logic(fires: list[bool]) -> None:
    rules = tuple(ROWS if one else NEVER for one in fires)
    assert evaluate(AllOf(rules), facts()).fired == all(fires)
    assert evaluate(AnyOf(rules), facts()).fired == any(fires)
    assert evaluate(AllOf((AnyOf(rules), ROWS)), facts()).fired == any(fires)


def test_a_combination_says_how_many_fire_and_why() -> None:
    outcome = evaluate(AllOf((OLD, NEVER)), facts())
    assert (outcome.value, outcome.threshold, outcome.fired) == (1.0, 2.0, False)
    assert outcome.rule == name_of(AllOf((OLD, NEVER))) == "all of (every 10d; new labels 1000000000)"
    assert "1 of 2 fire, 2 needed: 10.0 days since the last training" in outcome.reason
    assert "are needed (does not)" in outcome.reason


def test_what_is_combined_is_watched_and_checked() -> None:
    drift, test = Drift(), DriftTest(season=("hour",))
    when = hs.when(hs.all_of(drift, hs.any_of(test, ROWS)), OLD)
    assert when.leaves == (drift, test, ROWS, OLD)
    assert when.season == ("hour",)
    with pytest.raises(DeclarationError, match="no retraining rule"):
        hs.when(hs.all_of("weekly"))  # type: ignore[arg-type] # what a project may write all the same
    with pytest.raises(DeclarationError, match="combines nothing"):
        hs.all_of()


def test_a_spent_budget_holds_what_fires_until_it_is_free_again() -> None:
    when = When((ROWS,), cooldown="1ms", at_most=(2, "30d"))
    before = [NOW - timedelta(days=days) for days in (10, 20, 40)]
    ruling = decide(when, facts(trainings=before))
    assert not ruling.should_train
    assert "the budget is 2 trainings in 30d, spent until 2013-07-10" in ruling.reason
    assert decide(when, facts(trainings=before[1:])).should_train
    # Those that failed count too: what never succeeds is not tried for ever.
    assert not decide(when, facts(trainings=before, last_training_at=None)).should_train
    assert decide(When((ROWS,), cooldown="1ms"), facts(trainings=before)).should_train
    with pytest.raises(DeclarationError, match="leaves no training"):
        When((ROWS,), at_most=(0, "30d"))


def test_every_rule_has_a_name_of_its_own() -> None:
    rules: list[Rule] = [OLD, ROWS, AllOf((OLD, ROWS)), AnyOf((OLD, ROWS)), AllOf((ROWS, OLD))]
    assert len({name_of(rule) for rule in rules}) == len(rules)
