"""The drift test keeps its promise, finds what moved, and is the same however often it is interrupted."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from homeostat.engine.monitoring.bets import bets
from homeostat.engine.monitoring.evidence import Evidence, Monitor, Verdict, judge, look, monitor, suspects
from homeostat.engine.monitoring.reference import (
    Categories,
    Numbers,
    Profile,
    Reference,
    profile,
    reference,
    strata_of,
)
from tests.engine.monitoring.drifting import MEDIUM, SHIFTED, SMALL, training, window

WINDOWS = 50
Shift = tuple[float, float]


def watching(against: Reference, **changes: float) -> Monitor:
    return monitor(against, against.features, **{"false_alarm": 0.02, "looks": WINDOWS, **changes})


def delay(
    rng: np.random.Generator, at: Monitor, against: Reference, rows: int, shift: Shift = (0.0, 0.0)
) -> tuple[int, list[str]]:
    """Windows until the report, beyond all where there is none, and the suspects."""
    evidence = Evidence()
    for index in range(1, WINDOWS + 1):
        evidence = look(at, evidence, window(rng, against, rows, shift))
        verdict = judge(at, evidence)
        if verdict.drifted:
            return index, verdict.suspects
    return WINDOWS + 1, []


@pytest.fixture(scope="module")
def known() -> Reference:
    return training(np.random.default_rng(11), 50_000)


@pytest.mark.parametrize("rows", [500, 5000])
def test_without_drift_nothing_is_reported(rows: int) -> None:
    # The training data are drawn anew as well: their own error is part of the promise.
    rng = np.random.default_rng(rows)
    reports = 0
    for _ in range(2):
        against = training(rng, 20_000)
        at = watching(against)
        reports += sum(delay(rng, at, against, rows)[0] <= WINDOWS for _ in range(3))
    assert reports == 0


@pytest.mark.parametrize(
    ("rows", "shift", "median"), [(500, SMALL, 4), (500, MEDIUM, 1), (5000, SMALL, 1), (5000, MEDIUM, 1)]
)
def test_every_shift_is_found_and_named(known: Reference, rows: int, shift: Shift, median: int) -> None:
    rng = np.random.default_rng(rows)
    at = watching(known)
    found = [delay(rng, at, known, rows, shift) for _ in range(9)]
    assert max(windows for windows, _ in found) < WINDOWS
    assert np.median([windows for windows, _ in found]) <= median
    named = [name for _, names in found for name in names]
    assert set(SHIFTED) >= set(named)
    assert all(names for _, names in found)


def test_evidence_survives_being_stored_between_looks(known: Reference) -> None:
    rng = np.random.default_rng(5)
    at = watching(known)
    kept = stored = Evidence()
    for _ in range(6):
        seen = window(rng, known, 500, SMALL)
        kept = look(at, kept, seen)
        text = json.dumps(msgspec.to_builtins(look(at, stored, seen)))
        stored = msgspec.convert(json.loads(text), Evidence)
    assert stored == kept
    assert judge(at, stored) == judge(at, kept)
    assert look(at, kept, Profile()) == kept
    assert len(text) < 20_000


def test_a_report_ends_when_the_world_returns(known: Reference) -> None:
    rng = np.random.default_rng(6)
    at = watching(known)
    evidence = Evidence()
    for _ in range(30):
        evidence = look(at, evidence, window(rng, known, 5000, (2.0, 0.3)))
    assert judge(at, evidence).drifted
    for _ in range(10):
        evidence = look(at, evidence, window(rng, known, 5000))
    assert not judge(at, evidence).drifted


def test_few_training_rows_are_refused_with_how_many_it_takes() -> None:
    rng = np.random.default_rng(7)
    few = training(rng, 2000)
    refused = watching(few)
    assert not refused.bets
    needed = max(refused.refused.values())
    assert 2000 < needed < 6000
    assert not judge(refused, look(refused, Evidence(), window(rng, few, 500, MEDIUM))).drifted
    enough = training(rng, 2 * needed)
    assert not watching(enough).refused
    fine = watching(enough, floor=0.01)
    assert fine.refused
    assert min(fine.refused.values()) > 100_000  # errors shrink with the root of the rows


def seasonal(
    rng: np.random.Generator, rows: int, first: int, *, again: float = 0.0, shift: float = 0.0
) -> tuple[pl.DataFrame, pl.Series]:
    """Six features that follow the hour, 2,400 rows a day, each row like the last to the degree ``again``."""
    hour = np.arange(first, first + rows) % 2400 // 100
    noise = lfilter([math.sqrt(1 - again**2)], [1, -again], rng.normal(size=(6, rows + 100)))[:, 100:]
    wave = np.sin(2 * np.pi * hour / 24)
    frame = pl.DataFrame({f"x{i}": noise[i] + wave + (shift if i == 0 else 0.0) for i in range(6)})
    return frame, pl.Series(hour).cast(pl.String)


@pytest.mark.parametrize("again", [0.0, 0.5])
def test_seasons_and_neighbours_that_are_alike_are_no_drift(again: float) -> None:
    rng = np.random.default_rng(8)
    frame, hours = seasonal(rng, 48_000, 0, again=again)
    known = reference(frame, seasons=hours)
    assert (known.inflation == {}) is (again == 0)
    at = watching(known)
    assert len(at.bets) == 6
    evidence = Evidence()
    live, when = seasonal(rng, 500 * WINDOWS, 48_000, again=again)
    for first in range(0, len(live), 500):
        rows = slice(first, first + 500)
        evidence = look(at, evidence, profile(known, live[rows], when[rows]))
        assert not judge(at, evidence).drifted
    for shifted in range(0, 20_000, 500):
        live, when = seasonal(rng, 500, shifted, again=again, shift=0.35)
        evidence = look(at, evidence, profile(known, live, when))
    assert judge(at, evidence).suspects == ["x0"]


def test_looks_at_one_season_each_are_priced_by_its_own_training_rows() -> None:
    """Few rows tell the price of one hour: their error is no drift, however many rows are looked at."""
    rng = np.random.default_rng(0)
    frame, hours = seasonal(rng, 12_000, 0)
    known = reference(frame, seasons=hours)
    at = monitor(known, frame.columns, false_alarm=0.05, looks=8760)
    assert len(at.bets) == 6

    def looks(shift: float) -> Verdict:
        evidence = Evidence()
        for hour in range(72):
            live, when = zip(*(seasonal(rng, 100, 100 * hour, shift=shift) for _ in range(30)), strict=True)
            evidence = look(at, evidence, profile(known, pl.concat(live), pl.concat(when)))
        return judge(at, evidence)

    assert looks(0.0).e < 0.01
    assert looks(0.8).suspects == ["x0"]


def test_without_its_season_a_seasonal_feature_is_not_watched() -> None:
    frame, _ = seasonal(np.random.default_rng(9), 48_000, 0)
    assert len(watching(reference(frame)).refused) == 6


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 400), min_size=6, max_size=6), min_size=1, max_size=3),
    st.booleans(),
    st.floats(0, 0.1),
    st.lists(st.floats(0, 1000), min_size=6, max_size=6).map(np.array),
)
def test_no_bet_makes_money_on_the_training_data(
    table: list[list[int]], ordered: bool, floor: float, earlier: np.ndarray
) -> None:
    bins = Numbers([1.0, 2.0, 3.0, 4.0], table[0]) if ordered else Categories(list("abcd"), table[0])
    made = bets(bins, table)
    assert np.isclose(made.prior.sum(), 1) or not len(made.prior)
    whole = np.sum(table, axis=0)
    if not len(made.prior) or not whole.sum():
        return
    # The mean of each bet over one row drawn as the training rows were, smoothed by the row itself.
    shares = (whole + 1 / len(whole)) / (whole.sum() + 1)
    rows = np.zeros(len(table) + 1)
    rows[-1] = 1
    paid = sum(
        share * np.exp(made.log_e(np.eye(len(whole))[b], rows, floor, 0.001, 365, earlier))
        for b, share in enumerate(shares)
    )
    assert (paid <= 1 + 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1e6), max_size=12))
def test_suspects_are_the_most_that_their_evidence_carries(evidence: dict[str, float]) -> None:
    named = suspects(evidence, 0.1)
    count = len(named)
    assert all(evidence[name] >= len(evidence) / (count * 0.1) for name in named)
    ordered = sorted(evidence.values(), reverse=True)
    assert not any(ordered[k - 1] >= len(evidence) / (k * 0.1) for k in range(count + 1, len(evidence) + 1))


def test_a_reference_without_seasons_is_one_season() -> None:
    known = reference(pl.DataFrame({"x": [1.0, 2.0]}))
    assert strata_of(known, "x") == {"": known.features["x"].counts}
