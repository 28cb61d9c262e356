"""Rules on losses and on labels that accrue: when each fires, and what it says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import homeostat as hs
from homeostat.domain.errors import DeclarationError
from homeostat.engine.control.rules import Facts, Risen, evaluate, name_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_losses_that_rose_fire_and_say_since_when() -> None:
    rule = hs.concept_drift()
    found = Risen(e=31.0, needed=20.0, rows=900, since=NOW, after=120, risen=True)
    outcome = evaluate(rule, Facts(now=NOW, risen={name_of(rule): found}))
    assert outcome.fired
    assert (outcome.value, outcome.threshold) == (31.0, 20.0)
    assert "likely since 2026-01-01 00:00" in outcome.reason
    assert not evaluate(rule, Facts(now=NOW)).fired
    none = Risen(e=0.4, needed=20.0, rows=900, since=NOW, after=120, risen=False)
    said = evaluate(rule, Facts(now=NOW, risen={name_of(rule): none})).reason
    assert said == "evidence 0.4 of 20 that losses rose in 900 labelled answers"  # and of no time


@pytest.mark.parametrize(
    ("learned", "needed"), [(0, 1), (1, 16), (250, 250), (1_000, 500), (4_000, 1_000), (1_000_000, 15_812)]
)
def test_the_more_was_learned_the_more_it_takes_and_the_smaller_the_share(learned: int, needed: int) -> None:
    rule = hs.new_labels(growth=0.5)
    assert name_of(rule) == "new labels, growth 0.5"
    for came, fires in ((needed - 1, False), (needed, True)):
        outcome = evaluate(rule, Facts(now=NOW, new_labels=came, learned=learned))
        assert (outcome.fired, outcome.threshold) == (fires, needed)


def test_what_is_no_promise_and_no_number_of_rows_is_refused() -> None:
    with pytest.raises(DeclarationError, match="no probability"):
        hs.concept_drift(false_alarm=2)
    for wrong in ({}, {"rows": 5, "growth": 0.5}, {"rows": -1}, {"growth": -0.5}):
        with pytest.raises(DeclarationError, match="no number of rows"):
            hs.new_labels(**wrong)
