"""One bad row harms nobody but itself; a failing canary harms nobody at all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.domain.errors import BadRequest, StoreUnavailable
from homeostat.engine.serving.predictions import Prediction, decide, message, shadow
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.routing import Routes
from tests.engine.serving.fakes import COLUMNS, NOON, FakeScorer, body, routes

READER = RequestReader(COLUMNS)


def items(chosen: Routes, *ids: str) -> list[Prediction]:
    out = []
    for n, id in enumerate(ids):
        (row,), _ = READER.read(body(id=id, distance=n))
        out.append(Prediction(f"p{n}", row, id, NOON, NOON, chosen))
    return out


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_only_the_guilty_fail(case: tuple[int, set[int]]) -> None:
    count, guilty = case
    ids = [str(n) for n in range(count)]
    batch = items(routes(FakeScorer(fails=[ids[n] for n in guilty])), *ids)
    decide(batch)
    for n, item in enumerate(batch):
        assert item.status == (500 if n in guilty else 200)
        assert item.score == (None if n in guilty else n / 10_000)
        assert (item.error is not None) == (n in guilty)


def test_one_guilty_row_costs_few_calls() -> None:
    scorer = FakeScorer(fails=["99"])
    decide(items(routes(scorer), *map(str, range(512))))
    assert len(scorer.batches) <= 1 + 2 * 9


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadRequest("no such airport", field="origin"), 422),
        (KeyError("x"), 500),
        (StoreUnavailable("gone"), 503),
    ],
)
def test_the_status_says_whose_fault_it_is(error: Exception, status: int) -> None:
    scorer = FakeScorer(fails=["b"], error=lambda: error)
    batch = items(routes(scorer), "a", "b")
    decide(batch)
    assert batch[1].status == status
    if status == 503:  # a store that is away is not asked once for every row
        assert len(scorer.batches) == 1


@pytest.mark.parametrize("offset", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_an_error(offset: float) -> None:
    batch = items(routes(FakeScorer(offset)), "a")
    decide(batch)
    assert batch[0].status == 500
    assert "score" in str(batch[0].error)


def test_a_wrong_number_of_scores_is_an_error() -> None:
    class Short(FakeScorer):
        def score(self, rows, times):  # type: ignore[no-untyped-def]
            return super().score(rows[:-1], times[:-1])

    batch = items(routes(Short()), "a", "b")
    decide(batch)
    assert {item.status for item in batch} == {500}


def test_the_champion_answers_where_a_canary_fails() -> None:
    champion, canary = FakeScorer(), FakeScorer(0.5, fails=["*"])
    batch = items(routes(champion, canary), *map(str, range(40)))
    routed = [item for item in batch if item.arm.role == "canary"]
    assert 5 < len(routed) < 35
    decide(batch)
    assert {item.status for item in batch} == {200}
    for item in batch:
        assert item.answered.role == "champion"
        assert (item.error is not None) == (item in routed)
        assert not item.shadowed
    assert champion.batches == [40]


def test_when_both_fail_the_error_is_that_of_the_routed_arm() -> None:
    champion, canary = FakeScorer(fails=["*"]), FakeScorer(fails=["*"], error=lambda: KeyError("canary"))
    batch = items(routes(champion, canary, 1.0), "a")
    decide(batch)
    assert batch[0].status == 500
    assert isinstance(batch[0].error, KeyError)
    assert batch[0].answered is batch[0].arm


def test_the_champion_shadows_what_a_canary_answered() -> None:
    champion, canary = FakeScorer(fails=["2"]), FakeScorer(0.5)
    batch = items(routes(champion, canary, 1.0), "0", "1", "2")
    decide(batch)
    assert champion.batches == []
    assert all(item.shadowed for item in batch)
    shadow(batch)
    assert [item.score for item in batch] == [0.5, 0.5001, 0.5002]
    assert [item.shadow_score for item in batch] == [0.0, 0.0001, None]
    assert {item.status for item in batch} == {200}


def test_what_a_library_says_at_length_is_told_in_one_line() -> None:
    said = ValueError("1 validation error for Node\n  x: is no number.")
    assert message(said) == "ValueError: 1 validation error for Node x: is no number."
    assert message(ValueError()) == "ValueError: "
