"""Concept drift from losses: what does not change is rarely called changed, and a change is found where it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from homeostat.engine.control.changes import Losses, look

START = datetime(2026, 1, 1, tzinfo=UTC)
MOST = 4.6
ALPHA, LOOKS = 0.05, 365.0

Floats = npt.NDArray[np.float64]


def times(first: int, rows: int) -> list[datetime]:
    return [START + timedelta(minutes=first + row) for row in range(rows)]


def looked(losses: Floats, size: int = 100) -> Losses:
    """All of them, so many a look."""
    seen = Losses()
    for at in range(0, len(losses), size):
        part = losses[at : at + size]
        seen = look(seen, part, times(at, len(part)), most=MOST, false_alarm=ALPHA, looks=LOOKS)
    return seen


def reported(losses: Floats, size: int = 100, seen: Losses | None = None) -> int | None:
    """How many losses had been seen when a change was reported; None: never."""
    seen = seen or Losses()
    for at in range(0, len(losses), size):
        part = losses[at : at + size]
        seen = look(seen, part, times(at, len(part)), most=MOST, false_alarm=ALPHA, looks=LOOKS)
        if seen.evidence(LOOKS) >= 1 / ALPHA:
            return at + size
    return None


def test_without_a_change_hardly_anything_is_reported() -> None:
    reports = 0
    for repetition in range(30):
        rng = np.random.default_rng(repetition)
        losses = np.where(rng.random(4_000) < 0.1, rng.gamma(4, 0.5, 4_000), rng.gamma(1, 0.1, 4_000))
        reports += reported(np.minimum(losses, MOST)) is not None
    assert reports <= 30 * ALPHA


@pytest.mark.parametrize(("errors", "median", "last"), [(0.25, 2_600, 3_600), (0.5, 2_300, 2_300)])
def test_an_abrupt_change_is_found_where_it_is(errors: float, median: int, last: int) -> None:
    apart, found = [], []
    for repetition in range(9):
        rng = np.random.default_rng(repetition)
        share = np.where(np.arange(4_000) < 2_000, 0.1, errors)
        losses = np.where(rng.random(4_000) < share, 2.0, 0.1) + 0.05 * rng.random(4_000)
        at = reported(losses)
        assert at is not None
        found.append(at)
        change = looked(losses[:at]).change
        assert change is not None
        apart.append(abs(change - times(2_000, 1)[0]))
    assert 2_000 < min(found) <= sorted(found)[4] <= median
    assert max(found) <= last
    assert sorted(apart)[4] < timedelta(minutes=50)


def test_a_change_at_the_very_beginning_is_found_beside_losses_that_were_held_out() -> None:
    rng = np.random.default_rng(0)
    before, after = (
        np.where(rng.random(n) < share, 2.0, 0.1) + 0.05 * rng.random(n)
        for n, share in ((500, 0.1), (2_000, 0.3))
    )
    held = looked(before)
    assert held.evidence(LOOKS) < 1
    assert reported(after) is None
    at = reported(after, seen=held)
    assert at is not None
    assert at <= 1_000


def test_a_change_is_suspected_before_it_is_shown_and_hardly_ever_without_one() -> None:
    rng, bar = np.random.default_rng(0), np.log(LOOKS / ALPHA)
    calm = [looked(rng.gamma(1, 0.3, 2_000).clip(0, MOST)).suspicion for _ in range(10)]
    assert max(calm) < bar
    errors = np.where(rng.random(400) < np.repeat([0.1, 0.6], [100, 300]), 2.0, 0.1)
    seen = looked(
        errors + 0.05 * rng.random(400)
    )  # one look before the change is too few to know how looks differ
    assert seen.evidence(LOOKS) < 1 / ALPHA
    assert seen.suspicion > bar


def test_losses_that_fall_report_nothing() -> None:
    rng = np.random.default_rng(0)
    assert reported(rng.gamma(1, 1, 6_000).clip(0, MOST) * np.linspace(1, 0.3, 6_000)) is None


def test_days_that_differ_from_one_another_report_nothing() -> None:
    reports = 0
    for repetition in range(10):
        rng = np.random.default_rng(repetition)
        days = np.repeat(rng.normal(0, 0.5, 60), 200)  # a storm raises the losses of its day
        losses = np.exp(days + 0.5 * rng.normal(size=len(days))) * 0.3
        reports += reported(losses.clip(0, MOST), 200) is not None
    assert not reports


@pytest.mark.parametrize("size", [1, 37, 500, 1_200])
def test_looking_at_the_same_gives_the_same(size: int) -> None:
    losses = np.random.default_rng(size).gamma(1, 0.3, 1_200).clip(0, MOST)
    assert looked(losses, size) == looked(losses, size)
    assert looked(losses, size).rows == 1_200
    assert looked(losses, size).counts == looked(losses, 400).counts


def test_a_look_at_nothing_changes_nothing() -> None:
    seen = looked(np.full(200, 0.5))
    assert look(seen, [], [], most=MOST, false_alarm=ALPHA, looks=LOOKS) is seen
    assert Losses().change is None
    assert Losses().evidence(LOOKS) == 0


def test_after_a_change_only_how_much_days_differ_is_still_known() -> None:
    rng = np.random.default_rng(0)
    days = np.repeat(rng.normal(0, 0.5, 40), 200)
    seen = looked((np.exp(days + 0.5 * rng.normal(size=len(days))) * 0.3).clip(0, MOST), 200).again()
    assert (seen.rows, seen.looks, seen.change, seen.evidence(LOOKS)) == (0, (), None, 0)
    assert np.argmax(seen.known) != np.argmax(
        looked(rng.gamma(1, 0.3, 8_000).clip(0, MOST), 200).again().known
    )


def test_looks_of_few_rows_count_together() -> None:
    losses = np.random.default_rng(0).gamma(1, 0.3, 600).clip(0, MOST)
    few, one = looked(losses, 1), looked(losses, 10)
    assert {look.rows for look in few.looks} == {10}
    assert [look.mean for look in few.looks] == pytest.approx([look.mean for look in one.looks])


def test_losses_that_fell_are_no_measure_any_more() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.gamma(1, 0.6, 2_000), rng.gamma(1, 0.1, 1_000)
    seen = looked(np.concatenate([before, after]).clip(0, MOST))
    assert len(seen.looks) == 10
    assert reported(rng.gamma(1, 0.4, 600), seen=seen) == 300


@pytest.mark.parametrize(("rows", "seed"), [(10, 1), (10, 9), (10, 16), (50, 8), (50, 14)])
def test_large_losses_that_are_rare_are_no_change(rows: int, seed: int) -> None:
    """One loss in 300 is large, the others are alike: means of few rows are then far from normal."""
    rng, year = np.random.default_rng(seed), int(LOOKS)

    def drawn(count: int, share: float = 0.003) -> Floats:
        found: Floats = np.where(rng.random(count) < share, 4.0, 0.02)
        return found

    seen = Losses()
    for _ in range(10):  # held out
        seen = look(seen, drawn(200), [START] * 200, most=MOST, false_alarm=0.5, looks=LOOKS)
    for day in range(year):
        at = [START + timedelta(days=day)] * rows
        seen = look(seen, drawn(rows), at, most=MOST, false_alarm=ALPHA, looks=LOOKS)
        assert seen.evidence(LOOKS) < 1 / ALPHA, day
    if rows == 50:  # the fewer, the longer it takes
        for day in range(year, year + 60):
            at = [START + timedelta(days=day)] * rows
            seen = look(seen, drawn(rows, 0.03), at, most=MOST, false_alarm=ALPHA, looks=LOOKS)
        assert seen.evidence(LOOKS) >= 1 / ALPHA, "ten times as many are"
